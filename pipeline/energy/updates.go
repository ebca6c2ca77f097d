package energy

import (
	"math"
	"time"
)

// Update is one value that the sensor gave: the mean power over the window before EdgeNS, as far as the sensor is right.
type Update struct {
	EdgeNS   int64   // when the value came into being
	EdgeSD   float64 // standard deviation of EdgeNS, in ns
	SharedSD float64 // the part of it that neighbours have in common: the place of the lattice
	W        float64
}

// Updates gathers a board's readings into the sensor's own updates. Its zero value is not ready; see NewUpdates.
type Updates struct {
	periodNS float64
	changes  []change
	firstNS  int64
	lastNS   int64
	readings int
	prevNS   int64 // start of the reading before
	prevW    float32
}

// change is a value that was new: it came into being after afterNS and no later than byNS.
type change struct {
	afterNS, byNS int64
	w             float32
	first         bool // of a stretch: an update may have gone unseen before it
}

func (c *change) mid() float64  { return float64(c.afterNS) + c.half() }
func (c *change) half() float64 { return float64(c.byNS-c.afterNS) / 2 }

// NewUpdates expects a sensor that has a new value every period.
func NewUpdates(period time.Duration) *Updates { return &Updates{periodNS: float64(period)} }

// Add takes a reading of the sensor that began and ended at these instants. Readings come in the order of time.
func (u *Updates) Add(startNS, endNS int64, w float32) {
	gap := u.readings == 0 || float64(endNS-u.prevNS) > u.periodNS // a period without a reading can hide a value
	if gap || w != u.prevW {
		after := startNS - int64(u.periodNS) // the call may have looked at the sensor as soon as it began
		if u.readings > 0 {
			after = max(after, u.prevNS)
		}
		u.changes = append(u.changes, change{afterNS: after, byNS: endNS, w: w, first: gap})
	}
	if u.readings == 0 {
		u.firstNS = startNS
	}
	u.prevNS, u.prevW, u.lastNS = startNS, w, endNS
	u.readings++
}

// Span is from the beginning of the first reading to the end of the last; it reports false where there was none.
func (u *Updates) Span() (fromNS, toNS int64, ok bool) { return u.firstNS, u.lastNS, u.readings > 0 }

// vaguest is the largest standard deviation of an edge, as a share of the sensor's period, with which an update is of use:
// the windows of vaguer ones may lie in another stage altogether, and no interval that is fitted to them knows.
const vaguest = 1.0 / 6

// Located is the updates with their edges as well as they can be known. A sensor updates on a lattice, so that neighbours
// tell more about an edge than the two readings around it: a line is fitted through the changes nearby. Values that came
// again unchanged are put back where the lattice has them. An update is left out where readings are so rare that two
// places of the lattice are open to it.
func (u *Updates) Located() []Update {
	period := periodOf(u.changes, u.periodNS)
	var lines []line
	jitter := 0 // of those that may be
	for _, stretch := range stretches {
		all := u.lines(period, stretch)
		if len(all) == 0 {
			continue
		}
		if j := jitterOf(all, u.periodNS); j >= jitter { // no more jitter than in shorter ones: the clocks keep to it
			lines, jitter = all, j
		}
	}
	var out []Update
	for i := range lines {
		lines[i].settle(u.periodNS, jitter)
		out = append(out, lines[i].updates(jitters[jitter]*u.periodNS, vaguest*u.periodNS)...)
	}
	return out
}

// The lattice is fitted to stretches of so many changes, one every half stretch: 13 s of a sensor of 100 ms, in which a
// clock whose drift changes by 1e-5 moves by a tenth of a millisecond, or 51 s where that shows no more jitter.
var stretches = [...]int{128, 512}

// longestGap is for how many periods a clock is trusted that nobody looks at.
const longestGap = 256

// lines are the lattice around every half stretch of changes.
func (u *Updates) lines(period float64, stretch int) (lines []line) {
	for changes := u.changes; len(changes) > 0; {
		n := 1 // of changes without too long a gap
		for n < len(changes) && !(changes[n].first && changes[n].mid()-changes[n-1].mid() > longestGap*period) {
			n++
		}
		for from := 0; from < n; from += stretch / 2 {
			lo, hi := max(0, from-stretch/4), min(n, from+3*stretch/4)
			if l, ok := lineOf(changes[lo:hi], period, from-lo, min(n, from+stretch/2)-lo); ok {
				lines = append(lines, l)
			}
		}
		changes = changes[n:]
	}
	return lines
}

// within is the mean and the standard deviation of a normal variable that is known to lie between two bounds.
func within(mean, sd, lo, hi float64) (m, s float64) {
	if sd < 1 { // ns
		return min(max(mean, lo), hi), sd
	}
	a, b := (lo-mean)/sd, (hi-mean)/sd
	mass := (math.Erf(b/math.Sqrt2) - math.Erf(a/math.Sqrt2)) / 2
	if mass < 1e-6 { // the lattice contradicts the readings: these are certain
		return (lo + hi) / 2, (hi - lo) / math.Sqrt(12)
	}
	pa, pb := density(a), density(b)
	shift := (pa - pb) / mass
	variance := 1 + (a*pa-b*pb)/mass - shift*shift
	return mean + sd*shift, sd * math.Sqrt(max(variance, 0))
}

func density(z float64) float64 { return math.Exp(-z*z/2) / math.Sqrt(2*math.Pi) }
