package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/internal/llamacpp"
	"github.com/llm-tracer/tracer/schema"
)

// realServer is a llama.cpp server on a random-weight model, and the environment that shows a board beside it.
func realServer(t *testing.T) (server *llamacpp.Server, env []string) {
	t.Helper()
	env = fakeA10(t)
	server, err := llamacpp.Start(t.Context())
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	return server, env
}

// The server's own tokenizer counts, its chat template is measured, and nothing comes from its cache, repetitions included.
// Its vocabulary takes 19 tokens for the shortest prefill prompt.
func TestEveryPromptIsItsSizeOnARealServer(t *testing.T) {
	t.Parallel()
	server, env := realServer(t)
	dir := t.TempDir()
	sizes := []string{"20", "33", "50", "72", "100", "151", "250", "400", "640", "1000"}
	out := collectOrFail(t, env, collectArgs(dir, "prefill", "--endpoint", server.BaseURL, "--workload", "prefill", "--sizes", strings.Join(sizes, ","), "--prompts", "1", "--repeat", "2", "--idle", "0s")...)
	if !strings.Contains(out, "counted by llamacpp:"+llamacpp.Model) {
		t.Error(out)
	}
	collectOrFail(t, env, collectArgs(dir, "decode", "--endpoint", server.BaseURL, "--workload", "decode", "--sizes", "10,50,100", "--prompts", "2", "--repeat", "2", "--idle", "0s")...)
	sent := 0
	for _, run := range []string{"prefill", "decode"} {
		for _, path := range files(t, dir, "requests", run) {
			template := table(t, files(t, dir, "runs", run)[0])[0]["template_tokens"].(int32)
			for _, r := range table(t, path) {
				sent++
				text, target := r["text_tokens"].(int32), r["target_tokens"].(int32)
				if template < 1 || r["input_tokens"] != text+template || r["cached_input_tokens"] != int32(0) || r["valid"] != true {
					t.Errorf("template %d: %v", template, r)
				}
				if run == "prefill" && text != target || run == "decode" && r["output_tokens"] != target {
					t.Errorf("not its size: %v", r)
				}
				if (r["opening"] != nil) != (r["repetition"] == int32(2)) {
					t.Errorf("repetition %v begins with %v", r["repetition"], r["opening"])
				}
			}
		}
	}
	if sent != 2*len(sizes)+12+4 {
		t.Errorf("%d requests", sent)
	}
	t.Logf("%d requests of %d sizes", sent, len(sizes))

	refused := exec.Command(program(t), collectArgs(dir, "refused", "--endpoint", server.BaseURL, "--sizes", "10,100,5000")...)
	refused.Env = environ(env...)
	said, _ := refused.CombinedOutput() // the exit code is looked at next
	if code := refused.ProcessState.ExitCode(); code != exitUsage || !strings.Contains(string(said), "4096 tokens in one request") ||
		!strings.Contains(string(said), "too few for size 5000 (prefill), 5000 (decode); leave these out") {
		t.Errorf("exit code %d: %s", code, said)
	}
}

// A real llama.cpp server on a random-weight model, with the C fake as its GPU: the board idles, so the stages are real
// and the watts are not.
func TestTraceARealLlamaServer(t *testing.T) {
	server, env := realServer(t)
	dir := t.TempDir()
	out := collectOrFail(t, env, collectArgs(dir, "llama", "--endpoint", server.BaseURL, "--sizes", "20,200", "--prompts", "3", "--idle", "500ms")...)
	t.Log(out)
	s, err := analysis.Dataset{Dir: dir}.Summarize(t.Context(), "llama")
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
