package sampler

import (
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// DefaultBudget is the share of wall time that one board's calls may take. DCGM at 100 ms was seen to cost 2 % of
// inter-token latency (srt-slurm, pull request 401), and calls that take long hold the driver's lock (MangoHud, issue 2104).
const DefaultBudget = 0.005

const (
	governed    = 5 * time.Second // the window that a share is taken over
	governBits  = 10              // parts of it; a share is judged at the end of each
	governPart  = governed / governBits
	governAfter = time.Second  // a shorter part of a window tells nothing: one slow lane falls into it or not
	governReads = 4            // nor does one of fewer readings
	restoreWhen = 0.5          // of the budget: the share that a halved period must be expected to take at most
	restoreWait = 2 * governed // since the last change
	slowest     = time.Second  // governed boards are read at least so often, whatever it costs
)

// governor keeps the calls of one board under a budget. Past it the board is read half as often, in every other slot of
// all its lanes, then in every fourth, and so on; once the calls have been cheap for long enough it is read twice as often
// again. It allocates only when it changes something.
type governor struct {
	budget   float64 // share of wall time; 0: the governor watches only
	periodNS int64   // of the plan
	stride   int64   // the board is read in every stride-th slot
	warm     bool    // has been read: the first call pays for what the driver has to load

	parts   [governBits]int64 // call time in the parts of the window, ns
	part    int               // the current one
	partNS  int64             // where it began
	sumNS   int64             // of the parts
	sinceNS int64             // where the window's contents begin
	changed int64             // when the stride was last changed
	highest float64
	changes []schema.PeriodChange
}

func newGovernor(plan Plan, budget float64, nowNS int64) governor {
	return governor{budget: budget, periodNS: int64(plan.Power), stride: 1, partNS: nowNS, sinceNS: nowNS, changed: nowNS}
}

// due is what of the plan falls due in the slots from first to last, and how many of the board's own slots these are.
func (g *governor) due(plan Plan, first, last int64) (lanes Lane, slots int64) {
	first, last = (first+g.stride-1)/g.stride, last/g.stride
	if last < first {
		return 0, 0
	}
	return plan.due(first, last), last - first + 1
}

// spend takes note of a call that has just ended, and reports whether the board's period was changed.
func (g *governor) spend(callNS, nowNS int64) (changed bool) {
	if !g.warm {
		g.warm, callNS = true, 0
	}
	g.parts[g.part] += callNS
	g.sumNS += callNS
	for nowNS >= g.partNS+int64(governPart) {
		changed = g.judge(g.partNS+int64(governPart)) || changed
		g.partNS += int64(governPart)
		g.part = (g.part + 1) % governBits
		g.sumNS -= g.parts[g.part]
		g.parts[g.part] = 0
		g.sinceNS = max(g.sinceNS, g.partNS-int64(governed-governPart))
	}
	return changed
}

// judge holds the share of the window that ends now against the budget.
func (g *governor) judge(nowNS int64) (changed bool) {
	length := nowNS - g.sinceNS
	if length < max(int64(governAfter), governReads*g.stride*g.periodNS) {
		return false
	}
	share := float64(g.sumNS) / float64(length)
	g.highest = max(g.highest, share)
	switch {
	case g.budget == 0:
	case share > g.budget && 2*g.stride*g.periodNS <= int64(slowest):
		return g.change(2*g.stride, share, nowNS)
	case g.stride > 1 && 2*share < restoreWhen*g.budget && nowNS >= g.changed+int64(restoreWait):
		return g.change(g.stride/2, share, nowNS)
	}
	return false
}

// change begins a new window: the old one was filled at another rhythm.
func (g *governor) change(stride int64, share float64, nowNS int64) bool {
	g.changes = append(g.changes, schema.PeriodChange{
		AtNS: nowNS, From: time.Duration(g.stride * g.periodNS), To: time.Duration(stride * g.periodNS), Share: share,
	})
	g.stride, g.changed = stride, nowNS
	g.parts, g.sumNS, g.sinceNS = [governBits]int64{}, 0, nowNS
	return true
}
