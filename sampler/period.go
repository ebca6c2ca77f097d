package sampler

import (
	"math"
	"math/cmplx"
	"slices"
	"time"
)

// edge is when a sensor was renewed, as far as its reader can know: after the last look at the old value, and no later
// than the first at the new one. CLOCK_MONOTONIC, ns.
type edge struct{ afterNS, byNS int64 }

func (e edge) midNS() float64   { return float64(e.afterNS) + e.widthNS()/2 }
func (e edge) widthNS() float64 { return float64(e.byNS - e.afterNS) }

// rhythm is how a sensor is renewed: at phase + k·period.
type rhythm struct {
	periodNS, phaseNS float64
	confidence        float64 // mean resultant length of the edges at the period: 1 for a clock, 0 for no rhythm
}

const (
	shortestPeriod = 8 * time.Millisecond // four looks
	longestPeriod  = time.Second
	// fewestEdges, with a rhythm of soundConfidence: that many random instants agree so well on any of the 500 periods
	// that 4 s can tell apart in 2 or 3 of 100 cases. With strongEvidence = n·R² (Rayleigh's test), a weaker rhythm will do.
	fewestEdges     = 8
	soundConfidence = 0.93
	strongEvidence  = 12
)

// fitRhythm finds the period of a sensor by the phases of its renewals. Of the periods at which the phases agree nearly
// as well as at the best (half, a third, … of the true period are among them) it takes the longest that the gaps between
// renewals allow, so that renewals unseen for want of a new value do not lengthen it. It reports false where nothing is
// to be told: too few renewals, or no rhythm in them.
func fitRhythm(edges []edge) (rhythm, bool) {
	if len(edges) < fewestEdges {
		return rhythm{}, false
	}
	c := newCircle(edges)
	shortest := max(float64(shortestPeriod), 1.2*c.medianWidthNS)
	step := 1 / (8 * c.spanNS) // leaves 2 % of a peak's height between two steps
	lowest := max(1/float64(longestPeriod), 2/c.spanNS)
	heights := c.sweep(lowest, step, int((1/shortest-lowest)/step)+1)
	best := slices.Max(heights)
	for i, height := range heights { // from the longest period
		peak := (i == 0 || height >= heights[i-1]) && (i == len(heights)-1 || height >= heights[i+1])
		if !peak || height < 0.9*best {
			continue
		}
		r := c.refine(lowest+float64(i)*step, step)
		if c.sameGaps(r.periodNS) {
			return r, c.convinces(r.confidence)
		}
	}
	return rhythm{}, false
}

// circle holds renewals to be laid around a circle of some circumference. One that is known to a late look only counts less.
type circle struct {
	edges         []edge
	atNS          []float64 // since the first
	weights       []float64
	weight        float64
	spanNS        float64
	medianWidthNS float64
}

func newCircle(edges []edge) *circle {
	c := &circle{edges: edges, spanNS: max(edges[len(edges)-1].midNS()-edges[0].midNS(), 1)}
	var widths []float64
	for _, e := range edges {
		widths = append(widths, e.widthNS())
	}
	slices.Sort(widths)
	c.medianWidthNS = max(widths[len(widths)/2], 1)
	for _, e := range edges {
		lateness := e.widthNS() / (2 * c.medianWidthNS)
		w := 1 / (1 + lateness*lateness)
		c.atNS = append(c.atNS, e.midNS()-edges[0].midNS())
		c.weights = append(c.weights, w)
		c.weight += w
	}
	return c
}

// sweep is the mean resultant length at each of n frequencies (1/ns).
func (c *circle) sweep(lowest, step float64, n int) []float64 {
	sums := make([]complex128, max(n, 1))
	for i, at := range c.atNS {
		turn, by := cmplx.Rect(c.weights[i], 2*math.Pi*lowest*at), cmplx.Rect(1, 2*math.Pi*step*at)
		for k := range sums {
			sums[k] += turn
			turn *= by
		}
	}
	heights := make([]float64, len(sums))
	for k, s := range sums {
		heights[k] = cmplx.Abs(s) / c.weight
	}
	return heights
}

func (c *circle) resultant(frequency float64) complex128 {
	var sum complex128
	for i, at := range c.atNS {
		sum += cmplx.Rect(c.weights[i], 2*math.Pi*frequency*at)
	}
	return sum / complex(c.weight, 0)
}

// refine climbs to the top of a peak that lies within one step of a frequency, by golden section.
func (c *circle) refine(frequency, step float64) rhythm {
	low, high := frequency-step, frequency+step
	for range 40 {
		a, b := high-(high-low)/math.Phi, low+(high-low)/math.Phi
		if cmplx.Abs(c.resultant(a)) > cmplx.Abs(c.resultant(b)) {
			high = b
		} else {
			low = a
		}
	}
	frequency = (low + high) / 2
	top := c.resultant(frequency)
	return rhythm{
		periodNS:   1 / frequency,
		phaseNS:    c.edges[0].midNS() + cmplx.Phase(top)/(2*math.Pi*frequency),
		confidence: cmplx.Abs(top),
	}
}

// sameGaps says whether renewals can be a period apart: few that are well known are closer than 0.55 of it. A value that is
// mended after it was shown looks like one renewal more.
func (c *circle) sameGaps(periodNS float64) bool {
	known, near := 0, 0
	for i := 1; i < len(c.edges); i++ {
		if max(c.edges[i-1].widthNS(), c.edges[i].widthNS()) > max(periodNS/4, 1.5*c.medianWidthNS) {
			continue
		}
		known++
		if c.atNS[i]-c.atNS[i-1] < 0.55*periodNS {
			near++
		}
	}
	return near <= max(1, known/8)
}

// convinces judges a confidence by the number of renewals behind it.
func (c *circle) convinces(confidence float64) bool {
	var squares float64
	for _, w := range c.weights {
		squares += w * w
	}
	n := c.weight * c.weight / squares
	return n >= fewestEdges-0.5 && (confidence >= soundConfidence || n*confidence*confidence >= strongEvidence)
}
