package energy

import "math"

// grid is the logarithms of the likelihoods of lines at so many places u and slopes v around one, in standard deviations.
// Changes that are smooth in both are added up as one polynomial.
type grid struct {
	flat    bool // there are no other slopes
	logs    [side][side]float64
	sharp   [side][side]float64             // product of the likelihoods of changes that are not smooth, and not among the logarithms yet
	factors int                             // of the product
	smooth  [degree + 1][degree + 1]float64 // of u/away to the power of the first, v/away to that of the second
}

// mostFactors of the least likelihood are a number yet.
const mostFactors = 20

// degree is that of the polynomial; it goes through a change's likelihood at as many places and one.
const degree = 4

// smoothest is over how many jitters to either side the polynomial is right: to 2e-4 of a logarithm.
const smoothest = 1.0

// add weighs a change that came between two instants, in jitters after the lattice has it: lines at u, v have it
// u*place + v*turn later.
func (g *grid) add(lo, hi, place, turn float64) {
	if g.flat {
		turn = 0
	}
	reach := away * (math.Abs(place) + math.Abs(turn))
	switch {
	case -reach-lo > sure && hi-reach > sure: // as good as certain
	case reach < smoothest && g.addSmooth(lo, hi, reach, place, turn):
	default:
		g.addSharp(lo, hi, place, turn)
	}
}

// addSharp weighs it at each line by itself.
func (g *grid) addSharp(lo, hi, place, turn float64) {
	if g.factors == mostFactors {
		g.gather()
	}
	if g.factors == 0 {
		for i := range g.sharp {
			for k := range g.sharp[i] {
				g.sharp[i][k] = 1
			}
		}
	}
	g.factors++
	swing := math.Abs(turn) * away
	for i := range g.sharp {
		u := place * step * float64(i-steps)
		if u-swing-lo > sure && hi-u-swing > sure {
			continue
		}
		row := &g.sharp[i]
		if hi-lo > 2*sure { // one bound is as good as infinite
			for k := range row {
				o := u + turn*step*float64(k-steps)
				row[k] *= max(below(min(hi-o, o-lo)), least)
			}
			continue
		}
		for k := range row {
			o := u + turn*step*float64(k-steps)
			row[k] *= between(lo-o, hi-o)
		}
	}
}

// gather takes the sharp changes' logarithms.
func (g *grid) gather() {
	if g.factors == 0 {
		return
	}
	for i := range g.logs {
		for k := range g.logs[i] {
			g.logs[i][k] += math.Log(g.sharp[i][k])
		}
	}
	g.factors = 0
}

// addSmooth adds its polynomial, but where that would go around a corner: no probability is less than the least.
func (g *grid) addSmooth(lo, hi, reach, place, turn float64) bool {
	p0, p4 := between(lo+reach, hi+reach), between(lo-reach, hi-reach)
	if p0 <= least || p4 <= least {
		return false
	}
	half := reach / 2
	y0, y1 := math.Log(p0), math.Log(between(lo+half, hi+half))
	y2 := math.Log(between(lo, hi))
	y3, y4 := math.Log(between(lo-half, hi-half)), math.Log(p4)
	// The polynomial of x = (u*place + v*turn)/reach, by differences of what lies evenly about its middle.
	even1, even2, odd1, odd2 := (y3+y1)/2-y2, (y4+y0)/2-y2, (y3-y1)/2, (y4-y0)/2
	c := [degree + 1]float64{y2, (8*odd1 - odd2) / 3, (16*even1 - even2) / 3, 4 * (odd2 - 2*odd1) / 3, 4 * (even2 - 4*even1) / 3}
	p, t := place*away/reach, turn*away/reach
	pp, tt := p*p, t*t
	m := &g.smooth
	m[0][0] += c[0]
	m[1][0] += c[1] * p
	m[0][1] += c[1] * t
	m[2][0] += c[2] * pp
	m[1][1] += c[2] * 2 * p * t
	m[0][2] += c[2] * tt
	m[3][0] += c[3] * pp * p
	m[2][1] += c[3] * 3 * pp * t
	m[1][2] += c[3] * 3 * p * tt
	m[0][3] += c[3] * tt * t
	m[4][0] += c[4] * pp * pp
	m[3][1] += c[4] * 4 * pp * p * t
	m[2][2] += c[4] * 6 * pp * tt
	m[1][3] += c[4] * 4 * p * t * tt
	m[0][4] += c[4] * tt * tt
	return true
}

// moments are those of a grid's lines, weighted by their likelihoods.
type moments struct {
	top, mass        float64 // the highest logarithm, and the likelihoods' sum over that
	u, v, uu, vv, uv float64 // means
}

// sum adds all up.
func (g *grid) sum() (m moments) {
	g.gather()
	logs := &g.logs
	from, to := 0, side
	if g.flat {
		from, to = steps, steps+1
	}
	m.top = math.Inf(-1)
	for i := range logs {
		x := float64(i-steps) / steps
		var c [degree + 1]float64 // of v, where u is this
		for power := degree; power >= 0; power-- {
			for k := range degree + 1 - power {
				c[k] = c[k]*x + g.smooth[power][k]
			}
		}
		for k := from; k < to; k++ {
			y := float64(k-steps) / steps
			logs[i][k] += c[0] + y*(c[1]+y*(c[2]+y*(c[3]+y*c[4])))
			m.top = max(m.top, logs[i][k])
		}
	}
	for i := range logs {
		x := step * float64(i-steps)
		for k := from; k < to; k++ {
			y, p := step*float64(k-steps), math.Exp(logs[i][k]-m.top)
			m.mass, m.u, m.v = m.mass+p, m.u+p*x, m.v+p*y
			m.uu, m.vv, m.uv = m.uu+p*x*x, m.vv+p*y*y, m.uv+p*x*y
		}
	}
	m.u, m.v, m.uu, m.vv, m.uv = m.u/m.mass, m.v/m.mass, m.uu/m.mass, m.vv/m.mass, m.uv/m.mass
	return m
}

// least is the least probability that a change has: that of one seven standard deviations off.
const least = 1.3e-12

// between is the probability that a standard normal variable is between two bounds, or the least that a change has.
func between(lo, hi float64) float64 {
	if lo > 0 {
		lo, hi = -hi, -lo // small differences are of small numbers
	}
	return max(below(hi)-below(lo), least)
}

// below is the normal distribution's integral, by its Taylor series at the nearest place of a table: to 2e-10.
func below(z float64) float64 {
	z = min(max(z, -reachZ), reachZ)
	i := int((z+reachZ)*perZ + 0.5)
	n := &normal[i]
	d := z - n.z
	return n.integral + d*n.density*(1-d*n.z/2+d*d*(n.z*n.z-1)/6)
}

const (
	reachZ = 8 // standard deviations: there the integral is 1e-15
	perZ   = 64
)

// normal is the normal distribution.
var normal = func() (t [2*reachZ*perZ + 1]struct{ z, integral, density float64 }) {
	for i := range t {
		z := float64(i)/perZ - reachZ
		t[i].z, t[i].integral, t[i].density = z, math.Erfc(-z/math.Sqrt2)/2, density(z)
	}
	return t
}()
