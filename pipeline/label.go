package pipeline

import (
	"slices"

	"github.com/llm-tracer/tracer/schema"
)

// label is what the requests in flight say about one instant.
type label struct {
	stage      schema.Stage
	span       *schema.Span // the one request that had the board
	workload   schema.Workload
	warmup     bool
	concurrent int32
}

// timeline holds closed spans in order of their start and labels instants, which must not go back.
//
// A request's prefill runs from its start, or from the server's own prefill start where that is known, to its first
// token, and its decode from there to its last token. Before its prefill it queues: it is in flight, but the board does
// nothing for it. When several requests are in their stages at once, the label is their common stage, or mixed, and the
// row names no request: it belongs to none of them alone.
type timeline struct {
	spans []*schema.Span
}

// add inserts a closed span.
func (t *timeline) add(s *schema.Span) {
	i, _ := slices.BinarySearchFunc(t.spans, s.StartNS, func(x *schema.Span, ns int64) int {
		if x.StartNS <= ns {
			return -1
		}
		return 1
	})
	t.spans = slices.Insert(t.spans, i, s)
}

// at labels one instant.
func (t *timeline) at(ns int64) label {
	if len(t.spans) > 0 && end(t.spans[0]) <= ns {
		t.spans = slices.DeleteFunc(t.spans, func(s *schema.Span) bool { return end(s) <= ns })
	}
	l := label{stage: schema.StageIdle}
	active := 0
	for _, s := range t.spans {
		if s.StartNS > ns {
			break
		}
		if ns >= end(s) {
			continue
		}
		l.concurrent++
		stage := stageOf(s, ns)
		if stage == schema.StageIdle {
			continue
		}
		active++
		if active == 1 {
			l.stage, l.span, l.workload, l.warmup = stage, s, s.Prompt.Workload, s.Warmup
			continue
		}
		l.span = nil
		l.warmup = l.warmup || s.Warmup
		if stage != l.stage {
			l.stage = schema.StageMixed
		}
		if s.Prompt.Workload != l.workload {
			l.workload = ""
		}
	}
	return l
}

// end is when a request has nothing more to do with the board.
func end(s *schema.Span) int64 {
	if s.GivenUp {
		return s.EndNS + int64(schema.GivenUpSettle)
	}
	return s.EndNS
}

// stageOf is what the board did for one request in flight.
func stageOf(s *schema.Span, ns int64) schema.Stage {
	switch {
	case s.PrefillStartNS.OK && ns < s.PrefillStartNS.V:
		return schema.StageIdle
	case s.FirstTokenNS.OK && ns >= s.FirstTokenNS.V:
		// After a failure mid-answer nobody knows when the board stopped: its rows stay with the failed request, which
		// is marked invalid, rather than pass for idle ones.
		if s.ErrorType == "" && s.LastTokenNS.OK && ns >= s.LastTokenNS.V {
			return schema.StageIdle
		}
		return schema.StageDecode
	case s.FirstTokenNS.OK || s.ErrorType == "" || s.MayHaveRun():
		return schema.StagePrefill
	default:
		return schema.StageIdle // refused: the board did nothing for it
	}
}
