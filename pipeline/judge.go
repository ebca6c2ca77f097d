package pipeline

import (
	"cmp"
	"slices"

	"github.com/llm-tracer/tracer/schema"
)

// judge sorts the requests by start, adds the reasons that only the whole run can tell, and counts outcomes.
func (p *Pipeline) judge(sampling []schema.Sampling) {
	slices.SortFunc(p.requests, func(a, b schema.Request) int { return cmp.Compare(a.StartNS, b.StartNS) })
	markOverlaps(p.requests)
	p.markBoards(sampling)
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

// markBoards marks the requests that a board was not read in, or not at its best.
func (p *Pipeline) markBoards(sampling []schema.Sampling) {
	var foreign bool
	for b := range p.conducts {
		c := &p.conducts[b]
		c.end(&p.Boards[b])
		foreign = foreign || c.baseline.foreign()
	}
	for i := range p.requests {
		r := &p.requests[i]
		for b := range p.conducts {
			if t := p.conducts[b].throttled(&r.Span); t.OK {
				r.Throttle = schema.Some(r.Throttle.V | t.V)
			}
			if r.Missed(sampling[b].Gaps) {
				r.Invalid = append(r.Invalid, schema.ReasonGap)
			}
			if r.Stepped(sampling[b].ClockSteps) {
				r.Invalid = append(r.Invalid, schema.ReasonClockStep)
			}
		}
		if r.Throttle.V&schema.ThrottleSlowdown != 0 {
			r.Invalid = append(r.Invalid, schema.ReasonThrottled)
		}
		if foreign {
			r.Invalid = append(r.Invalid, schema.ReasonForeignLoad)
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
