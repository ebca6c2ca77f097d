package corpus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/schema"
)

// usual is what a run makes unless told otherwise.
func usual(seed uint64) Spec {
	return Spec{
		Workloads:   []schema.Workload{schema.WorkloadPrefill, schema.WorkloadDecode},
		Sizes:       []int{10, 50, 100, 1000, 10000},
		PerSize:     100,
		Seed:        seed,
		ExactLength: true,
	}
}

func build(t testing.TB, spec Spec) []schema.Prompt {
	t.Helper()
	prompts, err := Build(t.Context(), spec, tokens.Default(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return prompts
}

func TestTheUsualCorpus(t *testing.T) {
	spec := usual(1)
	spec.Sizes = spec.Sizes[:4] // the largest is left to TestAnySizeIsExact: a hundred take long under the race detector
	prompts := build(t, spec)
	if len(prompts) != 800 {
		t.Fatalf("%d prompts", len(prompts))
	}
	texts, ids, opening := map[string]string{}, map[string]bool{}, map[string]string{}
	for _, p := range prompts {
		if other := texts[p.Text]; other != "" {
			t.Errorf("%s has the text of %s", p.ID, other)
		}
		if ids[p.ID] {
			t.Errorf("%s twice", p.ID)
		}
		texts[p.Text], ids[p.ID] = p.ID, true
		if got := tokens.Count(p.Text); got != int(p.TextTokens) {
			t.Errorf("%s says %d tokens and has %d", p.ID, p.TextTokens, got)
		}
		if sum := sha256.Sum256([]byte(p.Text)); p.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: hash %s is not its text's", p.ID, p.SHA256)
		}
		if p.Tokenizer != "o200k_base" || p.Source != "builtin" {
			t.Errorf("%s: tokenizer %q, source %q", p.ID, p.Tokenizer, p.Source)
		}
		switch p.Workload {
		case schema.WorkloadPrefill:
			if p.TextTokens != p.TargetTokens || !strings.HasSuffix(p.Text, Instruction) || p.MaxTokens != 16 || p.ExactLength {
				t.Errorf("%s: %d tokens, at most %d, exact %t: …%q", p.ID, p.TextTokens, p.MaxTokens, p.ExactLength,
					p.Text[max(0, len(p.Text)-40):])
			}
			first, _, _ := strings.Cut(p.Text, " ")
			key := fmt.Sprint(p.TargetTokens, first)
			if other := opening[key]; other != "" {
				t.Errorf("%s and %s both begin with %q", p.ID, other, first)
			}
			opening[key] = p.ID
		case schema.WorkloadDecode:
			want := fmt.Sprintf("Generate a %d word story about %s", p.TargetTokens, p.Element)
			if p.Text != want || p.MaxTokens != p.TargetTokens || !p.ExactLength {
				t.Errorf("%s: %q, %d tokens, exact %t", p.ID, p.Text, p.MaxTokens, p.ExactLength)
			}
		}
	}
	if p := prompts[307]; p.ID != "prefill-01000-0007" {
		t.Errorf("prompt 307 is %s", p.ID)
	}
}

func TestPrefillPromptsAreReadable(t *testing.T) {
	prompts := build(t, Spec{Workloads: []schema.Workload{schema.WorkloadPrefill}, Sizes: []int{10, 60, 300}, PerSize: 2})
	for _, p := range prompts {
		body := strings.TrimSuffix(p.Text, " "+Instruction)
		for sentence := range strings.SplitSeq(strings.ReplaceAll(body, "\n\n", " "), ". ") {
			if sentence[0] < 'A' || sentence[0] > 'Z' {
				t.Errorf("%s: sentence %q does not begin with a capital", p.ID, sentence)
			}
			if n := len(strings.Fields(sentence)); n > longestSentence {
				t.Errorf("%s: sentence of %d words: %q", p.ID, n, sentence)
			}
		}
		if strings.Contains(p.Text, "  ") || strings.Contains(p.Text, " .") || strings.Contains(p.Text, " ,") {
			t.Errorf("%s: badly spaced: %q", p.ID, p.Text)
		}
	}
	t.Logf("%q", prompts[2].Text)
}

func TestAnySizeIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(8, 40), rapid.IntRange(8, 400), rapid.IntRange(8, 12000)).Draw(t, "size")
		spec := Spec{
			Workloads: []schema.Workload{schema.WorkloadPrefill},
			Sizes:     []int{size},
			PerSize:   1,
			Seed:      rapid.Uint64().Draw(t, "seed"),
		}
		if size > 8 {
			spec.PerSize = rapid.IntRange(1, 3).Draw(t, "per size")
		}
		prompts, err := Build(context.Background(), spec, tokens.Default(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range prompts {
			if got := tokens.Count(p.Text); got != size {
				t.Fatalf("%s has %d tokens", p.ID, got)
			}
		}
	})
}

func TestSameSeedSamePrompts(t *testing.T) {
	spec := usual(7)
	spec.Sizes, spec.PerSize = []int{10, 100}, 20
	first, again := build(t, spec), build(t, spec)
	if !reflect.DeepEqual(first, again) {
		t.Error("the same spec gave different prompts")
	}
	spec.Seed = 8
	if other := build(t, spec); schema.CorpusID(other) == schema.CorpusID(first) {
		t.Error("another seed gave the same prompts")
	}
}

func TestRefusals(t *testing.T) {
	prefill, decode := []schema.Workload{schema.WorkloadPrefill}, []schema.Workload{schema.WorkloadDecode}
	for _, c := range []struct {
		name string
		spec Spec
		want string
	}{
		{"too small", Spec{Workloads: prefill, Sizes: []int{7}, PerSize: 1}, "size 7 does not hold the instruction"},
		{"smallest is named", Spec{Workloads: prefill, Sizes: []int{7}, PerSize: 1}, "the smallest possible is 8 tokens"},
		{"no room for two", Spec{Workloads: prefill, Sizes: []int{8}, PerSize: 2}, "size 8 has room for 1 different prompts, not 2"},
		{"no room for many", Spec{Workloads: prefill, Sizes: []int{10}, PerSize: 5000}, "ask for fewer a size"},
		{"too many stories", Spec{Workloads: decode, Sizes: []int{10}, PerSize: 10001}, "10000 different stories"},
		{"size of none", Spec{Workloads: decode, Sizes: []int{0}, PerSize: 1}, "size 0 is not between 1"},
		{"size beyond all", Spec{Workloads: decode, Sizes: []int{1 << 21}, PerSize: 1}, "size 2097152 is not between 1"},
		{"size twice", Spec{Workloads: decode, Sizes: []int{10, 10}, PerSize: 1}, "size 10 is listed twice"},
		{"workload twice", Spec{Workloads: append(decode, decode...), Sizes: []int{10}, PerSize: 1}, `"decode" is listed twice`},
		{"unknown workload", Spec{Workloads: []schema.Workload{"train"}, Sizes: []int{10}, PerSize: 1}, "there are prefill and decode"},
		{"nothing", Spec{}, "no prompts asked for"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Build(t.Context(), c.spec, tokens.Default(), nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestMoreStoriesThanElements(t *testing.T) {
	prompts := build(t, Spec{Workloads: []schema.Workload{schema.WorkloadDecode}, Sizes: []int{10}, PerSize: 10000})
	seen := map[string]bool{}
	for _, p := range prompts {
		if seen[p.Element] {
			t.Fatalf("%s: %q twice", p.ID, p.Element)
		}
		seen[p.Element] = true
	}
}

func TestAllOneWordTextsAreUsedBeforeRefusing(t *testing.T) {
	n := len(words.names)
	prompts := build(t, Spec{Workloads: []schema.Workload{schema.WorkloadPrefill}, Sizes: []int{9, 10}, PerSize: n})
	seen := map[string]bool{}
	for _, p := range prompts {
		seen[p.Text] = true
	}
	if len(seen) != 2*n {
		t.Errorf("%d different texts of %d", len(seen), 2*n)
	}
}

func BenchmarkThousandPrompts(b *testing.B) {
	for b.Loop() {
		build(b, usual(1))
	}
}
