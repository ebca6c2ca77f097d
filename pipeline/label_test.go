package pipeline

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/schema"
)

// oracle labels an instant the slow way: by looking at every span.
func oracle(spans []*schema.Span, ns int64) label {
	l := label{stage: schema.StageIdle}
	var active []*schema.Span
	stages := map[schema.Stage]bool{}
	for _, s := range spans {
		if ns < s.StartNS || ns >= s.EndNS {
			continue
		}
		l.concurrent++
		stage := schema.StageIdle
		begin := s.StartNS
		if s.PrefillStartNS.OK {
			begin = s.PrefillStartNS.V
		}
		if ns >= begin && ns < s.FirstTokenNS.V {
			stage = schema.StagePrefill
		}
		if ns >= s.FirstTokenNS.V && ns < s.LastTokenNS.V {
			stage = schema.StageDecode
		}
		if stage != schema.StageIdle {
			active, stages[stage] = append(active, s), true
		}
	}
	switch {
	case len(active) == 0:
		return l
	case len(stages) > 1:
		l.stage = schema.StageMixed
	case stages[schema.StagePrefill]:
		l.stage = schema.StagePrefill
	default:
		l.stage = schema.StageDecode
	}
	workloads := map[schema.Workload]bool{}
	for _, s := range active {
		workloads[s.Prompt.Workload] = true
		l.warmup = l.warmup || s.Warmup
	}
	if len(workloads) == 1 {
		l.workload = active[0].Prompt.Workload
	}
	if len(active) == 1 {
		l.span = active[0]
	}
	return l
}

// drawSpan is a request that starts at or after from.
func drawSpan(t *rapid.T, from int64, n int) *schema.Span {
	gap := func(name string, most int64) int64 { return rapid.Int64Range(0, most).Draw(t, name) }
	start := from + gap("gap", 50)
	prefill := start + gap("queue", 20)
	first := prefill + gap("prefill", 60)
	last := first + gap("decode", 200)
	s := &schema.Span{
		RequestID: fmt.Sprintf("r-%d", n), StartNS: start, EndNS: last + gap("tail", 10),
		FirstTokenNS: schema.Some(first), LastTokenNS: schema.Some(last),
		Warmup: rapid.Bool().Draw(t, "warmup"),
		Prompt: &schema.Prompt{ID: fmt.Sprintf("p-%d", n), Workload: rapid.SampledFrom([]schema.Workload{schema.WorkloadPrefill, schema.WorkloadDecode}).Draw(t, "workload")},
	}
	if rapid.Bool().Draw(t, "server timing") {
		s.PrefillStartNS = schema.Some(prefill)
	}
	return s
}

func TestLabelsAreWhatEverySpanTogetherSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []*schema.Span
		var line timeline
		for worker := range rapid.IntRange(1, 4).Draw(t, "workers") {
			at := int64(1)
			for i := range rapid.IntRange(0, 6).Draw(t, "requests") {
				s := drawSpan(t, at, worker*100+i)
				at = s.EndNS
				all = append(all, s)
			}
		}
		for _, i := range rapid.Permutation(indices(len(all))).Draw(t, "order of closing") {
			line.add(all[i])
		}
		instants := rapid.SliceOfN(rapid.Int64Range(0, 2000), 0, 100).Draw(t, "instants")
		slices.Sort(instants)
		for _, ns := range instants {
			if got, want := line.at(ns), oracle(all, ns); got != want {
				t.Fatalf("at %d: got %+v, want %+v", ns, got, want)
			}
		}
	})
}

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func TestAFailedRequestsRowsDoNotPassForIdle(t *testing.T) {
	const start, first, last, end = 100, 200, 300, 400
	answered := schema.Span{StartNS: start, FirstTokenNS: schema.Some(int64(first)), LastTokenNS: schema.Some(int64(last)), EndNS: end, Prompt: &schema.Prompt{}}
	broken := answered
	broken.ErrorType = "stream_broken"
	refused := schema.Span{StartNS: start, EndNS: end, ErrorType: "http_400", HTTPStatus: schema.Some(int32(400)), Prompt: &schema.Prompt{}}
	unreached := schema.Span{StartNS: start, EndNS: end, ErrorType: "connect", Prompt: &schema.Prompt{}}
	accepted := schema.Span{StartNS: start, EndNS: end, ErrorType: "stream_error", HTTPStatus: schema.Some(int32(200)), Prompt: &schema.Prompt{}}
	givenUp := schema.Span{StartNS: start, EndNS: end, ErrorType: schema.ErrorInterrupted, GivenUp: true, Prompt: &schema.Prompt{}}
	for _, c := range []struct {
		name string
		span schema.Span
		at   int64
		want schema.Stage
	}{
		{"answered, before its end", answered, 350, schema.StageIdle},
		{"broken off, between last token and end", broken, 350, schema.StageDecode},
		{"refused", refused, 150, schema.StageIdle},
		{"never connected", unreached, 150, schema.StageIdle},
		{"accepted, then failed before a token", accepted, 150, schema.StagePrefill},
		{"given up before a token", givenUp, 150, schema.StagePrefill},
	} {
		var line timeline
		line.add(&c.span)
		if got := line.at(c.at).stage; got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
