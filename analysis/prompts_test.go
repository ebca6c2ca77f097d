package analysis_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/nebula/corpus"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

func made(t *testing.T) []schema.Prompt {
	t.Helper()
	prompts, err := corpus.Build(t.Context(), corpus.Spec{
		Workloads: []schema.Workload{schema.WorkloadDecode, schema.WorkloadPrefill}, Sizes: []int{20, 60}, PerSize: 3, Seed: 4, ExactLength: true,
	}, tokens.Default(), nil)
	if err != nil {
		t.Fatal(err)
	}
	prompts[7].CreatedUnixMS, prompts[7].WrittenBy, prompts[7].Source = 1_790_000_000_123, "some/model", corpus.SourceNebula
	for i := range prompts {
		prompts[i].RunTokens = 0 // of a run
	}
	return prompts
}

func publish(t *testing.T, dir string, prompts []schema.Prompt) string {
	t.Helper()
	path, err := store.PublishCorpus(dir, schema.CorpusID(prompts), prompts)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestACorpusIsReadBackAsItWasMade(t *testing.T) {
	prompts, dir := made(t), t.TempDir()
	path := publish(t, dir, prompts)
	back, err := analysis.ReadCorpus(path)
	if err != nil || !reflect.DeepEqual(back, prompts) { // decode comes before prefill, as in prompt_id
		t.Errorf("%+v, %v", back, err)
	}
	if again := publish(t, dir, prompts); again != path {
		t.Errorf("published again at %s", again)
	}
	other := publish(t, t.TempDir(), prompts)
	a, _ := os.ReadFile(path)
	if b, _ := os.ReadFile(other); string(a) != string(b) || len(a) == 0 {
		t.Error("the same corpus is another file")
	}
	if left, err := os.ReadDir(dir + "/_tracer/tmp"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestACorpusThatWasTamperedWithIsRefused(t *testing.T) {
	for want, change := range map[string]func(p []schema.Prompt){
		"is not what its sha256 says":     func(p []schema.Prompt) { p[1].Text += "!" },
		"is there twice, or empty":        func(p []schema.Prompt) { p[1].ID = p[0].ID },
		"max_tokens 0, which cannot be":   func(p []schema.Prompt) { p[2].MaxTokens = 0 },
		`workload "train"`:                func(p []schema.Prompt) { p[3].Workload = "train" },
		"target_tokens -1 and max_tokens": func(p []schema.Prompt) { p[4].TargetTokens = -1 },
	} {
		prompts := made(t)
		change(prompts)
		if _, err := analysis.ReadCorpus(publish(t, t.TempDir(), prompts)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := analysis.ReadCorpus(publish(t, t.TempDir(), nil)); err == nil || !strings.Contains(err.Error(), "it holds no prompts") {
		t.Errorf("an empty corpus: %v", err)
	}
}
