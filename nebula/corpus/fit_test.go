package corpus

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/schema"
)

// counting counts how often it is asked, as a server would be.
type counting struct {
	Counter
	asked atomic.Int64
}

func (c *counting) Count(ctx context.Context, text string) (int, error) {
	c.asked.Add(1)
	return c.Counter.Count(ctx, text)
}

func vocabulary(t testing.TB, name string) Counter {
	t.Helper()
	if !strings.HasSuffix(name, "_base") {
		name = filepath.Join("..", "..", "internal", "tokens", "testdata", name+".json")
	}
	counter, err := tokens.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return counter
}

var vocabularies = []string{"o200k_base", "cl100k_base", "llama3", "qwen", "llama2", "gemma", "gpt2"}

func TestEveryPromptIsExactlyItsSizeByAnyVocabulary(t *testing.T) {
	for _, name := range vocabularies {
		t.Run(name, func(t *testing.T) {
			counter := &counting{Counter: vocabulary(t, name)}
			spec := usual(3)
			spec.Sizes, spec.PerSize = []int{50, 100, 1000}, 40
			if strings.HasSuffix(name, "_base") {
				spec.Sizes = append(spec.Sizes, 10)
			}
			prompts, err := Build(t.Context(), spec, counter, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d counts for %d prompts; %q", counter.asked.Load(), len(prompts), prompts[0].Text)
			if n := counter.asked.Load(); n > int64(4*len(prompts)+600) {
				t.Errorf("counted %d times for %d prompts", n, len(prompts))
			}
			begin := map[string]string{}
			for _, p := range prompts {
				n, _ := counter.Count(t.Context(), p.Text)
				if p.Tokenizer != counter.Name() || int(p.TextTokens) != n || p.Workload == schema.WorkloadPrefill && n != int(p.TargetTokens) {
					t.Fatalf("%s has %d tokens, says %d by %s", p.ID, n, p.TextTokens, p.Tokenizer)
				}
				if p.Workload == schema.WorkloadDecode {
					continue
				}
				first, _, _ := strings.Cut(p.Text, ".")
				if other := begin[first]; other != "" && p.TargetTokens > 10 {
					t.Errorf("%s and %s both begin with %q", p.ID, other, first)
				}
				begin[first] = p.ID
			}
		})
	}
}

func TestAnySizeIsExactByAFilesVocabulary(t *testing.T) {
	counters := map[string]Counter{"llama2": vocabulary(t, "llama2"), "qwen": vocabulary(t, "qwen"), "cl100k_base": vocabulary(t, "cl100k_base")}
	rapid.Check(t, func(t *rapid.T) {
		counter := counters[rapid.SampledFrom([]string{"llama2", "qwen", "cl100k_base"}).Draw(t, "vocabulary")]
		size := rapid.OneOf(rapid.IntRange(15, 60), rapid.IntRange(30, 3000)).Draw(t, "size")
		spec := Spec{Workloads: []schema.Workload{schema.WorkloadPrefill}, Sizes: []int{size}, PerSize: 2, Seed: rapid.Uint64().Draw(t, "seed")}
		prompts, err := Build(context.Background(), spec, counter, nil)
		if err != nil && size < 20 { // no room for the instruction, or none to choose words in
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range prompts {
			if n, _ := counter.Count(context.Background(), p.Text); n != size {
				t.Errorf("%s has %d tokens", p.ID, n)
			}
		}
	})
}

// Four are made at once: which is first must not matter.
func TestSameSeedSamePromptsByAFilesVocabulary(t *testing.T) {
	spec := usual(9)
	spec.Sizes, spec.PerSize = []int{30, 300}, 30
	hashes := map[string]bool{}
	for range 4 {
		prompts, err := Build(t.Context(), spec, vocabulary(t, "llama2"), nil)
		if err != nil {
			t.Fatal(err)
		}
		hashes[schema.CorpusID(prompts)] = true
	}
	if len(hashes) != 1 {
		t.Errorf("%d different corpora", len(hashes))
	}
}

func TestAFilesOwnFirstWordIsNotReplaced(t *testing.T) {
	openings, err := NewOpenings(t.Context(), tokens.Default(), 1)
	if err != nil {
		t.Fatal(err)
	}
	const text = "Alice, Karl and Simon met. Tell me of them."
	sent, opening, added := openings.Reopen(text)
	if sent != opening+"\n"+text || tokens.Count(sent) != tokens.Count(text)+added {
		t.Errorf("%q, %d tokens more", sent, added)
	}
}

func TestReopeningKeepsTheSize(t *testing.T) {
	for _, name := range vocabularies {
		t.Run(name, func(t *testing.T) {
			counter := vocabulary(t, name)
			spec := usual(5)
			spec.Sizes, spec.PerSize = []int{30, 200}, 20
			prompts, err := Build(t.Context(), spec, counter, nil)
			if err != nil {
				t.Fatal(err)
			}
			openings, err := NewOpenings(t.Context(), counter, 99)
			if err != nil {
				t.Fatal(err)
			}
			sent, err := Sending{Repeat: 3, Counter: counter, Openings: openings}.Prepare(t.Context(), prompts)
			if err != nil || len(sent) != 3*len(prompts) {
				t.Fatalf("%d requests, %v", len(sent), err)
			}
			seen := map[string]bool{}
			for _, p := range sent {
				text := p.Text
				if p.Reopen != (p.Repetition > 1) {
					t.Errorf("%s, repetition %d: reopened %t", p.ID, p.Repetition, p.Reopen)
				}
				if p.Reopen {
					var opening string
					if text, opening, _ = openings.Reopen(p.Text); !strings.HasPrefix(text, opening) {
						t.Errorf("%q does not begin with %q", text, opening)
					}
				}
				if n, _ := counter.Count(t.Context(), text); n != int(p.RunTokens) {
					t.Errorf("%q has %d tokens, not %d", text, n, p.RunTokens)
				}
				first, _, _ := strings.Cut(text, ".")
				if seen[first] && strings.HasSuffix(first, " met") { // a single name comes round again after all of them
					t.Errorf("two requests begin with %q", first)
				}
				seen[first] = true
				if !strings.HasSuffix(text, Instruction) && !strings.HasSuffix(text, Story(int(p.TargetTokens), p.Element)) {
					t.Errorf("%q has lost what it asks for", text)
				}
			}
		})
	}
}

// Whatever is in a file has other words than the built-in author's: many tokens each, no spaces, or hardly a letter.
func TestATextOfAnyKindIsExact(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{
		"Markdown": string(readme),
		"German":   "Die Donaudampfschifffahrtsgesellschaft veröffentlichte gestern ihre Geschäftsbedingungen; der Straßenbahnfahrer schwieg. ",
		"Finnish":  "Epäjärjestelmällistyttämättömyydellänsäkään lentokonesuihkuturbiinimoottoriapumekaanikko ei yllättänyt ketään. ",
		"Thai":     "เรือข้ามฟากออกเดินทางก่อนรุ่งสางและไม่มีใครบนท่าเรือเห็นมันจากไปในเช้าวันนั้น ",
		"Python":   "def merge(left, right):\n    return [x for pair in zip(left, right) for x in pair if x is not None]\n\n",
		"JSON":     `{"id":12345678,"name":"a-b_c","values":[0.125,1e-9,3.14159265358979],"nested":{"x":null,"y":true}} `,
		"hex":      "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 ",
	}
	for kind, text := range texts {
		for _, name := range []string{"o200k_base", "llama2"} {
			counter := vocabulary(t, name)
			var entries []Entry
			for size := 24; size <= 1100; size += 61 {
				entries = append(entries, Entry{1, size, strings.Repeat(text, 1+12000/len(text)), schema.WorkloadPrefill})
			}
			prompts, _, err := FromEntries(t.Context(), entries, Spec{Seed: 1}, counter)
			if err != nil {
				t.Errorf("%s by %s: %v", kind, name, err)
				continue
			}
			for _, p := range prompts {
				if n, _ := counter.Count(t.Context(), p.Text); n != int(p.TargetTokens) {
					t.Errorf("%s by %s: %s has %d tokens", kind, name, p.ID, n)
				}
			}
		}
	}
}

func TestNoTwoRequestsOfARunAreAlike(t *testing.T) {
	counter := tokens.Default()
	spec := usual(1)
	spec.Sizes, spec.PerSize = []int{10, 11, 50}, 100
	prompts, err := Build(t.Context(), spec, counter, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Sending{"every request reopened": {Repeat: 2, Reopen: true}, "repetitions reopened": {Repeat: 2}} {
		t.Run(name, func(t *testing.T) {
			if s.Openings, err = NewOpenings(t.Context(), counter, 7); err != nil {
				t.Fatal(err)
			}
			s.Counter = counter
			requests, err := s.Prepare(t.Context(), prompts)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]string{}
			for _, p := range Order(requests, 1) {
				text := p.Text
				if p.Reopen {
					text, _, _ = s.Openings.Reopen(text)
				}
				if other, twice := seen[text]; twice {
					t.Errorf("%s and %s are both %q", p.ID, other, text)
				}
				seen[text] = p.ID
			}
		})
	}
}
