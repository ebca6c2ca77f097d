package sampler

import (
	"iter"
	"math"
	"slices"
	"time"
)

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
	for range reweighings {
		m.reweigh(best)
		best, rest = m.descend(best, m.unexplained(best), true)
	}
	low, high := m.bound(best, rest, 1/1.02), m.bound(best, rest, 1.02)
	// An edge is known to one look, better where many agree on their clock. Power settles in a way of its own: steps in place
	// of an exponential moved a window of 25 ms by 2 ms, at a settling time of 7.
	uncertainty := max(high-best.windowNS, best.windowNS-low, m.jackknife(best)) + float64(probeEvery)/2 + best.tauNS/4
	return window{time.Duration(best.windowNS), time.Duration(uncertainty)}, uncertainty < best.windowNS
}

// model is the values to be explained, and the work to explain them by.
type model struct {
	atNS, values []float64 // of the updates, since the work began
	weights      []float64
	variance     float64 // sum of squares about the mean
	load         *response
}

func newModel(updates []update, r rhythm, work []Work) *model {
	m := &model{load: newResponse(work)}
	began, ended := work[0].FromNS, m.load.atNS[len(work)-1]
	var sum, squares float64
	for _, u := range updates {
		at := r.nearest(u.edge) - float64(began)
		if at < 0 || at > ended {
			continue
		}
		m.atNS, m.values, m.weights = append(m.atNS, at), append(m.values, u.value), append(m.weights, 1)
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

// unexplained is the sum of squares that remains of the values under a shape, with the powers that leave the least.
func (m *model) unexplained(s shape) float64 {
	rest, _ := m.fit(s)
	return rest
}

// fit finds the powers at rest, in prefill and in decode, the last two above the first.
func (m *model) fit(s shape) (rest float64, powers [3]float64) {
	var a [3][4]float64 // normal equations
	var squares float64
	for i, row := range m.rows(s) {
		for j := range 3 {
			for l := j; l < 4; l++ {
				a[j][l] += m.weights[i] * row[j] * row[l]
			}
		}
		squares += m.weights[i] * row[3] * row[3]
	}
	a[1][0], a[2][0], a[2][1] = a[0][1], a[0][2], a[1][2]
	x, b := solve(a), [3]float64{a[0][3], a[1][3], a[2][3]}
	return max(squares-x[0]*b[0]-x[1]*b[1]-x[2]*b[2], 0), x
}

// rows are, for each value: 1, the shares of prefill and decode in its window, and the value.
func (m *model) rows(s shape) iter.Seq2[int, [4]float64] {
	m.load.settle(s.tauNS)
	return func(yield func(int, [4]float64) bool) {
		var first, last int
		for i, at := range m.atNS {
			var from, to shares
			to, last = m.load.sum(at-s.lagNS, last)
			from, first = m.load.sum(at-s.lagNS-s.windowNS, first)
			if !yield(i, [4]float64{1, (to[0] - from[0]) / s.windowNS, (to[1] - from[1]) / s.windowNS, m.values[i]}) {
				return
			}
		}
	}
}

// reweighings is how often outliers are weighed down; more changed no window by 0.1 ms.
const reweighings = 4

// reweigh weighs down what a shape explains badly, by Cauchy's weights: the client learns of some changes of the load late,
// by ms where it waits for a core, and the values whose windows hold these are wrongly explained. The scale is that of the
// values whose windows hold a change: only they tell the window.
func (m *model) reweigh(s shape) {
	_, x := m.fit(s)
	residuals, telling := make([]float64, len(m.values)), []float64{}
	for i, row := range m.rows(s) {
		residuals[i] = math.Abs(row[3] - x[0] - x[1]*row[1] - x[2]*row[2])
		if between(row[1]) || between(row[2]) {
			telling = append(telling, residuals[i])
		}
	}
	if len(telling) == 0 {
		return
	}
	slices.Sort(telling)
	scale := 2.385 * 1.483 * max(telling[len(telling)/2], 1e-9) // Cauchy's constant for 95 % efficiency; of a median
	for i, r := range residuals {
		m.weights[i] = 1 / (1 + (r/scale)*(r/scale))
	}
}

func between(share float64) bool { return share > 0.02 && share < 0.98 }

// jackknife is the half width of the window's 95 % interval by leaving out one tenth of the time after the other, which
// sees what the likelihood does not: that one late change of the load spoils several values.
func (m *model) jackknife(best shape) float64 {
	const blocks = 10
	all := slices.Clone(m.weights)
	var sum, squares float64
	for b := range blocks {
		for i := range m.weights {
			if m.weights[i] = all[i]; i*blocks/len(all) == b {
				m.weights[i] = 0
			}
		}
		s, _ := m.descend(best, m.unexplained(best), true)
		sum += s.windowNS
		squares += s.windowNS * s.windowNS
	}
	m.weights = all
	variance := max(squares-sum*sum/blocks, 0) * (blocks - 1) / blocks
	return 2.26 * math.Sqrt(variance) // Student's t with 9 degrees of freedom
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

// descend walks down to the nearest bottom, in steps that shrink from 4 ms to 20 µs: along each parameter, and along the valleys in
// which the parameters make up for each other, where the mean delay, lag + tau + window/2, stays, and then its variance,
// tau² + window²/12, too.
func (m *model) descend(s shape, rest float64, windowToo bool) (shape, float64) {
	for step := 4e6; step > 20e3; {
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
