package sampler

import (
	"math"
	"slices"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// Work is what a board was asked to do from an instant on: idle, prefill or decode.
type Work struct {
	FromNS int64 // CLOCK_MONOTONIC
	Stage  schema.Stage
}

// window is the averaging window of a power sensor.
type window struct{ window, uncertainty time.Duration }

const (
	fewestUpdates = 20
	// leastExplained is the share of the values' variance that a window must explain; what the load does not explain is
	// other work on the board.
	leastExplained = 0.8
	// parameters of the model: power at rest, in prefill and in decode, window, lag, settling time.
	parameters = 6
)

// shape is what stands between the work and the values: the board's power follows the work lagNS later, settling with
// tauNS, and the sensor shows its mean over windowNS.
type shape struct{ windowNS, lagNS, tauNS float64 }

// within keeps a shape in its bounds. A lag is negative where the client learns late that work began.
func (s shape) within() shape {
	return shape{min(max(s.windowNS, 2e6), 2e9), min(max(s.lagNS, -20e6), 120e6), min(max(s.tauNS, 0), 80e6)}
}

// fitWindow finds the window for which each new value is best explained as the mean, over the window that ends with the
// value's renewal, of the power that the work made the board draw. It reports false where the work does not explain the
// values, or does not tell the window.
func fitWindow(updates []update, r rhythm, work []Work) (window, bool) {
	if len(work) == 0 {
		return window{}, false
	}
	m := newModel(updates, r, work)
	if len(m.values) < fewestUpdates || m.variance == 0 {
		return window{}, false
	}
	best, rest := m.search()
	if rest > (1-leastExplained)*m.variance {
		return window{}, false
	}
	low, high := m.bound(best, rest, 1/1.02), m.bound(best, rest, 1.02)
	// An edge is known to one look, less where many agree on their clock.
	uncertainty := max(high-best.windowNS, best.windowNS-low) + float64(probeEvery)/2
	return window{time.Duration(best.windowNS), time.Duration(uncertainty)}, uncertainty < best.windowNS
}

// model is the values to be explained, and the work to explain them by.
type model struct {
	atNS, values []float64 // of the updates, since the work began
	variance     float64   // sum of squares about the mean
	busy         [2]response
}

func newModel(updates []update, r rhythm, work []Work) *model {
	m := &model{}
	began := work[0].FromNS
	for k, stage := range [...]schema.Stage{schema.StagePrefill, schema.StageDecode} {
		m.busy[k] = newResponse(work, stage)
	}
	var sum, squares float64
	for _, u := range updates {
		at := r.nearest(u.edge) - float64(began)
		if at < 0 || at > m.busy[0].atNS[len(m.busy[0].atNS)-1] {
			continue
		}
		m.atNS, m.values = append(m.atNS, at), append(m.values, u.value)
		sum += u.value
		squares += u.value * u.value
	}
	if n := float64(len(m.values)); n > 0 {
		m.variance = squares - sum*sum/n
	}
	return m
}

// nearest is the instant of a clock's tick that an edge allows.
func (r rhythm) nearest(e edge) float64 {
	tick := r.phaseNS + math.Round((e.midNS()-r.phaseNS)/r.periodNS)*r.periodNS
	return min(max(tick, float64(e.afterNS)), float64(e.byNS))
}

// response is the share of time in one kind of work: 0 or 1 from each instant on, and its integral.
type response struct {
	atNS, level, integral []float64
	settled               []float64 // at the instants, for the settling time tauNS
	tauNS                 float64
}

func newResponse(work []Work, stage schema.Stage) response {
	var r response
	for i, w := range work {
		at, level, integral := float64(w.FromNS-work[0].FromNS), 0.0, 0.0
		if w.Stage == stage {
			level = 1
		}
		if i > 0 {
			integral = r.integral[i-1] + r.level[i-1]*(at-r.atNS[i-1])
		}
		r.atNS, r.level, r.integral = append(r.atNS, at), append(r.level, level), append(r.integral, integral)
	}
	r.settled = make([]float64, len(work))
	return r
}

// settle prepares for a settling time: the response moves to each level like a capacitor.
func (r *response) settle(tauNS float64) {
	r.tauNS = tauNS
	for i := 1; i < len(r.atNS); i++ {
		r.settled[i] = r.settledAt(i-1, r.atNS[i])
	}
}

func (r *response) settledAt(i int, at float64) float64 {
	if r.tauNS == 0 {
		return r.level[i]
	}
	return r.level[i] + (r.settled[i]-r.level[i])*math.Exp(-(at-r.atNS[i])/r.tauNS)
}

// sum is the integral of the settled response from the first instant: that of the level, less what is still to settle.
func (r *response) sum(at float64) float64 {
	if at <= 0 {
		return 0
	}
	i, found := slices.BinarySearch(r.atNS, at)
	if !found {
		i--
	}
	return r.integral[i] + r.level[i]*(at-r.atNS[i]) - r.tauNS*r.settledAt(i, at)
}

// unexplained is the sum of squares that remains of the values under a shape, with the powers that leave the least.
func (m *model) unexplained(s shape) float64 {
	for k := range m.busy {
		m.busy[k].settle(s.tauNS)
	}
	var a [3][4]float64 // normal equations of rest, prefill and decode power
	var squares float64
	for i, at := range m.atNS {
		to := at - s.lagNS
		row := [4]float64{1, 0, 0, m.values[i]}
		for k := range m.busy {
			row[1+k] = (m.busy[k].sum(to) - m.busy[k].sum(to-s.windowNS)) / s.windowNS
		}
		for j := range 3 {
			for l := range 4 {
				a[j][l] += row[j] * row[l]
			}
		}
		squares += row[3] * row[3]
	}
	x, b := solve(a), [3]float64{a[0][3], a[1][3], a[2][3]}
	return max(squares-x[0]*b[0]-x[1]*b[1]-x[2]*b[2], 0)
}

// solve is Gaussian elimination of a symmetric system. A kind of work that hardly occurred gets no power.
func solve(a [3][4]float64) (x [3]float64) {
	n := a[0][0]
	for i := range 3 {
		if a[i][i] < 1e-6*n {
			a[i] = [4]float64{}
			a[i][i] = 1
		}
		for j := i + 1; j < 3; j++ {
			f := a[j][i] / a[i][i]
			for k := range 4 {
				a[j][k] -= f * a[i][k]
			}
		}
	}
	for i := 2; i >= 0; i-- {
		x[i] = a[i][3]
		for k := i + 1; k < 3; k++ {
			x[i] -= a[i][k] * x[k]
		}
		x[i] /= a[i][i]
	}
	return x
}

// search looks over the whole range, then closer.
func (m *model) search() (best shape, rest float64) {
	rest = math.Inf(1)
	for w := 4e6; w < 1.6e9; w *= 1.25 {
		for _, lag := range []float64{-5e6, 0, 5e6, 15e6, 30e6, 60e6} {
			for _, tau := range []float64{0, 6e6, 20e6} {
				s := shape{w, lag, tau}
				if left := m.unexplained(s); left < rest {
					best, rest = s, left
				}
			}
		}
	}
	return m.descend(best, rest, true)
}

// descend walks down to the nearest bottom, in steps that shrink to 20 µs: along each parameter, and along the valleys in
// which the parameters make up for each other, where the mean delay, lag + tau + window/2, stays, and then its variance,
// tau² + window²/12, too.
func (m *model) descend(s shape, rest float64, windowToo bool) (shape, float64) {
	for step := 8e6; step > 20e3; {
		moved := false
		dTau := -step * s.windowNS / (12 * max(s.tauNS, 1e6))
		for _, d := range []shape{{lagNS: step}, {tauNS: step}, {0, -step, step}, {windowNS: step}, {step, -step / 2, 0}, {step, -step/2 - dTau, dTau}} {
			if d.windowNS != 0 && !windowToo {
				continue
			}
			for _, sign := range []float64{1, -1} {
				next := shape{s.windowNS + sign*d.windowNS, s.lagNS + sign*d.lagNS, s.tauNS + sign*d.tauNS}.within()
				if left := m.unexplained(next); left < rest {
					s, rest, moved = next, left, true
				}
			}
		}
		if !moved {
			step /= 2
		}
	}
	return s, rest
}

// bound goes from the best window in steps of a factor until the values contradict it (likelihood ratio, 95 %), the other
// parameters being free to make up for it.
func (m *model) bound(best shape, rest, factor float64) float64 {
	const chiSquare = 3.84
	limit := rest * (1 + chiSquare/float64(max(len(m.values)-parameters, 1)))
	s := best
	for range 150 {
		s.windowNS *= factor
		next, left := m.descend(s, m.unexplained(s), false)
		if left > limit || s.windowNS != next.windowNS {
			break
		}
		s = next
	}
	return s.windowNS
}
