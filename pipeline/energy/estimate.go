package energy

import "math"

// Estimate is an energy, with the standard deviation that the updates leave to it.
type Estimate struct{ J, SD float64 }

// Energy is the energy of some segments together. What their estimates share, and what one gains where another loses, is
// in the standard deviation.
func (m *Model) Energy(segments ...int) Estimate {
	var e Estimate
	var start, haste float64
	beginnings := map[int]float64{}
	span := m.span(segments)
	weights, shared := make([]float64, span.cells), make([]float64, m.shared())
	for _, i := range segments {
		from, to := m.bounds(i)
		first, w := m.between(from, to)
		for k := range w {
			e.J += w[k] * m.level[first+k]
			weights[first-span.first+k] += w[k]
		}
		for j, d := range m.byResponse(first, len(w), from, to) {
			shared[j] += d
		}
		start += m.startError(i)
		for c, d := range m.byBeginnings(from, to) {
			beginnings[c] += d
		}
	}
	for c, d := range beginnings {
		haste = math.Hypot(haste, m.haste[m.edge(c)]*d)
	}
	for j := range shared {
		shared[j] -= dot(weights, m.follow[j][span.first:])
	}
	levels, common := m.factor.whiten(span.first, weights), m.common.whiten(0, shared)
	e.SD = max(1, m.misfit) * math.Sqrt(dot(levels, levels)+dot(common, common)+start*start+haste*haste)
	return e
}

type span struct{ first, cells int }

// span is the stretch of cells that some segments' energies depend on.
func (m *Model) span(segments []int) span {
	first, last := len(m.cells), 0
	for _, i := range segments {
		from, to := m.bounds(i)
		f, w := m.between(from, to)
		first, last = min(first, f), max(last, f+len(w))
	}
	return span{first, max(0, last-first)}
}

// startError is what not knowing its beginning better is worth in a segment's energy.
func (m *Model) startError(i int) float64 {
	c := m.first[i]
	if c == 0 {
		return 0
	}
	return m.startSD * (m.level[c] - m.level[c-1])
}

// bounds are a segment's beginning and end, in s.
func (m *Model) bounds(i int) (from, to float64) {
	return m.seconds(m.segments[i].FromNS), m.seconds(m.segments[i].ToNS)
}

// Updates is the number of values that the sensor gave in a segment.
func (m *Model) Updates(i int) (n int32) {
	from, to := m.bounds(i)
	for k := m.seenFrom(from); k < len(m.seen) && m.seen[k].to < to; k++ {
		n++
	}
	return n
}

// Blind says whether the sensor was not read while a segment lasted, nor near it.
func (m *Model) Blind(i int) bool {
	from, to := m.bounds(i)
	k := m.seenFrom(from - 2*m.period)
	return k == len(m.seen) || m.seen[k].to > to+2*m.period
}

// Misfit is by how many of their standard deviations the sensor's values are off the fitted power: about 1 where the model
// holds. Beyond, intervals are as much wider.
func (m *Model) Misfit() float64 { return m.misfit }

// SeenS is how much of a segment, in s, lies in the sensor's windows.
func (m *Model) SeenS(i int) (seen float64) {
	from, to := m.bounds(i)
	for k := m.seenFrom(from); k < len(m.seen) && m.seen[k].from < to; k++ {
		seen += max(0, min(to, m.seen[k].to)-max(from, m.seen[k].from))
	}
	return min(seen, to-from)
}

// Resolved says whether the sensor gave at least one value that is a segment's alone.
func (m *Model) Resolved(i int) bool { return m.resolved[i] }

// DurationS is a segment's length.
func (m *Model) DurationS(i int) float64 {
	from, to := m.bounds(i)
	return to - from
}

// Segments is how many there are.
func (m *Model) Segments() int { return len(m.segments) }

// EnergyJ is the energy of one segment. Those of all segments add up to that of the whole.
func (m *Model) EnergyJ(i int) float64 { return m.integral(m.bounds(i)) }

// BetweenJ is the energy between two instants.
func (m *Model) BetweenJ(fromNS, toNS int64) float64 {
	return m.integral(m.seconds(fromNS), m.seconds(toNS))
}

// LagS is the time by which the board's power follows its work.
func (m *Model) LagS() float64 { return m.response.lag() }

// DelayS is the time from a request's start to the board's. It reports false where no stage begins with its request.
func (m *Model) DelayS() (s float64, ok bool) {
	for i := 1; i < len(m.segments); i++ {
		if m.segments[i-1].Idle && !m.segments[i].Idle && !m.segments[i].Told {
			return m.delay, true
		}
	}
	return 0, false
}

// PerTokenS is by how much that is longer for each token of the prompt. It reports false where the windows hardly tell.
func (m *Model) PerTokenS() (s float64, ok bool) {
	one := m.common.whiten(perToken, []float64{1})
	return m.perToken / 1e6, math.Sqrt(dot(one, one)) < perTokenDoubt/4
}

// LateS is the time from a stage's end to the token that tells of it, where another stage follows.
func (m *Model) LateS() float64 { return m.late }

// WindowS is the sensor's averaging window, as fitted.
func (m *Model) WindowS() float64 { return m.window }

// NoiseW is the standard deviation of an update under constant work.
func (m *Model) NoiseW() float64 { return m.noise.active }

// curveSteps is into how many steps a power curve is divided.
const curveSteps = 20

// Curve is the power of some segments since their beginnings, on the mean, in steps that the shortest of them still has.
func (m *Model) Curve(segments []int) (stepS float64, watts []float64) {
	stepS = math.Inf(1)
	for _, i := range segments {
		stepS = min(stepS, m.DurationS(i)/curveSteps)
	}
	watts = make([]float64, curveSteps)
	for _, i := range segments {
		from, _ := m.bounds(i)
		for k := range watts {
			t := from + float64(k)*stepS
			watts[k] += m.integral(t, t+stepS) / stepS / float64(len(segments))
		}
	}
	return stepS, watts
}
