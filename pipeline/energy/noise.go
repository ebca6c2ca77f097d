package energy

import (
	"math"
	"slices"

	"github.com/llm-tracer/tracer/schema"
)

// noise is how far values scatter, and how far levels wander.
type noise struct {
	idle, active float64 // standard deviation of an update, W
	drift        float64 // variance of a level that it gains in a second, W²/s
	span         float64 // of the updates, W
	jump         float64 // standard deviation of a level of which nothing is known, W: no less than half of the board's limit
	middle       float64 // median of the updates, W
}

// quietest is the floor of noise, in W: sensors count milliwatts, but none is that good.
const quietest = 0.05

// mostW is taken for the power limit of a board that does not tell its own: few have more.
const mostW = 1000

// noiseOf looks at neighbouring updates that both lie within one segment, away from its beginning.
func (m *Model) noiseOf(limit schema.Opt[float32]) noise {
	const far = 10 // updates apart, to tell drift from scatter
	var idle, active, near, distant, all []float64
	for i := range m.seen {
		all = append(all, m.seen[i].w)
		segment, steady := m.steady(i, i+1)
		if !steady {
			continue
		}
		d := m.seen[i+1].w - m.seen[i].w
		if m.segments[segment].Idle {
			idle = append(idle, d)
			continue
		}
		active = append(active, d)
		if _, steady := m.steady(i, i+far); steady {
			near = append(near, d)
			distant = append(distant, m.seen[i+far].w-m.seen[i].w)
		}
	}
	slices.Sort(all)
	if len(idle) < fewest {
		idle = active // as well as is known
	}
	n := noise{
		idle:   max(quietest, scatter(idle)/math.Sqrt2),
		drift:  quietest * quietest,
		span:   max(all[len(all)*99/100]-all[len(all)/100], 20*quietest),
		middle: all[len(all)/2],
	}
	if !limit.OK {
		limit.V = mostW
	}
	n.jump = max(n.span, float64(limit.V)/2) // the sensor may have missed all that was done
	n.active = max(n.idle, scatter(active)/math.Sqrt2)
	wandered := scatter(distant)*scatter(distant) - scatter(near)*scatter(near)
	n.drift = max(n.drift, wandered/((far-1)*m.period))
	return n
}

// steady says whether the windows of two updates lie in one segment, past the time that the board takes to settle, and in
// which.
func (m *Model) steady(i, j int) (segment int, ok bool) {
	if j >= len(m.seen) || m.seen[j].to-m.seen[i].to > 1.5*float64(j-i)*m.period {
		return 0, false
	}
	segment = m.cells[m.cellAt(m.seen[i].from-reach)].segment
	s := &m.segments[segment]
	return segment, m.seen[i].from-reach >= m.seconds(s.FromNS) && m.seen[j].to <= m.seconds(s.ToNS)
}

// scatter is a standard deviation that outliers do not move: of values around 0, by their median.
func scatter(v []float64) float64 {
	if len(v) < fewest {
		return 0
	}
	for i := range v {
		v[i] = math.Abs(v[i])
	}
	slices.Sort(v)
	return 1.4826 * v[len(v)/2] // of a normal distribution
}

// weigh says how far each observation may be off. Where the power changes near its window, neither knowing its edge nor the
// very instant of the change counts too. A value that is further off than that explains is taken the less seriously.
func (m *Model) weigh() {
	const far = 3
	var over, steep, telling hastes
	for i := range m.seen {
		o := &m.seen[i]
		sd := m.noise.active
		if m.segments[m.cells[m.cellAt((o.from+o.to)/2)].segment].Idle {
			sd = m.noise.idle
		}
		length := o.to - o.from
		here := m.integral(o.from, o.to) / length
		alone := math.Sqrt(o.edgeSD*o.edgeSD - o.sharedSD*o.sharedSD)
		earlier, later := m.integral(o.from-alone, o.to-alone)/length, m.integral(o.from+alone, o.to+alone)/length
		sd = math.Hypot(sd, max(math.Abs(earlier-here), math.Abs(later-here)))
		var slopes hastes // W/s, squared
		for c, d := range m.byBeginnings(o.from, o.to) {
			slopes[m.edge(c)] += d * d / (length * length)
		}
		variance := sd * sd
		for e, h := range m.haste {
			variance += h * h * slopes[e]
		}
		off, all := o.w-here, math.Sqrt(variance)
		if m.factor != nil {
			o.doubt = max(1, math.Abs(off)/all/far)
			for e, h := range m.haste {
				rest, weight := variance-h*h*slopes[e], slopes[e]/(variance*variance)
				if h*h*slopes[e] > rest {
					telling[e]++
				}
				over[e], steep[e] = over[e]+(min(off*off, far*far*variance)-rest)*weight, steep[e]+slopes[e]*weight
			}
		}
		o.sd = o.doubt * all
	}
	for e, h := range m.haste {
		if steep[e] > 0 { // what windows with changes in them are off by beyond what others are
			told, before := m.toldHaste[e], min(few, m.hasteWorth[e])/(h*h*h*h)
			seen := math.Sqrt(max(0, (over[e]+before*told*told)/(steep[e]+before)))
			m.haste[e] = min(max(seen, told/math.Sqrt(1+telling[e]/m.hasteWorth[e]), leastHaste), mostHaste)
		}
	}
}

// byBeginnings is the derivative of the integral of power by the instants at which segments begin, by their first cells. One
// that the server told begins as late as it ends.
func (m *Model) byBeginnings(from, to float64) map[int]float64 {
	var d map[int]float64
	first := m.felt(from)
	for i := first + 1; i < len(m.cells) && m.cells[i].from-max(m.late, m.last) < to; i++ {
		begin, by := m.begin(i)
		if m.edge(by) == own {
			continue
		}
		if d == nil {
			d = map[int]float64{}
		}
		if told := m.cells[by].segment; m.segments[told].Told && told+1 < len(m.segments) {
			by = m.first[told+1]
		}
		d[by] -= (m.level[i] - m.level[i-1]) * (m.response.at(to-begin) - m.response.at(from-begin))
	}
	return d
}
