package pipeline

import (
	"math"
	"slices"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// conduct is what one board's readings say against them: why its clocks were held down, whether it worked before it was
// asked to, whether its power sensor stood still. All of it can be worked out again from the samples table.
type conduct struct {
	throttle []throttling
	baseline load
	still    stillness
	stuck    []schema.Gap // stretches in which the power sensor stood still while the board's work changed
	holes    holes
}

// holes are where a board has no readings for too long. A run that came to its end has better: its sampler's own gaps.
type holes struct {
	lastNS  int64 // the last reading; before the first, the start of the run
	gaps    []schema.Gap
	damaged []schema.Gap // because the journal is
}

// across says whether the journal is damaged between the last reading and this one, and remembers that.
func (h *holes) across(ns int64, lost damaged) bool {
	if !lost.between(h.lastNS, ns) {
		return false
	}
	h.damaged = append(h.damaged, schema.Gap{FromNS: h.lastNS, ToNS: ns, Why: schema.GapDamaged})
	return true
}

// until ends the time since the last reading; the plan was to read the board every so often.
func (h *holes) until(ns int64, period time.Duration, lost damaged) {
	if !h.across(ns, lost) && ns-h.lastNS > int64(schema.LongestSilence(period)) {
		h.gaps = append(h.gaps, schema.Gap{FromNS: h.lastNS, ToNS: ns, Why: schema.GapUnknown})
	}
	h.lastNS = ns
}

// atEnd are the gaps of a board whose run broke off at an instant: its readings from the horizon on, up to its last, are
// left out. Where it was not to be read all the time, a silence tells nothing.
func (h *holes) atEnd(horizon, lastNS, endNS int64, period time.Duration, sparse bool, lost damaged) []schema.Gap {
	if sparse {
		h.gaps, period = nil, math.MaxInt64/10
	}
	if lastNS > 0 {
		h.until(min(horizon, lastNS), period, lost)
		h.gaps = append(h.gaps, schema.Gap{FromNS: min(horizon, lastNS), ToNS: lastNS, Why: schema.GapUnlabelled})
		h.lastNS = lastNS
	}
	h.until(endNS, period, lost)
	return h.gaps
}

// throttling is a reading of the clocks' event reasons.
type throttling struct{ ns, reasons int64 }

// add takes a reading; before the first request it belongs to the idle baseline.
func (c *conduct) add(r *schema.Reading, b *schema.Board, baseline bool) {
	if r.Throttle.OK {
		c.held(throttling{r.MidNS(), r.Throttle.V})
	}
	if baseline {
		c.baseline.add(r)
	}
	if r.PowerInstantW.OK && c.still.over(r.PowerInstantW.V) {
		c.end(b)
		c.still = stillness{w: r.PowerInstantW.V, fromNS: r.MidNS()}
	}
	c.still.add(r)
}

// held keeps the first and the last of readings that say the same: those between them tell no more.
func (c *conduct) held(t throttling) {
	if n := len(c.throttle); n > 1 && c.throttle[n-1].reasons == t.reasons && c.throttle[n-2].reasons == t.reasons {
		c.throttle[n-1] = t
		return
	}
	c.throttle = append(c.throttle, t)
}

// end judges the stretch of one power value that is over.
func (c *conduct) end(b *schema.Board) {
	if c.still.contradicted(b) {
		c.stuck = append(c.stuck, schema.Gap{FromNS: c.still.fromNS, ToNS: c.still.toNS})
	}
}

// throttled is every reason that was read from the last reading before a request to the first after it: what changed in
// between went unseen.
func (c *conduct) throttled(s *schema.Span) (all schema.Opt[int64]) {
	first, _ := slices.BinarySearchFunc(c.throttle, s.StartNS, func(t throttling, ns int64) int {
		if t.ns <= ns {
			return -1
		}
		return 1
	})
	for i := max(0, first-1); i < len(c.throttle); i++ {
		all = schema.Some(all.V | c.throttle[i].reasons)
		if c.throttle[i].ns >= s.EndNS {
			break
		}
	}
	return all
}

// Bounds of the idle baseline: utilisation shows the last 0.2 s, and what came before the run is not the run's; a desktop
// may take some per cent.
const (
	baselineAfter = 500 * time.Millisecond
	baselineReads = 5
	baselineBusy  = 10 // %
)

// load counts how often the board was busy before the first request.
type load struct {
	firstNS       int64
	reads, loaded int
}

func (l *load) add(r *schema.Reading) {
	if l.firstNS == 0 {
		l.firstNS = r.MidNS()
	}
	if !r.GPUUtilPct.OK || r.MidNS() < l.firstNS+int64(baselineAfter) {
		return
	}
	l.reads++
	if r.GPUUtilPct.V >= baselineBusy {
		l.loaded++
	}
}

// foreign says that something else than the run's requests works on the board.
func (l *load) foreign() bool { return l.reads >= baselineReads && 2*l.loaded > l.reads }

// A power sensor may repeat a value for as long as the work stays the same. It is stuck where the work changes meanwhile:
// where utilisation does by half, or where the energy counter tells of another power. Near both ends the sensors' own lags
// differ, so that only what lies a while within counts.
const (
	stuckFor     = 10 // updates of the sensor, and
	stuckAtLeast = 2 * time.Second
	stuckMargin  = 500 * time.Millisecond
	stuckChange  = 50              // %, of utilisation
	stuckCounter = 2 * time.Second // between two readings of the energy counter: over less it is off by more than 4 %
	stuckOff     = 0.25            // of the power that the sensor shows, and
	stuckOffW    = 15.0
)

// stillness is a stretch of readings that show the same power, and what other sensors showed well within it.
type stillness struct {
	w               float32
	fromNS, toNS    int64
	near            []schema.Reading // by other sensors, so close to the end that they may not count
	lowest, highest schema.Opt[int32]
	first, last     timed // of the energy counter
}

type timed struct {
	ns int64
	j  float64
}

// over says whether a power ends the stretch, or none has begun.
func (s *stillness) over(w float32) bool { return s.fromNS == 0 || w != s.w }

func (s *stillness) add(r *schema.Reading) {
	if s.fromNS == 0 {
		return
	}
	if r.PowerInstantW.OK {
		s.toNS = r.MidNS()
	}
	if (r.GPUUtilPct.OK || r.EnergyTotalJ.OK) && r.MidNS() >= s.fromNS+int64(stuckMargin) {
		s.near = append(s.near, *r)
	}
	n := 0
	for n < len(s.near) && s.near[n].MidNS() <= s.toNS-int64(stuckMargin) {
		s.count(&s.near[n])
		n++
	}
	s.near = slices.Delete(s.near, 0, n)
}

func (s *stillness) count(r *schema.Reading) {
	if u := r.GPUUtilPct; u.OK {
		if !s.lowest.OK {
			s.lowest, s.highest = u, u
		}
		s.lowest.V, s.highest.V = min(s.lowest.V, u.V), max(s.highest.V, u.V)
	}
	if j := r.EnergyTotalJ; j.OK {
		s.last = timed{r.MidNS(), j.V}
		if s.first.ns == 0 {
			s.first = s.last
		}
	}
}

// contradicted says whether other sensors saw the work change.
func (s *stillness) contradicted(b *schema.Board) bool {
	if length := time.Duration(s.toNS - s.fromNS); s.fromNS == 0 || length < max(stuckAtLeast, stuckFor*b.Power.Period) {
		return false
	}
	if s.highest.V-s.lowest.V >= stuckChange {
		return true
	}
	length := time.Duration(s.last.ns - s.first.ns)
	if length < stuckCounter || s.last.j <= s.first.j || b.PowerScope == schema.PowerScopeModule { // the counter is the GPU's alone
		return false
	}
	drawn, shown := (s.last.j-s.first.j)/length.Seconds(), float64(s.w)
	return math.Abs(drawn-shown) > max(stuckOff*shown, stuckOffW)
}
