package main

import (
	"path/filepath"
	"testing"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/llamacpp"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

// A real llama.cpp server on a random-weight model, with the C fake as its GPU: the board idles, so the stages are real
// and the watts are not.
func TestTraceARealLlamaServer(t *testing.T) {
	library := fakeLibrary(t)
	server, err := llamacpp.Start(t.Context())
	if err != nil {
		t.Skip(err)
	}
	defer server.Stop()
	dir := t.TempDir()
	kind, err := catalog.BoardByName("A10")
	if err != nil {
		t.Fatal(err)
	}
	boards := filepath.Join(dir, "boards")
	script, err := sim.Create(boards, sim.Describe(kind, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close()
	env := []string{"LD_LIBRARY_PATH=" + library, "TRACER_FAKENVML=" + boards}
	out := collectOrFail(t, env, collectArgs(dir, "llama", "--endpoint", server.BaseURL, "--sizes", "20,200", "--prompts", "3", "--idle", "500ms")...)
	t.Log(out)
	s, err := analysis.Dataset{Dir: dir}.Summarize("llama")
	if err != nil {
		t.Fatal(err)
	}
	if s.Counts.Valid != 12 || s.Counts.Warmup != 2 {
		t.Errorf("requests: %+v, want 12 valid and 2 for warm-up", s.Counts)
	}
	seconds := map[schema.Stage]float64{}
	for _, l := range s.Stages {
		seconds[l.Stage] = l.Seconds
	}
	if seconds[schema.StagePrefill] <= 0 || seconds[schema.StageDecode] <= 0 || seconds[schema.StageIdle] < 0.4 {
		t.Errorf("seconds by stage: %v", seconds)
	}
	for _, l := range s.Sizes {
		if l.TTFT == nil || l.InputTokens == nil || l.OutputTokens == nil {
			t.Fatalf("%s %d: %+v", l.Workload, l.Size, l)
		}
		if l.Workload == "decode" && *l.OutputTokens != float64(l.Size) {
			t.Errorf("decode %d: %v tokens out; exactly so many were asked for", l.Size, *l.OutputTokens)
		}
	}
	if small, large := s.Sizes[0], s.Sizes[1]; small.Workload != "prefill" || *large.TTFT <= *small.TTFT {
		t.Errorf("a prompt of %d tokens prefills in %v s, one of %d in %v s", small.Size, *small.TTFT, large.Size, *large.TTFT)
	}
}
