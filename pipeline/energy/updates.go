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
		after := endNS - int64(u.periodNS)
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

// rarest is how long readings may be apart, as a share of the sensor's period. Rarer ones leave it open which value came
// when: at nine tenths, prefills of 7 J were given 3.
const rarest = 0.67

// Located is the updates with their edges as well as they can be known. A sensor updates on a lattice, so that neighbours
// tell more about an edge than the two readings around it: a line is fitted through the changes nearby. Values that came
// again unchanged are put back where the lattice has them. There are none where readings are too rare.
func (u *Updates) Located() []Update {
	if u.readings < 2 || float64(u.lastNS-u.firstNS)/float64(u.readings-1) > rarest*u.periodNS {
		return nil
	}
	var lines []line
	for from, period := 0, u.refinedPeriod(); from < len(u.changes); {
		to := from + 1
		for to < len(u.changes) && !u.changes[to].first {
			to++
		}
		lines = append(lines, latticeOf(u.changes[from:to], period)...)
		from = to
	}
	jitter := jitterOf(lines, u.periodNS)
	var out []Update
	for i := range lines {
		out = append(out, lines[i].place(jitter)...)
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
		if n := math.Round(d / u.periodNS); !c.first && !u.changes[i-1].first && n >= 1 && n <= countable {
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

// line is the lattice near some changes that follow each other without a gap.
type line struct {
	changes   []change  // that it is fitted to
	number    []float64 // of their updates, from the first that the line places
	from, to  int       // of the changes: those that the line places
	at, slope float64   // of the update with number 0, and from update to update, ns
	spread    float64   // standard deviation of at, were the midpoints all that is known
}

// count gives each change the number of its update. It follows the lattice with a loop of its own, so that one change that
// is known badly does not put all after it one off. A change with its predecessor's number is a value that was mended: it
// takes the predecessor's place.
func count(changes []change, period float64) (kept []change, number []float64) {
	kept, number = append(kept, changes[0]), append(number, 0)
	at, trust := changes[0].mid(), 1/(changes[0].half()*changes[0].half())
	for _, c := range changes[1:] {
		last := len(kept) - 1
		n := math.Round((c.mid() - at) / period)
		if n == 0 {
			kept[last].w = c.w
			continue
		}
		number, kept = append(number, number[last]+n), append(kept, c)
		// The weighted mean of some twenty changes, in which a period that is 1e-4 off adds up to a fiftieth of one.
		weight := 1 / (c.half() * c.half())
		at += n*period + weight/(trust+weight)*(c.mid()-at-n*period)
		trust = min(trust+weight, 20*weight)
	}
	return kept, number
}

// latticeOf is the lattice around every half stretch of changes.
func latticeOf(changes []change, period float64) (lines []line) {
	changes, number := count(changes, period)
	for from := 0; from < len(changes); from += stretch / 2 {
		lo, hi := max(0, from-stretch/4), min(len(changes), from+3*stretch/4)
		l := line{changes: changes[lo:hi], from: from - lo, to: min(len(changes), from+stretch/2) - lo}
		for _, n := range number[lo:hi] {
			l.number = append(l.number, n-number[from])
		}
		l.fit(period)
		lines = append(lines, l)
	}
	return lines
}

// fit draws the line of least squares through the midpoints between readings, each off by up to half the gap, evenly.
func (l *line) fit(period float64) {
	origin := l.changes[0].mid()
	var sw, sx, sy, sxx, sxy float64
	for i := range l.changes {
		x, y, h := l.number[i], l.changes[i].mid()-origin, max(l.changes[i].half(), 1)
		w := 3 / (h * h)
		sw, sx, sy, sxx, sxy = sw+w, sx+w*x, sy+w*y, sxx+w*x*x, sxy+w*x*y
	}
	l.slope = period
	if len(l.changes) >= stretch/4 { // fewer say less about the period than what is known of it
		l.slope = (sxy - sx*sy/sw) / (sxx - sx*sx/sw)
	}
	l.at = origin + (sy-l.slope*sx)/sw
	l.spread = math.Sqrt(float64(len(l.changes)) / sw)
}

// offsets is into how many steps either side of the line its offset is weighed.
const offsets = 64

// sure is a number of standard deviations that is as good as never exceeded.
const sure = 5

// offset weighs every offset of the line by the likelihood that each change came between its two readings, the sensor
// missing its lattice by jitter: midpoints are no better than the readings' rhythm, and say nothing new where that is a
// fraction of the sensor's. It returns the offset's mean and standard deviation, and the likelihood's logarithm.
func (l *line) offset(jitter float64) (mean, sd, logLikelihood float64) {
	step := 2 * l.spread / offsets
	var logs [2*offsets + 1]float64
	for i := range l.changes {
		at := l.at + l.slope*l.number[i]
		lo, hi := float64(l.changes[i].afterNS)-at, float64(l.changes[i].byNS)-at
		for k := range logs {
			o := float64(k-offsets) * step
			if o-lo > sure*jitter && hi-o > sure*jitter {
				continue // as good as certain
			}
			p := (math.Erf((hi-o)/jitter/math.Sqrt2) - math.Erf((lo-o)/jitter/math.Sqrt2)) / 2
			logs[k] += math.Log(max(p, 1e-12))
		}
	}
	top := slices.Max(logs[:])
	var mass, first, second float64
	for k, v := range logs {
		p, o := math.Exp(v-top), float64(k-offsets)*step
		mass, first, second = mass+p, first+p*o, second+p*o*o
	}
	mean = first / mass
	return mean, math.Sqrt(max(second/mass-mean*mean, 0) + step*step/12), top + math.Log(mass)
}

// jitterOf is the standard deviation by which the sensor misses its lattice, the likeliest of some shares of its period; a
// few lines tell.
func jitterOf(lines []line, periodNS float64) (jitter float64) {
	best := math.Inf(-1)
	for _, share := range []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1} {
		var sum float64
		for i := 0; i < len(lines); i += 1 + len(lines)/8 {
			_, _, logLikelihood := lines[i].offset(share * periodNS)
			sum += logLikelihood
		}
		if sum > best {
			best, jitter = sum, share*periodNS
		}
	}
	return jitter
}

// place gives the line's changes their edges, and the updates between them that brought no new value.
func (l *line) place(jitter float64) (out []Update) {
	mean, sd, _ := l.offset(jitter)
	for i := l.from; i < l.to; i++ {
		c := &l.changes[i]
		edge, edgeSD := within(l.at+mean+l.slope*l.number[i], math.Hypot(sd, jitter), float64(c.afterNS), float64(c.byNS))
		out = append(out, Update{EdgeNS: int64(edge), EdgeSD: edgeSD, W: float64(c.w)})
		if i+1 == len(l.changes) {
			break
		}
		for n := l.number[i] + 1; n < l.number[i+1]; n++ {
			out = append(out, Update{EdgeNS: int64(l.at + mean + l.slope*n), EdgeSD: math.Hypot(sd, jitter), W: float64(c.w)})
		}
	}
	return out
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
