package energy

import "math"

// response is how a board's power follows its work: how far it has come at some instants, the knots, after the work
// changed. Regulators and clocks take some tens of milliseconds. Between the knots it rises evenly; it never turns back.
type response struct {
	logRise [len(knots)]float64 // logarithms of the rises to each knot, up to a common term
	come    [len(knots)]float64 // share of the way, at each knot: at the last it is 1
	area    [len(knots)]float64 // its integral, up to each knot
}

// knots are the instants, in s. The first tells what share comes at once.
var knots = [...]float64{0, 0.003, 0.006, 0.010, 0.015, 0.020, 0.026, 0.034, 0.044, reach}

const (
	reach = 0.060      // s: how long a change is felt
	free  = len(knots) // unknowns of a response
)

// What a board is taken to do before its updates were looked at: to follow with a time constant of some milliseconds, each
// rise a factor of e larger or smaller.
const (
	supposedLag = 0.008 // s
	doubt       = 1.0

	// Servers read a request and schedule it within milliseconds.
	supposedDelay = 0.001  // s
	supposedLate  = 0.0003 // s, for a token on its way to the client
	delayDoubt    = 1.5    // of their logarithms

	// Tokenizers take some tenths of a microsecond to some microseconds a token, or the server tells without them.
	perTokenDoubt = 2.0 // µs
)

func supposed() response {
	var r response
	before := 0.1 // comes at once
	r.logRise[0] = math.Log(before)
	for i := 1; i < len(knots); i++ {
		come := 1 - 0.9*math.Exp(-knots[i]/supposedLag)
		r.logRise[i] = math.Log(come - before)
		before = come
	}
	r.settle()
	return r
}

// settle computes the shares of the way from the rises.
func (r *response) settle() {
	var sum float64
	for i, l := range r.logRise {
		sum += math.Exp(l)
		r.come[i] = sum
	}
	for i := range r.come {
		r.come[i] /= sum
		if i > 0 {
			r.area[i] = r.area[i-1] + (knots[i]-knots[i-1])*(r.come[i-1]+r.come[i])/2
		}
	}
}

// integral is the response's integral from the change to x s after it.
func (r *response) integral(x float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= reach:
		return r.area[len(knots)-1] + x - reach
	}
	i := 1
	for x >= knots[i] {
		i++
	}
	x -= knots[i-1]
	return r.area[i-1] + x*(r.come[i-1]+(r.come[i]-r.come[i-1])*x/(knots[i]-knots[i-1])/2)
}

// at is how far the power has come x s after the change.
func (r *response) at(x float64) float64 {
	if x < 0 {
		return 0
	}
	for i := 1; i < len(knots); i++ {
		if x < knots[i] {
			return r.come[i-1] + (r.come[i]-r.come[i-1])*(x-knots[i-1])/(knots[i]-knots[i-1])
		}
	}
	return 1
}

// slopes is the derivative of a weighted sum of the shares of the way by the logarithms of the rises.
func (r *response) slopes(h [len(knots)]float64) (d [free]float64) {
	var sum, tail float64
	for j := range h {
		sum += h[j] * r.come[j]
	}
	for i := free - 1; i >= 0; i-- {
		tail += h[i]
		rise := r.come[i]
		if i > 0 {
			rise -= r.come[i-1]
		}
		d[i] = rise * (tail - sum)
	}
	return d
}

// shares is what each knot's value adds to the integral of a response from the change to x s after it.
func shares(x float64) (h [len(knots)]float64) {
	if x <= 0 {
		return h
	}
	for i := 1; i < len(knots); i++ {
		d := knots[i] - knots[i-1]
		if x < knots[i] {
			x -= knots[i-1]
			h[i] += x * x / d / 2
			h[i-1] += x - x*x/d/2
			return h
		}
		h[i-1] += d / 2
		h[i] += d / 2
	}
	h[len(h)-1] += x - reach
	return h
}

// lag is the time by which the response is late on the whole: what a step's energy falls short of its height times its
// length, over its height.
func (r *response) lag() float64 { return reach - r.integral(reach) }
