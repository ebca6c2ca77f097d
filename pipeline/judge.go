package pipeline

import (
	"cmp"
	"slices"

	"github.com/llm-tracer/tracer/schema"
)

// judge sorts the requests by start, adds the reasons that only the whole run can tell, and counts outcomes.
func (p *Pipeline) judge() {
	slices.SortFunc(p.requests, func(a, b schema.Request) int { return cmp.Compare(a.StartNS, b.StartNS) })
	markOverlaps(p.requests)
	run := p.Run
	run.Requests, run.Succeeded, run.Failed, run.Interrupted, run.Invalid = int32(len(p.requests)), 0, 0, 0, 0
	for i := range p.requests {
		r := &p.requests[i]
		slices.Sort(r.Invalid)
		r.Invalid = slices.Compact(r.Invalid)
		switch {
		case r.ErrorType == "":
			run.Succeeded++
		case r.ErrorType == schema.ErrorInterrupted:
			run.Interrupted++
		default:
			run.Failed++
		}
		if !r.Valid() {
			run.Invalid++
		}
	}
}

// markOverlaps marks every request that was in flight together with another: their stages share the board, so neither
// one's timing nor energy is its own. The requests are sorted by start.
func markOverlaps(requests []schema.Request) {
	latest := -1 // the request seen so far that ends last
	for i := range requests {
		if latest >= 0 && requests[i].StartNS < requests[latest].EndNS {
			requests[i].Invalid = append(requests[i].Invalid, schema.ReasonOverlap)
			requests[latest].Invalid = append(requests[latest].Invalid, schema.ReasonOverlap)
		}
		if latest < 0 || requests[i].EndNS > requests[latest].EndNS {
			latest = i
		}
	}
}

// FirstError is the message of the first request that failed, for the screen; empty when none did.
func (p *Pipeline) FirstError() string {
	for i := range p.requests {
		if r := &p.requests[i]; r.ErrorType != "" && r.ErrorType != schema.ErrorInterrupted {
			return r.ErrorType + ": " + r.ErrorMessage
		}
	}
	return ""
}
