package tokens

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Hugging Face's own package counted the texts beside each vocabulary.
func TestTokenizerFilesCountAsHuggingFaceDoes(t *testing.T) {
	for _, family := range []string{"gpt2", "llama3", "qwen", "llama2", "gemma"} {
		t.Run(family, func(t *testing.T) {
			tokenizer, err := Open(filepath.Join("testdata", family+".json"))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(tokenizer.Name(), "tokenizer.json:") {
				t.Errorf("it is called %q", tokenizer.Name())
			}
			expected, err := os.ReadFile(filepath.Join("testdata", family+".expected.json"))
			if err != nil {
				t.Fatal(err)
			}
			var cases []struct {
				Text string
				IDs  []int
			}
			if err := json.Unmarshal(expected, &cases); err != nil || len(cases) < 50 {
				t.Fatalf("%d cases, %v", len(cases), err)
			}
			for _, c := range cases {
				if n, _ := tokenizer.Count(t.Context(), c.Text); n != len(c.IDs) {
					t.Errorf("%q is %d tokens, want %d", c.Text, n, len(c.IDs))
				}
			}
		})
	}
}

func TestTokenizerFilesThatCannotBeCountedAreRefused(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ contents, want string }{
		"words.json":      {`{"model":{"type":"Unigram"}}`, `its model is "Unigram"`},
		"torn.json":       {`{"model":`, "it is no tokenizer.json"},
		"empty.json":      {`{"model":{"type":"BPE","vocab":{}}}`, "its vocabulary is empty; take the file"},
		"merge.json":      {`{"model":{"type":"BPE","vocab":{"a":0},"merges":["ab"]}}`, "its merge 0 is no pair"},
		"normalizer.json": {`{"normalizer":{"type":"Lowercase"},"model":{"type":"BPE","vocab":{"a":0}}}`, "its normalizer Lowercase is not read"},
		"step.json":       {`{"pre_tokenizer":{"type":"Punctuation"},"model":{"type":"BPE","vocab":{"a":0}}}`, "its pre-tokenizer Punctuation"},
		"regex.json":      {`{"pre_tokenizer":{"type":"Split","behavior":"Isolated","pattern":{"Regex":"("}},"model":{"type":"BPE","vocab":{"a":0}}}`, `its expression "(" is not read`},
		"spaces.json":     {`{"model":{"type":"BPE","vocab":{"a":0},"merges":["a ▁","a▁ b"]}}`, "reach across spaces"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.contents), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := Open("o201k"); err == nil || !strings.Contains(err.Error(), "cl100k_base") {
		t.Errorf("unknown name: %v", err)
	}
	if _, err := Open(filepath.Join("testdata", "bert.json")); err == nil || !strings.Contains(err.Error(), `"WordPiece"`) {
		t.Errorf("BERT: %v", err)
	}
}

func FuzzTokenizerFile(f *testing.F) {
	for _, small := range []string{
		`{"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`,
		`{"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
			"added_tokens":[{"content":"<s>"}],"model":{"type":"BPE","byte_fallback":true,"fuse_unk":true,"vocab":{"▁":0,"a":1,"▁a":2,"<0xE2>":3},"merges":[["▁","a"]]}}`,
		`{"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","behavior":"Isolated","pattern":{"Regex":"\\p{L}+|\\s+(?!\\S)"}},
			{"type":"Digits","individual_digits":true},{"type":"ByteLevel","use_regex":false}]},"model":{"type":"BPE","ignore_merges":true,"vocab":{"a":0}}}`,
	} {
		if _, err := parse([]byte(small)); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(small), "a b  aab 12 <s>é")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tokenizer, err := parse(data)
		if err != nil {
			return
		}
		if n, _ := tokenizer.Count(t.Context(), text[:min(len(text), 1000)]); n < 0 {
			t.Errorf("%d tokens", n)
		}
	})
}

func BenchmarkTokenizerFile(b *testing.B) {
	text := strings.Repeat("The old miller crossed the quiet bridge before dawn, and nobody noticed. ", 100)
	for _, family := range []string{"llama3", "llama2"} {
		b.Run(family, func(b *testing.B) {
			tokenizer, err := Open(filepath.Join("testdata", family+".json"))
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for b.Loop() {
				n, _ = tokenizer.Count(b.Context(), text)
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mtokens/s")
		})
	}
}
