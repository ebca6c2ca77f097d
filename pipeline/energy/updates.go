package energy

import (
	"math"
	"slices"
	"time"
)

// Update is one value that the sensor gave: the mean power over the window before EdgeNS, as far as the sensor is right.
type Update struct {
	EdgeNS int64   // when the value came into being
	EdgeSD float64 // standard deviation of EdgeNS, in ns
	W      float64
}

// Updates gathers a board's readings into the sensor's own updates. Its zero value is not ready; see NewUpdates.
type Updates struct {
	periodNS float64
	changes  []change
	seen     bool
	firstNS  int64
	lastNS   int64
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
	gap := !u.seen || float64(endNS-u.prevNS) > u.periodNS // a period without a reading can hide a value
	if gap || w != u.prevW {
		after := endNS - int64(u.periodNS)
		if u.seen {
			after = max(after, u.prevNS)
		}
		u.changes = append(u.changes, change{afterNS: after, byNS: endNS, w: w, first: gap})
	}
	if !u.seen {
		u.firstNS = startNS
	}
	u.seen, u.prevNS, u.prevW, u.lastNS = true, startNS, w, endNS
}

// Span is from the beginning of the first reading to the end of the last; it reports false where there was none.
func (u *Updates) Span() (fromNS, toNS int64, ok bool) { return u.firstNS, u.lastNS, u.seen }

// Located is the updates with their edges as well as they can be known. A sensor updates on a lattice, so that neighbours
// tell more about an edge than the two readings around it: a line is fitted through the changes nearby. Values that came
// again unchanged are put back where the lattice has them.
func (u *Updates) Located() []Update {
	var out []Update
	period := u.refinedPeriod()
	for from := 0; from < len(u.changes); {
		to := from + 1
		for to < len(u.changes) && !u.changes[to].first {
			to++
		}
		out = append(out, locate(u.changes[from:to], period)...)
		from = to
	}
	return out
}

// The lattice is fitted to stretches of so many changes, one every half stretch: 13 s of a sensor of 100 ms, in which a
// clock that drifts by 1e-5 moves by a tenth of a millisecond.
const stretch = 128

// refinedPeriod is the period that the changes themselves show, over steps short enough to be counted without doubt.
func (u *Updates) refinedPeriod() float64 {
	const countable = 10
	var spans, steps float64
	for i := 1; i < len(u.changes); i++ {
		c := &u.changes[i]
		d := c.mid() - u.changes[i-1].mid()
		if n := math.Round(d / u.periodNS); !c.first && n >= 1 && n <= countable {
			spans += d
			steps += n
		}
	}
	if steps < stretch/2 {
		return u.periodNS
	}
	if p := spans / steps; math.Abs(p-u.periodNS) < u.periodNS/20 {
		return p
	}
	return u.periodNS // the changes follow another rhythm than the sensor's: trust neither
}

// locate places changes that follow each other without a gap.
func locate(changes []change, period float64) []Update {
	number := make([]float64, len(changes)) // of the update on the lattice
	for i := 1; i < len(changes); i++ {
		number[i] = number[i-1] + max(1, math.Round((changes[i].mid()-changes[i-1].mid())/period))
	}
	lines := latticeOf(changes, number, period)
	var out []Update
	for i := range changes {
		c, l := &changes[i], lines[2*i/stretch]
		at := func(n float64) float64 { return l.at + (n-l.number)*l.slope }
		edge, sd := within(at(number[i]), math.Hypot(l.sd, l.jitter), float64(c.afterNS), float64(c.byNS))
		out = append(out, Update{EdgeNS: int64(edge), EdgeSD: sd, W: float64(c.w)})
		if i+1 == len(changes) {
			break
		}
		for n := number[i] + 1; n < number[i+1]; n++ {
			out = append(out, Update{EdgeNS: int64(at(n)), EdgeSD: math.Hypot(l.sd, l.jitter), W: float64(c.w)})
		}
	}
	return out
}

// line is a lattice near one of its points.
type line struct {
	number, at, slope float64
	sd                float64 // of at
	jitter            float64 // standard deviation by which the sensor itself misses its lattice
}

// latticeOf is the lattice around every half stretch of changes.
func latticeOf(changes []change, number []float64, period float64) (lines []line) {
	for from := 0; from < len(changes); from += stretch / 2 {
		lo, hi := max(0, from-stretch/4), min(len(changes), from+3*stretch/4)
		lines = append(lines, fit(changes[lo:hi], number[lo:hi], number[from], period))
	}
	return lines
}

// fit is the line that the changes lie on, at number n. Its slope is that of least squares through the midpoints between
// readings; its offset is the mean of all that the readings around each change leave possible, since those midpoints are
// no better than the readings' rhythm: they say nothing new where that is a fraction of the sensor's.
func fit(changes []change, number []float64, n, period float64) line {
	l := line{number: n, slope: period}
	origin := changes[0].mid()
	var sx, sy, sxx, sxy, explained, narrowest float64
	count := float64(len(changes))
	for i := range changes {
		x, y, h := number[i]-n, changes[i].mid()-origin, changes[i].half()
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
		explained += h * h / 3
		if narrowest == 0 || h < narrowest {
			narrowest = h
		}
	}
	if len(changes) >= stretch/4 { // fewer say less about the period than what is known of it
		l.slope = (sxy - sx*sy/count) / (sxx - sx*sx/count)
	}
	l.at = origin + (sy-l.slope*sx)/count
	var scatter float64
	for i := range changes {
		d := changes[i].mid() - l.at - l.slope*(number[i]-n)
		scatter += d * d
	}
	l.jitter = math.Sqrt(max(0, scatter-explained) / count)
	l.offset(changes, number, max(l.jitter, 1e-3*narrowest), 2*explained/count)
	return l
}

// offset weighs every offset of the line by the likelihood that each change came between its two readings.
func (l *line) offset(changes []change, number []float64, jitter, variance float64) {
	const half = 64
	step := 2 * math.Sqrt(variance) / half
	var logs [2*half + 1]float64
	for i := range changes {
		at := l.at + l.slope*(number[i]-l.number)
		lo, hi := float64(changes[i].afterNS)-at, float64(changes[i].byNS)-at
		for k := range logs {
			o := float64(k-half) * step
			p := (math.Erf((hi-o)/jitter/math.Sqrt2) - math.Erf((lo-o)/jitter/math.Sqrt2)) / 2
			logs[k] += math.Log(max(p, 1e-12))
		}
	}
	top := slices.Max(logs[:])
	var mass, first, second float64
	for k, v := range logs {
		p, o := math.Exp(v-top), float64(k-half)*step
		mass, first, second = mass+p, first+p*o, second+p*o*o
	}
	mean := first / mass
	l.at += mean
	l.sd = math.Sqrt(max(second/mass-mean*mean, 0) + step*step/12)
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
