package energy

import (
	"math"
	"slices"
)

// unknown is the standard deviation, in W, of what nothing is known of.
const unknown = 1e4

// wander is the variance of the change of level from cell i−1 to cell i.
func (m *Model) wander(i int) float64 {
	a, b := m.cells[i-1], m.cells[i]
	if a.segment != b.segment {
		return 4 * m.noise.jump * m.noise.jump // what a segment draws is told by its kind, not by its neighbour
	}
	return m.noise.drift * (b.to - a.from) / 2
}

// solve finds the levels that agree best with the observations, the responses and the kinds being what they are. No board
// draws less than nothing: levels that come out negative, as those of stages may that are shorter than their neighbours'
// errors, are held at 0, and the others take their share.
func (m *Model) solve() {
	a, b := m.agreement()
	m.factor, m.level = a.solved(b)
	m.unheld = m.factor
	for range holds {
		negative := false
		for i, l := range m.level {
			if l < -quietest {
				*a.at(i, i) += 1 / (held * held)
				negative = true
			}
		}
		if !negative {
			break
		}
		m.factor, m.level = a.solved(b)
	}
	for i, l := range m.level {
		m.level[i] = max(0, l)
	}
}

// Holding some levels may make others negative; what is left after so many times, or closer to 0 than sensors tell, is cut off.
const (
	holds = 4
	held  = quietest / 1e3 // W
)

// agreement is the normal equations of the levels: their precision, and its product with the levels sought.
func (m *Model) agreement() (a *banded, b []float64) {
	firsts, weights, width := make([]int, len(m.seen)), make([][]float64, len(m.seen)), 1
	for k, o := range m.seen {
		firsts[k], weights[k] = m.between(o.from, o.to)
		width = max(width, len(weights[k])-1)
	}
	a, b = newBanded(len(m.cells), width), make([]float64, len(m.cells))
	for i := 1; i < len(m.cells); i++ {
		p := 1 / m.wander(i)
		*a.at(i, i) += p
		*a.at(i-1, i-1) += p
		*a.at(i, i-1) -= p
	}
	for _, k := range m.kinds {
		p := 1 / (k.sd * k.sd)
		for _, s := range k.members {
			*a.at(m.first[s], m.first[s]) += p
			b[m.first[s]] += p * k.mean
		}
	}
	for k, o := range m.seen {
		scale := 1 / ((o.to - o.from) * o.sd)
		for i, w := range weights[k] {
			c := firsts[k] + i
			for j, v := range weights[k][:i+1] {
				*a.at(c, firsts[k]+j) += w * v * scale * scale
			}
			b[c] += w * scale * o.w / o.sd
		}
	}
	return a, b
}

// adjust moves what the levels share to where the observations are likelier: one Gauss-Newton step in the levels and in
// these together. The levels must be solved for. It returns the largest step of a logarithm.
func (m *Model) adjust() (largest float64) {
	step := m.shareds()
	for i := range m.strides {
		step[i] = m.strides[i].limit(step[i])
		largest = max(largest, math.Abs(step[i]))
	}
	for i := range free {
		m.response.logRise[i] += step[i]
	}
	m.response.settle()
	m.delay *= math.Exp(step[delay])
	m.late *= math.Exp(step[late])
	m.last *= math.Exp(step[last])
	m.window *= math.Exp(step[window])
	m.perToken += step[perToken]
	for i := range m.seen {
		m.seen[i].from = m.seen[i].to - m.window
	}
	for i := range m.kinds[:m.alike] {
		m.kinds[i].mean += step[own+i]
	}
	return largest
}

// shareds solves for what the levels share: the step towards likelier values, their precision, and how the levels follow
// them.
func (m *Model) shareds() (step []float64) {
	n := m.shared()
	a, b := newBanded(n, n-1), make([]float64, n)
	coupling := make([][]float64, n) // to the levels
	for i := range coupling {
		coupling[i] = make([]float64, len(m.cells))
	}
	m.prior(a, b)
	for i, k := range m.kinds[:m.alike] {
		at, p := own+i, 1/(k.sd*k.sd)
		*a.at(at, at) = float64(len(k.members))*p + 1/(unknown*unknown)
		for _, s := range k.members {
			b[at] += p * (m.level[m.first[s]] - k.mean)
			coupling[at][m.first[s]] = -p
		}
	}
	for i := range m.seen {
		m.lookAt(&m.seen[i], a, b, coupling)
	}
	m.follow = make([][]float64, n)
	for i := range coupling {
		m.follow[i] = slices.Clone(coupling[i])
		m.factor.solve(m.follow[i])
		for j := range i + 1 {
			for c, v := range coupling[i] {
				if v != 0 {
					*a.at(i, j) -= v * m.follow[j][c]
				}
			}
		}
	}
	a.factor()
	a.solve(b)
	m.common = a
	return b
}

// The unknowns of a board: its response's rises, and the logarithms of some lengths of time.
const (
	delay = free + iota
	late
	last
	window
	perToken
	own
)

// stride limits the steps of a logarithm. Far off, the derivatives say little, and the logarithm of next to nothing is thrown
// to and fro: where a step goes back, the next may be half as long at most.
type stride struct{ last, most float64 }

// longest step of a logarithm in one round, and how much longer a step may be than the last one's limit.
const (
	longest = 1.0
	longer  = 1.2
)

func (s *stride) limit(step float64) float64 {
	switch {
	case s.last == 0:
		s.most = longest
	case step*s.last < 0:
		s.most /= 2
	default:
		s.most = min(longer*s.most, longest)
	}
	s.last = min(max(step, -s.most), s.most)
	return s.last
}

// shared is how many unknowns the levels have in common: the responses' free knots, and the means of kinds that have some.
func (m *Model) shared() int { return own + m.alike }

// prior lets each unknown of the board differ from what is supposed.
func (m *Model) prior(a *banded, b []float64) {
	supposed := supposed()
	for i := range own {
		var off, sd float64
		switch i {
		case delay:
			off, sd = math.Log(supposedDelay/m.delay), delayDoubt
		case late:
			off, sd = math.Log(supposedLate/m.late), delayDoubt
		case last:
			off, sd = math.Log(supposedLate/m.last), delayDoubt
		case perToken:
			off, sd = -m.perToken, perTokenDoubt
		case window:
			off, sd = math.Log(m.toldWindow/m.window), m.windowDoubt
		default:
			off, sd = supposed.logRise[i]-m.response.logRise[i], doubt
		}
		*a.at(i, i), b[i] = 1/(sd*sd), off/(sd*sd)
	}
}

// lookAt adds one observation to the normal equations of the response.
func (m *Model) lookAt(o *observation, a *banded, b []float64, coupling [][]float64) {
	first, weights := m.between(o.from, o.to)
	if len(weights) == 1 { // no change within reach
		return
	}
	row := m.byResponse(first, len(weights), o.from, o.to)
	scale := 1 / ((o.to - o.from) * o.sd)
	var sum float64
	for i, w := range weights {
		sum += w * m.level[first+i]
	}
	row[window] = (o.to-o.from)*m.power(o.from) - sum // longer: more of what was before
	rest := o.w/o.sd - sum*scale
	for i := range row {
		if row[i] == 0 {
			continue
		}
		row[i] *= scale
		b[i] += row[i] * rest
		for j := range i + 1 {
			*a.at(i, j) += row[i] * row[j]
		}
		for k, w := range weights {
			coupling[i][first+k] += row[i] * w * scale
		}
	}
}

// byResponse is the derivative of the integral of power, over n cells from first, by the board's unknowns.
func (m *Model) byResponse(first, n int, from, to float64) []float64 {
	v := make([]float64, own)
	for i := first + 1; i < first+n; i++ {
		step := m.level[i] - m.level[i-1]
		begin, by := m.begin(i)
		h, before := shares(to-begin), shares(from-begin)
		for j := range h {
			h[j] = step * (h[j] - before[j])
		}
		for j, d := range m.response.slopes(h) {
			v[j] += d
		}
		shift := step * (m.response.at(to-begin) - m.response.at(from-begin))
		switch m.edge(by) {
		case delay:
			v[delay] -= m.delay * shift
			v[perToken] -= m.tokens(by) * shift
		case late:
			v[late] += m.late * shift
		case last:
			v[last] += m.last * shift
		}
	}
	return v
}

// tie says how alike the segments of a kind are, by those that the sensor saw whole windows of. Kinds in which it saw too
// few are taken to be as alike as the others are at most, and no more than the same work ever is.
func (m *Model) tie() {
	loosest := alikeness * m.noise.span
	for i := range m.kinds[:m.alike] {
		k := &m.kinds[i]
		var scatter, n float64
		for _, s := range k.members {
			if m.resolved[s] {
				d := m.level[m.first[s]] - k.mean
				scatter += d * d
				n++
			}
		}
		if k.tied = n >= fewest; k.tied {
			k.sd = max(math.Sqrt(scatter/n), m.noise.active/2)
			loosest = max(loosest, k.sd)
		}
	}
	for i := range m.kinds[:m.alike] {
		if k := &m.kinds[i]; !k.tied {
			k.sd = loosest
		}
	}
}

func dot(a, b []float64) (sum float64) {
	for i := range min(len(a), len(b)) {
		sum += a[i] * b[i]
	}
	return sum
}
