package verify

import (
	"math"
	"slices"

	"github.com/llm-tracer/tracer/schema"
)

// label is what the requests say of an instant.
type label struct {
	stage      schema.Stage
	request    *request // the one that had the board
	workload   string
	warmup     bool
	concurrent int32
	open       bool // an older file does not say whether the client had given a request up, so nothing is known
}

// phases are a request's: it waits from start on, prefills from work on, decodes from first to stop, and is over at over.
func (r *request) phases() (work, first, stop, over int64) {
	over = r.end
	if r.givenUp.V {
		over += int64(schema.GivenUpSettle)
	}
	work = r.start
	if r.prefill.OK {
		work = max(work, r.prefill.V)
	}
	switch {
	case r.first.OK && r.errorType == "" && r.last.OK:
		return work, r.first.V, r.last.V, over
	case r.first.OK:
		return work, r.first.V, over, over
	case r.errorType != "" && !(r.status.OK && r.status.V == 200) && (r.status.OK || !r.givenUp.V):
		return over, over, over, over // refused, or never connected
	default:
		return work, over, over, over
	}
}

// labels gives the label of one instant after the other.
type labels struct {
	requests []request // by start; what has begun is cut off
	active   []*request
	now      label
	until    int64 // the label holds
}

func (l *labels) at(ns int64) *label {
	if ns < l.until {
		return &l.now
	}
	for len(l.requests) > 0 && l.requests[0].start <= ns {
		l.active = append(l.active, &l.requests[0])
		l.requests = l.requests[1:]
	}
	l.active = slices.DeleteFunc(l.active, func(r *request) bool {
		_, _, _, over := r.phases()
		return over <= ns && !(r.unsure() && ns < r.end+int64(schema.GivenUpSettle))
	})
	l.now, l.until = label{stage: schema.StageIdle}, math.MaxInt64
	if len(l.requests) > 0 {
		l.until = l.requests[0].start
	}
	working := 0
	for _, r := range l.active {
		work, first, stop, over := r.phases()
		if r.unsure() {
			l.now.open, over = true, r.end+int64(schema.GivenUpSettle)
		}
		for _, next := range []int64{work, first, stop, over} {
			if next > ns {
				l.until = min(l.until, next)
			}
		}
		l.now.concurrent++
		if ns < work || ns >= stop {
			continue
		}
		stage := schema.StagePrefill
		if ns >= first {
			stage = schema.StageDecode
		}
		working++
		l.now.join(r, stage, working == 1)
	}
	return &l.now
}

func (r *request) unsure() bool { return r.errorType != "" && !r.givenUp.OK }

// join adds what a request does to the label.
func (l *label) join(r *request, stage schema.Stage, alone bool) {
	if alone {
		l.stage, l.request, l.workload, l.warmup = stage, r, r.workload, r.warmup
		return
	}
	l.request, l.warmup = nil, l.warmup || r.warmup
	if l.stage != stage {
		l.stage = schema.StageMixed
	}
	if l.workload != r.workload {
		l.workload = ""
	}
}
