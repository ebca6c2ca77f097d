package verify

import (
	"slices"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// conduct is what one board's rows say against them, besides power.
type conduct struct {
	held  held
	idle  idle
	gaps  gaps
	still still
}

// held gathers, request by request, why clocks were held down: from the last reading before the request to the first
// after it.
type held struct {
	requests []request // by start
	reasons  []schema.Opt[int64]
	began    int   // requests so far
	open     []int // of those, without a reading after them yet
	last     schema.Opt[int64]
}

func (h *held) add(ns int64, reasons schema.Opt[int64]) {
	if !reasons.OK {
		return
	}
	for ; h.began < len(h.requests) && h.requests[h.began].start < ns; h.began++ {
		h.reasons[h.began] = h.last
		h.open = append(h.open, h.began)
	}
	h.open = slices.DeleteFunc(h.open, func(i int) bool {
		h.reasons[i] = schema.Some(h.reasons[i].V | reasons.V)
		return h.requests[i].end <= ns
	})
	h.last = reasons
}

// end gives the reasons of each request.
func (h *held) end() []schema.Opt[int64] {
	for ; h.began < len(h.requests); h.began++ {
		h.reasons[h.began] = h.last
	}
	return h.reasons
}

// idle counts how often a board was busy before the run's first request. A reading of utilisation shows up to the last
// half second; five must be there, most of them at 10 % or more.
type idle struct {
	untilNS, firstNS int64
	quiet, busy      int
}

func (b *idle) add(ns int64, utilisation schema.Opt[int32]) {
	if ns >= b.untilNS {
		return
	}
	if b.firstNS == 0 {
		b.firstNS = ns
	}
	switch {
	case !utilisation.OK || ns < b.firstNS+int64(time.Second/2):
	case utilisation.V < 10:
		b.quiet++
	default:
		b.busy++
	}
}

func (b *idle) foreign() bool { return b.quiet+b.busy >= 5 && b.busy > b.quiet }

// gaps holds a board's rows against its gaps, which follow one another.
type gaps struct {
	left    []schema.Gap
	silence int64 // ns, the longest without a gap; 0 where readings were not asked for all the time
	lastNS  int64
}

// add reports a row within a gap, or a time without rows that is none.
func (g *gaps) add(ns int64) (within, silent bool) {
	for len(g.left) > 0 && g.left[0].ToNS <= g.lastNS {
		g.left = g.left[1:]
	}
	covered := len(g.left) > 0 && g.left[0].FromNS <= g.lastNS && g.left[0].ToNS >= ns
	within = len(g.left) > 0 && g.left[0].FromNS < ns && ns < g.left[0].ToNS
	silent = g.silence > 0 && g.lastNS != 0 && ns-g.lastNS > g.silence && !covered
	g.lastNS = ns
	return within, silent
}

// stillOf is what a board's power sensor is judged by.
func (r *run) stillOf(uuid string) (s still) {
	for i := range r.boards {
		if b := &r.boards[i]; b.uuid == uuid {
			s.periodS, s.counter = b.sensorS, b.scope != schema.PowerScopeModule
		}
	}
	return s
}

// gapsOf are those that runs says a board has, and how long it may be silent without.
func (r *run) gapsOf(uuid string) (g gaps) {
	for i := range r.boards {
		if b := &r.boards[i]; b.uuid == uuid {
			g.left = b.gaps
			if b.gapsTold {
				g.silence = int64(schema.LongestSilence(b.period))
			}
		}
	}
	if slices.ContainsFunc(r.requests, func(q request) bool { return q.block }) {
		g.silence = 0
	}
	return g
}

// circumstances recomputes the reason codes that follow from what befell the boards and the host.
func (r *run) circumstances() {
	foreign := false
	for _, s := range r.seen {
		foreign = foreign || s.foreign
	}
	told := map[string]bool{}
	for i := range r.requests {
		q := &r.requests[i]
		if !q.befallen {
			continue
		}
		reasons := r.heldDown(i)
		if reasons != q.throttle && !told["throttle_reasons"] {
			told["throttle_reasons"] = true
			r.bad(r.at(), "request %s: throttle_reasons is %s, the readings give %s", q.id, mask(q.throttle), mask(reasons))
		}
		span := schema.Span{StartNS: q.start, EndNS: q.end}
		for code, holds := range map[string]bool{
			schema.ReasonGap:         slices.ContainsFunc(r.boards, func(b boardRow) bool { return span.Missed(b.gaps) }),
			schema.ReasonClockStep:   slices.ContainsFunc(r.boards, func(b boardRow) bool { return span.Stepped(b.steps) }),
			schema.ReasonThrottled:   reasons.V&schema.ThrottleSlowdown != 0,
			schema.ReasonForeignLoad: foreign,
		} {
			if holds != slices.Contains(q.shared, code) && !told[code] {
				told[code] = true
				r.bad(r.at(), "request %s: its reason codes and what befell its boards disagree about the reason code %s", q.id, code)
			}
		}
	}
}

// heldDown are the reasons of all boards during a request.
func (r *run) heldDown(request int) (all schema.Opt[int64]) {
	for _, s := range r.seen {
		if of := s.held[request]; of.OK {
			all = schema.Some(all.V | of.V)
		}
	}
	return all
}
