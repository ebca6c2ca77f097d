package corpus

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/schema"
)

func TestFilesOfPromptsAreRead(t *testing.T) {
	want := []Entry{
		{2, 50, "A text, with commas\nand lines.", schema.WorkloadPrefill},
		{4, 20, "Generate a 20 word story about a dragon", schema.WorkloadDecode},
	}
	for name, c := range map[string]struct {
		read func(io.Reader) ([]Entry, error)
		text string
	}{
		"CSV":                  {ReadCSV, "size,prompt\n50,\"A text, with commas\nand lines.\"\n20,Generate a 20 word story about a dragon\n"},
		"CSV of a spreadsheet": {ReadCSV, "\ufeffsize,iteration,prompt\r\n50,1,\"A text, with commas\nand lines.\"\r\n20,1,Generate a 20 word story about a dragon"},
		"CSV with topics":      {ReadCSV, "topic,workload,prompt,size\nx,prefill,\"A text, with commas\nand lines.\",50\ny,decode,Generate a 20 word story about a dragon,20\n"},
		"JSONL":                {ReadJSONL, "\n{\"size\":50,\"prompt\":\"A text, with commas\\nand lines.\"}\n\n{\"prompt\":\"Generate a 20 word story about a dragon\",\"size\":20,\"more\":[1]}"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.read(strings.NewReader(c.text))
			if err != nil || len(got) != 2 {
				t.Fatalf("%d entries, %v", len(got), err)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("%+v, want %+v", got[i], want[i])
				}
			}
		})
	}
}

func TestBadFilesAreRefusedByLineAndMend(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":          {"", "line 1: the file is empty; it needs a header"},
		"no prompts":     {"size,prompt\n", "line 1: there are no prompts"},
		"no header":      {"50,hello\n", "line 1: column \"50\" of the header is unknown"},
		"no size":        {"prompt,topic\nhello,x\n", "line 1: the header has no column size; write size,prompt"},
		"twice":          {"size,size,prompt\n1,1,x\n", "there twice"},
		"fields":         {"size,prompt\n50,a\n50,a, b\n", "line 3: 3 fields where the header has 2; put a text"},
		"quotes":         {"size,prompt\n50,\"a\" b\n", "line 2: no CSV:"},
		"size":           {"size,prompt\nfifty,a\n", `line 2: size "fifty" is no whole number`},
		"negative":       {"size,prompt\n-5,a\n", "line 2: size -5 is not between 1"},
		"blank":          {"size,prompt\n5,  \n", "line 2: the prompt is empty"},
		"binary":         {"size,prompt\n5,a\x00b\n", "line 2: the prompt is not UTF-8"},
		"latin":          {"size,prompt\n5,caf\xe9\n", "line 2: the prompt is not UTF-8"},
		"workload":       {"size,workload,prompt\n5,train,a\n", `line 2: no workload "train"`},
		"object":         {"{\"size\":5,\"prompt\":\"a\"}\n[1]\n", "line 2: no JSON object such as {\"size\":100,\"prompt\":\"…\"}: its value is of type array"},
		"torn":           {"{\"size\":5,\"pro", "line 1: no JSON object"},
		"missing":        {"{\"size\":5}\n", "line 1: size or prompt is missing"},
		"size is text":   {"{\"size\":\"5\",\"prompt\":\"a\"}\n", "line 1: no JSON object such as {\"size\":100,\"prompt\":\"…\"}: size is of type string"},
		"only blank":     {"\n\n", "line 1: there are no prompts"},
		"Latin JSON":     {"{\"size\":5,\"prompt\":\"caf\xe9\"}\n", "line 1: the line is not UTF-8"},
		"half":           {"{\"size\":5,\"prompt\":\"\\ufffd \\ud83d\"}\n", "line 1: the prompt holds half a character"},
		"JSON too large": {"{\"size\":99999999,\"prompt\":\"a\"}\n", "line 1: size 99999999 is not between"},
	} {
		t.Run(name, func(t *testing.T) {
			read := ReadCSV
			if strings.HasPrefix(c.text, "{") || name == "only blank" {
				read = ReadJSONL
			}
			if _, err := read(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzReadCSV(f *testing.F) {
	f.Add([]byte("size,iteration,prompt\n50,1,\"a, \"\"b\"\"\nc\"\n"))
	f.Add([]byte("\ufeffprompt,size\r\nx,10\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) { wellRead(t, ReadCSV, data) })
}

func FuzzReadJSONL(f *testing.F) {
	f.Add([]byte("{\"size\":50,\"prompt\":\"a\\nb\"}\n\n{\"prompt\":\"c\",\"size\":1,\"workload\":\"decode\"}"))
	f.Fuzz(func(t *testing.T, data []byte) { wellRead(t, ReadJSONL, data) })
}

// wellRead holds a reader to giving entries that can be sent, or one error with a line.
func wellRead(t *testing.T, read func(io.Reader) ([]Entry, error), data []byte) {
	t.Helper()
	entries, err := read(bytes.NewReader(data))
	if err != nil {
		if !strings.HasPrefix(err.Error(), "line ") {
			t.Errorf("error %v names no line", err)
		}
		return
	}
	for _, e := range entries {
		if e.Line < 1 || e.Size < 1 || e.Prompt == "" || e.Workload == "" {
			t.Errorf("%+v", e)
		}
	}
}

func TestATextWithoutSpacesIsCutToo(t *testing.T) {
	entries := []Entry{{1, 150, strings.Repeat("古い渡し船は夜明け前に出た。", 40), schema.WorkloadPrefill}}
	prompts, by, err := FromEntries(t.Context(), entries, Spec{Seed: 1}, tokens.Default())
	if err != nil || by.Grown > 0 || prompts[0].TextTokens != 150 || tokens.Count(prompts[0].Text) != 150 {
		t.Fatalf("%+v, %d grown, %v", prompts, by, err)
	}
	if english := len(strings.Fields(prompts[0].Text)); english > 20 {
		t.Errorf("filled up with English: %q", prompts[0].Text)
	}
}

func TestTextsOfAFileAreBroughtToTheirSize(t *testing.T) {
	long := strings.Repeat("The ferry left before dawn, and nobody on the pier had seen it go. ", 40)
	entries := []Entry{
		{1, 100, long, schema.WorkloadPrefill},
		{2, 100, "It is short.", schema.WorkloadPrefill},
		{3, 200, long + Instruction, schema.WorkloadPrefill},
		{4, 40, "Generate a 40 word story about a dragon.", schema.WorkloadDecode},
		{5, 40, "Tell me of the sea.", schema.WorkloadDecode},
	}
	for _, counter := range []Counter{tokens.Default(), vocabulary(t, "llama2")} {
		prompts, by, err := FromEntries(t.Context(), entries, Spec{Seed: 1, ExactLength: true}, counter)
		if err != nil || len(prompts) != 5 || by != (ByBuiltin{Grown: 1}) {
			t.Fatalf("%d prompts, %+v, %v", len(prompts), by, err)
		}
		byID := map[string]schema.Prompt{}
		for _, p := range prompts {
			byID[p.ID] = p
			if n, _ := counter.Count(t.Context(), p.Text); n != int(p.TextTokens) || p.Source != SourceFile {
				t.Errorf("%s from %s has %d tokens, says %d", p.ID, p.Source, n, p.TextTokens)
			}
		}
		for id, tokens := range map[string]int32{"prefill-00100-0000": 100, "prefill-00100-0001": 100, "prefill-00200-0000": 200} {
			p := byID[id]
			if p.TextTokens != tokens || !strings.HasSuffix(p.Text, Instruction) || strings.Count(p.Text, Instruction) != 1 || p.MaxTokens != MaxAnswer {
				t.Errorf("%s: %d tokens: %q", id, p.TextTokens, p.Text)
			}
		}
		if p := byID["decode-00040-0000"]; p.Element != "a dragon" || p.MaxTokens != 40 || !p.ExactLength {
			t.Errorf("%+v", p)
		}
		if p := byID["decode-00040-0001"]; p.Text != "Tell me of the sea." || p.Element != "" {
			t.Errorf("%+v", p)
		}
		if p := byID["prefill-00100-0001"]; !strings.Contains(p.Text, " met. It is short. ") {
			t.Errorf("%q", p.Text)
		}
	}
}

func TestATextThatDoesNotFitIsNotTakenForTheFiles(t *testing.T) {
	counter := vocabulary(t, "llama2") // a character of Khmer is three tokens
	f, err := newFitter(t.Context(), 1, counter)
	if err != nil {
		t.Fatal(err)
	}
	least := f.tail + f.meeting + shortestSentence
	prompts, by, err := FromEntries(t.Context(), []Entry{
		{1, least - 1, "The ferry left.", schema.WorkloadPrefill},
		{2, least + 1, strings.Repeat("ក", 40), schema.WorkloadPrefill},
	}, Spec{Seed: 1}, counter)
	if err != nil || by != (ByBuiltin{Replaced: 2}) {
		t.Fatalf("%+v, %v", by, err)
	}
	for _, p := range prompts {
		if p.Source != SourceBuiltin || strings.Contains(p.Text, "ferry") || strings.Contains(p.Text, "ក") {
			t.Errorf("%s: %q", p.Source, p.Text)
		}
	}
}

func TestAReplacementCharacterOfTheFilesOwnIsLeft(t *testing.T) {
	entries, err := ReadJSONL(strings.NewReader(`{"size":5,"prompt":"\uFFFD and �"}`))
	if err != nil || entries[0].Prompt != "\ufffd and \ufffd" {
		t.Errorf("%v, %v", entries, err)
	}
}
