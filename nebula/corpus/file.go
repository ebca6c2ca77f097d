package corpus

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/llm-tracer/tracer/schema"
)

// Entry is one prompt as a file holds it.
type Entry struct {
	Line   int
	Size   int // tokens
	Prompt string
	// Workload is prefill or decode. A file need not say: what asks for a story in Story's words is decode.
	Workload schema.Workload
}

// LineError is what is wrong with a line of a file, and how to mend it.
type LineError struct {
	Line int
	What string
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.What) }

func wrong(line int, format string, args ...any) error {
	return &LineError{line, fmt.Sprintf(format, args...)}
}

// ReadCSV reads a header and rows of size[,iteration|topic][,workload],prompt, in any order of the columns.
func ReadCSV(r io.Reader) ([]Entry, error) {
	c := csv.NewReader(withoutMark(r))
	c.FieldsPerRecord = -1
	header, err := c.Read()
	if errors.Is(err, io.EOF) {
		return nil, wrong(1, "the file is empty; it needs a header size,prompt and a row for each prompt")
	}
	if err != nil {
		return nil, csvError(err)
	}
	at := map[string]int{}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := at[name]; twice || !slices.Contains([]string{"size", "iteration", "topic", "workload", "prompt"}, name) {
			return nil, wrong(1, "column %.40q of the header is unknown or there twice; the columns are size, iteration or topic, workload and prompt", name)
		}
		at[name] = i
	}
	for _, name := range []string{"size", "prompt"} {
		if _, ok := at[name]; !ok {
			return nil, wrong(1, "the header has no column %s; write size,prompt or size,iteration,prompt", name)
		}
	}
	var entries []Entry
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return some(entries)
		}
		if err != nil {
			return nil, csvError(err)
		}
		line, _ := c.FieldPos(0)
		if len(row) != len(header) {
			return nil, wrong(line, "%d fields where the header has %d; put a text that holds commas or line breaks in double quotes", len(row), len(header))
		}
		size, err := strconv.Atoi(strings.TrimSpace(row[at["size"]]))
		if err != nil {
			return nil, wrong(line, "size %.40q is no whole number of tokens", row[at["size"]])
		}
		e := Entry{Line: line, Size: size, Prompt: row[at["prompt"]]}
		if i, ok := at["workload"]; ok {
			e.Workload = schema.Workload(strings.TrimSpace(row[i]))
		}
		if entries, err = appendEntry(entries, e); err != nil {
			return nil, err
		}
	}
}

func csvError(err error) error {
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		return wrong(e.StartLine, "no CSV: %v; put a text that holds quotes in double quotes, and write its own quotes twice", e.Err)
	}
	return err
}

// withoutMark skips the byte-order mark that spreadsheets write.
func withoutMark(r io.Reader) io.Reader {
	b := bufio.NewReader(r)
	if mark, _ := b.Peek(3); bytes.Equal(mark, []byte("\ufeff")) {
		_, _ = b.Discard(3) // peeked at
	}
	return b
}

// ReadJSONL reads one object a line: {"size":100,"prompt":"…"}, with workload where it is wanted; other fields are left
// alone.
func ReadJSONL(r io.Reader) ([]Entry, error) {
	var entries []Entry
	lines := bufio.NewReader(withoutMark(r))
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		end := err != nil
		if line = bytes.TrimSpace(line); len(line) > 0 {
			var object struct {
				Size     *int            `json:"size"`
				Prompt   *string         `json:"prompt"`
				Workload schema.Workload `json:"workload"`
			}
			if !utf8.Valid(line) {
				return nil, wrong(number, "the line is not UTF-8 text; convert the file")
			}
			if err := json.Unmarshal(line, &object); err != nil {
				return nil, wrong(number, `no JSON object such as {"size":100,"prompt":"…"}: %s`, notObject(err))
			}
			if object.Size == nil || object.Prompt == nil {
				return nil, wrong(number, `size or prompt is missing; write {"size":100,"prompt":"…"}`)
			}
			if replaced(line, *object.Prompt) {
				return nil, wrong(number, `the prompt holds half a character (a lone \ud800 to \udfff); write both halves, or the character itself`)
			}
			if entries, err = appendEntry(entries, Entry{number, *object.Size, *object.Prompt, object.Workload}); err != nil {
				return nil, err
			}
		}
		if end {
			return some(entries)
		}
	}
}

// notObject is what is wrong with a line, without the names of this program's types.
func notObject(err error) string {
	e, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case !ok:
		return err.Error()
	case e.Field == "":
		return "its value is of type " + e.Value
	default:
		return e.Field + " is of type " + e.Value
	}
}

// replaced says whether reading the line put replacement characters into a text that the line does not have.
func replaced(line []byte, text string) bool {
	own := bytes.Count(line, []byte("\ufffd")) + bytes.Count(bytes.ToLower(line), []byte(`\ufffd`))
	return strings.Count(text, "\ufffd") > own
}

func some(entries []Entry) ([]Entry, error) {
	if len(entries) == 0 {
		return nil, wrong(1, "there are no prompts; each needs a line with its size and its text")
	}
	return entries, nil
}

var storyAsked = regexp.MustCompile(`^Generate an? (\d+)[ -]word story about (.+?)\.?$`)

func appendEntry(entries []Entry, e Entry) ([]Entry, error) {
	e.Prompt = strings.TrimSpace(e.Prompt)
	if e.Workload == "" {
		e.Workload = schema.WorkloadPrefill
		if storyAsked.MatchString(e.Prompt) {
			e.Workload = schema.WorkloadDecode
		}
	}
	switch {
	case e.Size < 1 || e.Size > maxSize:
		return nil, wrong(e.Line, "size %d is not between 1 and %d tokens", e.Size, maxSize)
	case e.Prompt == "":
		return nil, wrong(e.Line, "the prompt is empty; write its text, or leave the line out")
	case !utf8.ValidString(e.Prompt) || strings.ContainsRune(e.Prompt, 0):
		return nil, wrong(e.Line, "the prompt is not UTF-8 text; convert the file")
	case e.Workload != schema.WorkloadPrefill && e.Workload != schema.WorkloadDecode:
		return nil, wrong(e.Line, "no workload %.40q; there are prefill and decode", e.Workload)
	}
	return append(entries, e), nil
}

// fileAuthor gives a file's texts, in the file's order within each size.
type fileAuthor map[Slot]string

func (fileAuthor) Source() string { return SourceFile }

func (a fileAuthor) Write(_ context.Context, s Slot, _ int) (Text, error) {
	return Text{Body: a[s]}, nil
}

// ByBuiltin counts the texts of a file that the built-in author had a part in.
type ByBuiltin struct {
	Grown    int // it wrote the rest
	Replaced int // nothing of the file's is left
}

// FromEntries makes prompts of a file's texts. Prefill texts are brought to exactly their size, with an opening before
// and the instruction after them; decode texts are sent as they are, and their size is the answer's. Texts that are much
// too short are grown by the built-in author, and sizes without room for a text get one of its own.
func FromEntries(ctx context.Context, entries []Entry, spec Spec, counter Counter) (prompts []schema.Prompt, by ByBuiltin, err error) {
	texts, lines, slots := fileAuthor{}, map[Slot]int{}, []Slot(nil)
	prefills, decodes := map[int]int{}, map[int]int{}
	for _, e := range entries {
		if e.Workload == schema.WorkloadPrefill {
			slot := Slot{e.Size, prefills[e.Size]}
			prefills[e.Size]++
			texts[slot], lines[slot] = e.Prompt, e.Line
			slots = append(slots, slot)
			continue
		}
		p := schema.Prompt{
			Workload: e.Workload, Text: e.Prompt, MaxTokens: int32(e.Size), ExactLength: spec.ExactLength, Source: SourceFile,
		}
		if found := storyAsked.FindStringSubmatch(e.Prompt); found != nil {
			p.Element = found[2]
		}
		n, err := counter.Count(ctx, p.Text)
		if err != nil {
			return nil, by, err
		}
		seal(&p, e.Size, decodes[e.Size], n, counter)
		decodes[e.Size]++
		prompts = append(prompts, p)
	}
	made, err := prefill(ctx, spec.Seed, slots, counter, texts)
	if e, ok := errors.AsType[*SpecError](err); ok && lines[e.slot] > 0 {
		err = wrong(lines[e.slot], "%s", e.what)
	}
	for i := range made {
		switch {
		case made[i].Source == SourceBuiltin:
			by.Replaced++
		case len(strings.Fields(texts[slots[i]]))+16 < len(strings.Fields(made[i].Text)): // opening, instruction and fillers
			by.Grown++
		}
	}
	return append(prompts, made...), by, err
}
