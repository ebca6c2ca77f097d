package verify

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/schema"
)

const ms = int64(1_000_000)

// drawSpan draws a request that begins after an instant: answered, broken off, given up, or refused.
func drawSpan(t *rapid.T, from int64, id string) *schema.Span {
	after := func(ns int64, what string, most int64) int64 { return ns + rapid.Int64Range(0, most).Draw(t, what)*ms }
	s := &schema.Span{
		RequestID: id, StartNS: after(from, "gap", 300), Warmup: rapid.Bool().Draw(t, "warmup"), Attempt: 1, LLM: "m", InputTokens: schema.Some(int32(len(id))),
		Prompt: &schema.Prompt{ID: "p-" + id, Workload: rapid.SampledFrom([]schema.Workload{schema.WorkloadPrefill, schema.WorkloadDecode}).Draw(t, "workload")},
	}
	prefill := after(s.StartNS, "queue", 50)
	first := after(prefill, "prefill", 200)
	last := after(first, "decode", 400)
	s.EndNS = after(last, "tail", 50)
	if rapid.Bool().Draw(t, "server timing") {
		s.PrefillStartNS = schema.Some(prefill)
	}
	if end := rapid.SampledFrom([]string{"answered", "answered", "broken", "silent", "refused", "no connection"}).Draw(t, "end"); end != "answered" {
		s.ErrorType, s.GivenUp = end, rapid.Bool().Draw(t, "given up")
		if end == "refused" {
			s.HTTPStatus = schema.Some(int32(500))
		}
		if end == "broken" || end == "silent" {
			s.HTTPStatus = schema.Some(int32(200))
		}
		if end != "broken" {
			return s
		}
	}
	s.FirstTokenNS, s.LastTokenNS = schema.Some(first), schema.Some(last)
	return s
}

// Whatever happens to requests that overlap as they like, the labels that the pipeline publishes are those derived here.
func TestThePipelinesLabelsAreSound(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		dir := filepath.Join(parent, fmt.Sprint(runs))
		run := &schema.Run{ID: "r", Host: "h", Model: "m", CorpusID: schema.CorpusID(nil), Tokenizer: "o200k_base", Status: schema.StatusComplete, Start: clock.Read(), End: clock.Read()}
		run.Start.MonotonicNS = 0
		readings, spans := ring.New[schema.Reading](1024), ring.New[schema.SpanEvent](64)
		p, err := pipeline.Open(pipeline.Config{
			Dir: dir, Run: run, Readings: readings, Spans: []*ring.SPSC[schema.SpanEvent]{spans}, Boards: []schema.Board{{UUID: "GPU-a", Name: "A"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for worker := range rapid.IntRange(1, 3).Draw(t, "workers") {
			at := 100 * ms
			for i := range rapid.IntRange(0, 5).Draw(t, "requests") {
				s := drawSpan(t, at, fmt.Sprintf("r-%d-%d", worker, i))
				s.Invalid, at = s.Reasons(schema.Asked{}), s.EndNS
				spans.Push(&schema.SpanEvent{Span: s})
			}
		}
		for i := range int64(300) {
			at := 50*ms + i*13*ms
			readings.Push(&schema.Reading{StartNS: at, EndNS: at})
		}
		done := make(chan struct{})
		close(done)
		if err := p.Collect(done, func(error) {}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Commit(make([]schema.Sampling, 1), "test"); err != nil {
			t.Fatal(err)
		}
		r, err := Dataset(context.Background(), dir)
		if err != nil {
			t.Fatal(err)
		}
		for i := range r.Findings { // about its clocks, counts and prompts, which are not made up
			if f := &r.Findings[i]; tableOf(f.File) != schema.Runs.Name {
				t.Errorf("%s", f.String())
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	})
}
