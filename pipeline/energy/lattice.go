package energy

import (
	"math"
	"slices"
)

// line is the lattice near some changes.
type line struct {
	changes  []change
	number   []float64 // of their updates, from the middle of them on
	telling  []int     // changes that say where the lattice is
	from, to int       // of the changes: those that the line places
	place
	settled []place // by jitter, as far as it was sought
	spread  float64 // standard deviation of at, were one midpoint all that is known
	lever   float64 // root mean square of the numbers
}

// place is where a line lies.
type place struct {
	at, slope     float64 // of the update with number 0, and from update to update, ns
	sd, tilt      float64 // standard deviations of both
	both          float64 // their covariance
	logLikelihood float64
}

// lineOf is the line through some changes, of which it is to place those between two positions. It reports false where too
// few tell the lattice.
func lineOf(changes []change, period float64, from, to int) (l line, ok bool) {
	l = line{changes: slices.Clone(changes), from: from, to: to}
	for i := range l.changes {
		if l.changes[i].tells(period) {
			l.telling = append(l.telling, i)
		}
	}
	if len(l.telling) < fewest {
		return l, false
	}
	l.count(period)
	l.fit(period)
	return l, true
}

// tells says whether a change says where the lattice is: one that came at any instant of a period does not.
func (c *change) tells(period float64) bool {
	const most = 0.95
	return !c.first && 2*c.half() < most*period
}

// count gives each change the number of its update. Two changes with one number are a value that was mended: both get the
// latter's.
func (l *line) count(period float64) {
	phase, _ := phaseOf(l.changes, period)
	for i := range l.changes {
		n := math.Round((l.changes[i].mid() - phase) / period)
		if i > 0 && n == l.number[i-1] {
			l.changes[i-1].w = l.changes[i].w
		}
		l.number = append(l.number, n)
	}
	var sum, squares float64
	for _, i := range l.telling {
		sum += l.number[i]
	}
	middle := math.Round(sum / float64(len(l.telling)))
	l.at = phase + middle*period
	for i := range l.number {
		l.number[i] -= middle
	}
	for _, i := range l.telling {
		squares += l.number[i] * l.number[i]
	}
	l.lever = math.Sqrt(squares / float64(len(l.telling)))
}

// phases is into how many steps the period is divided for a first look.
const phases = 100

// phaseOf is the place of a lattice under which most changes came between their two readings, and how well they agree. It is
// sought all around the period: readings that are rare put midpoints anywhere within one.
func phaseOf(changes []change, period float64) (phase, agreement float64) {
	const (
		near = 0.02 // of the period: sensors miss their lattice by less
		most = 5    // that one change can say against a place
	)
	origin := changes[0].mid()
	perNS, telling := phases/period, 0
	var logs [phases]float64
	for i := range changes {
		if !changes[i].tells(period) {
			continue
		}
		mid, half := (changes[i].mid()-origin)*perNS, changes[i].half()*perNS
		mid -= math.Floor(mid/phases) * phases
		reach := min(half+most*near*phases, phases/2) // beyond, each place is as bad
		for k := int(math.Ceil(mid - reach)); float64(k) < mid+reach; k++ {
			v := most - max(math.Abs(float64(k)-mid)-half, 0)/(near*phases)
			switch {
			case k < 0:
				logs[k+phases] += v
			case k >= phases:
				logs[k-phases] += v
			default:
				logs[k] += v
			}
		}
		telling++
	}
	top := slices.Max(logs[:])
	var x, y, mass float64
	for k, v := range logs {
		v = math.Exp(v - top)
		x, y, mass = x+v*circle[k].x, y+v*circle[k].y, mass+v
	}
	return origin + math.Atan2(y, x)/(2*math.Pi)*period, top + math.Log(mass) - most*float64(telling)
}

// circle is the phases around it.
var circle = func() (t [phases]struct{ x, y float64 }) {
	for k := range t {
		t[k].y, t[k].x = math.Sincos(2 * math.Pi * float64(k) / phases)
	}
	return t
}()

// A few changes tell the period roughly, by how well they agree on a place of the lattice; more around them, closer.
const (
	fewTell  = 64
	mostTell = 1024
	widestP  = 0.05 // the period that is told is not off by more, as a share
)

// periodOf is the period under which the changes agree best, or the one that is told where they are few or say nothing.
func periodOf(changes []change, told float64) float64 {
	if len(changes) < fewTell {
		return told
	}
	lo := 0 // of those that are known best
	sharpest := math.Inf(1)
	for from := 0; from+fewTell <= len(changes); from += fewTell / 2 {
		var sum float64
		for i := from; i < from+fewTell; i++ {
			sum += changes[i].half()
		}
		if sum < sharpest {
			lo, sharpest = from, sum
		}
	}
	hi := lo + fewTell
	span := (changes[hi-1].mid() - changes[lo].mid()) / told // in periods
	best, reach, step := told, widestP, 1/(phases*span)
	_, top := phaseOf(changes[lo:hi], told)
	top += math.Log(reach / step) // so much likelier is the best of many by chance
	for {
		was := best
		for k := -math.Floor(reach / step); k <= reach/step; k++ {
			p := was + k*step*told
			if _, agreement := phaseOf(changes[lo:hi], p); agreement > top {
				best, top = p, agreement
			}
		}
		if hi-lo >= min(len(changes), mostTell) {
			return best
		}
		lo, hi = max(0, lo-3*(hi-lo)/2), min(len(changes), hi+3*(hi-lo)/2)
		span = (changes[hi-1].mid() - changes[lo].mid()) / told
		reach, step = 2*step, 1/(phases*span)
		_, top = phaseOf(changes[lo:hi], best)
	}
}

// fit draws the line of least squares through the midpoints between readings, each off by up to half the gap, evenly.
func (l *line) fit(period float64) {
	var sw, sx, sy, sxx, sxy float64
	for _, i := range l.telling {
		x, h := l.number[i], max(l.changes[i].half(), 1)
		y, w := l.changes[i].mid()-l.at-period*x, 3/(h*h)
		sw, sx, sy, sxx, sxy = sw+w, sx+w*x, sy+w*y, sxx+w*x*x, sxy+w*x*y
	}
	l.slope = period
	if len(l.telling) >= tellsSlope {
		l.slope += (sxy - sx*sy/sw) / (sxx - sx*sx/sw)
	}
	l.at += (sy - (l.slope-period)*sx) / sw
	l.spread = math.Sqrt(float64(len(l.telling)) / sw)
}

// tellsSlope is how many changes say more about the slope than what is known of the period.
const tellsSlope = 32

// sure is a number of standard deviations that is as good as never exceeded.
const sure = 5

// jitters are the standard deviations that a sensor may miss its lattice by, as shares of its period.
var jitters = [...]float64{0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002}

// settle moves the line to where each change came between its two readings, the sensor missing its lattice by a jitter:
// midpoints are no better than the readings' rhythm, and say nothing new where that is a fraction of the sensor's. It goes
// through the jitters from the largest on, the line being sought ever closer to where it was likely under the one before.
func (l *line) settle(periodNS float64, jitter int) {
	if len(l.settled) == 0 {
		l.sd, l.tilt, l.both = l.spread, 0, 0
		if len(l.telling) >= tellsSlope {
			l.tilt = l.spread / l.lever
		}
	}
	for _, j := range jitters[len(l.settled):max(jitter+1, len(l.settled))] {
		l.weigh(j * periodNS)
		l.settled = append(l.settled, l.place)
	}
	l.place = l.settled[jitter]
}

// The line is weighed at so many places and slopes to either side, up to so many standard deviations away.
const (
	steps = 6
	away  = 3.0
	step  = away / steps
	side  = 2*steps + 1
)

// weigh weighs lines around this one by the likelihood of the changes, and becomes their mean.
func (l *line) weigh(jitter float64) {
	// Place and slope, in two directions in which they are not correlated.
	along := l.both / l.sd
	slant := math.Sqrt(max(l.tilt*l.tilt-along*along, 0))
	if slant < 1e-9*l.tilt {
		slant = 0
	}
	g := grid{flat: l.tilt == 0}
	for _, i := range l.telling {
		edge, n := l.at+l.slope*l.number[i], l.number[i]
		lo, hi := float64(l.changes[i].afterNS)-edge, float64(l.changes[i].byNS)-edge
		g.add(lo/jitter, hi/jitter, (l.sd+n*along)/jitter, n*slant/jitter)
	}
	m := g.sum()
	a, t, tilted := m.u*l.sd, m.u*along+m.v*slant, l.sd*(m.uu*along+m.uv*slant)
	aa, tt := m.uu*l.sd*l.sd, m.uu*along*along+2*m.uv*along*slant+m.vv*slant*slant
	l.logLikelihood = m.top + math.Log(m.mass*l.sd*step)
	if slant > 0 {
		l.logLikelihood += math.Log(slant * step)
	}
	const grain = step * step / 12 // of the steps themselves
	l.at, l.slope = l.at+a, l.slope+t
	l.both = tilted - a*t + grain*l.sd*along
	l.tilt = math.Sqrt(max(tt-t*t, 0) + grain*(along*along+slant*slant))
	l.sd = math.Sqrt(max(aa-a*a, 0) + grain*l.sd*l.sd)
}

// jitterOf is the standard deviation by which the sensor misses its lattice, by its position among the jitters: the
// likeliest. A few lines tell.
func jitterOf(lines []line, periodNS float64) (best int) {
	sums := make([]float64, len(jitters))
	for i := 0; i < len(lines); i += 1 + len(lines)/8 {
		lines[i].settle(periodNS, len(jitters)-1)
		for k, p := range lines[i].settled {
			sums[k] += p.logLikelihood
		}
	}
	return slices.Index(sums, slices.Max(sums))
}

// updates gives the line's changes their edges, and the updates between them that brought no new value. Changes whose edges
// are vaguer than that are left out, and those for which the lattice has two places.
func (l *line) updates(jitter, vaguest float64) (out []Update) {
	for i := l.from; i < l.to; i++ {
		c := &l.changes[i]
		if i == 0 || l.number[i-1] != l.number[i] { // else its value stands there already
			if edge, sd := l.edge(c, l.number[i], jitter); sd < vaguest {
				out = append(out, Update{EdgeNS: int64(edge), EdgeSD: sd, SharedSD: min(sd, l.unsure(l.number[i], 0)), W: float64(c.w)})
			}
		}
		if i+1 == len(l.changes) {
			break
		}
		if l.changes[i+1].first {
			continue // nobody looked
		}
		for n := l.number[i] + 1; n < l.number[i+1]; n++ {
			if sd := l.unsure(n, jitter); sd < vaguest {
				out = append(out, Update{EdgeNS: int64(l.at + l.slope*n), EdgeSD: sd, SharedSD: l.unsure(n, 0), W: float64(c.w)})
			}
		}
	}
	return out
}

// unsure is the standard deviation of the edge of an update that nobody saw.
func (l *line) unsure(number, jitter float64) float64 {
	return math.Sqrt(max(l.sd*l.sd+2*number*l.both+number*number*l.tilt*l.tilt, 0) + jitter*jitter)
}

// edge is a change's edge and its standard deviation, which is infinite where the change may be another update's.
func (l *line) edge(c *change, number, jitter float64) (at, sd float64) {
	at, sd = l.at+l.slope*number, l.unsure(number, jitter)
	if c.half()+sure*sd > l.slope-math.Abs(c.mid()-at) {
		return at, math.Inf(1)
	}
	return within(at, sd, float64(c.afterNS), float64(c.byNS))
}
