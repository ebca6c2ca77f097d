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
}

// throttling is a reading of the clocks' event reasons.
type throttling struct{ ns, reasons int64 }

// add takes a reading; before the first request it belongs to the idle baseline.
func (c *conduct) add(r *schema.Reading, b *schema.Board, baseline bool) {
	if r.Throttle.OK {
		c.throttle = append(c.throttle, throttling{r.MidNS(), r.Throttle.V})
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

// stillness is a stretch of readings that show the same power.
type stillness struct {
	w            float32
	fromNS, toNS int64
	utilization  []timed
	counter      []timed
}

type timed struct {
	ns    int64
	value float64
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
	if r.GPUUtilPct.OK {
		s.utilization = append(s.utilization, timed{r.MidNS(), float64(r.GPUUtilPct.V)})
	}
	if r.EnergyTotalJ.OK {
		s.counter = append(s.counter, timed{r.MidNS(), r.EnergyTotalJ.V})
	}
}

// contradicted says whether other sensors saw the work change.
func (s *stillness) contradicted(b *schema.Board) bool {
	if length := time.Duration(s.toNS - s.fromNS); s.fromNS == 0 || length < max(stuckAtLeast, stuckFor*b.Power.Period) {
		return false
	}
	lowest, highest := math.Inf(1), math.Inf(-1)
	for _, u := range s.within(s.utilization) {
		lowest, highest = min(lowest, u.value), max(highest, u.value)
	}
	if highest-lowest >= stuckChange {
		return true
	}
	counter := s.within(s.counter)
	if len(counter) < 2 || b.PowerScope == schema.PowerScopeModule { // the counter is the GPU's alone
		return false
	}
	first, last := counter[0], counter[len(counter)-1]
	length := time.Duration(last.ns - first.ns)
	mean, shown := (last.value-first.value)/length.Seconds(), float64(s.w)
	return length >= stuckCounter && mean > 0 && math.Abs(mean-shown) > max(stuckOff*shown, stuckOffW)
}

// within are the readings that lie well within the stretch.
func (s *stillness) within(all []timed) []timed {
	from := slices.IndexFunc(all, func(t timed) bool { return t.ns >= s.fromNS+int64(stuckMargin) })
	if from < 0 {
		return nil
	}
	to := from
	for to < len(all) && all[to].ns <= s.toNS-int64(stuckMargin) {
		to++
	}
	return all[from:to]
}
