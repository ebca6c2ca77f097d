package energy

import (
	"math"
	"slices"
	"sort"

	"github.com/llm-tracer/tracer/schema"
)

// Segment is a stretch of time in which the board did one thing. The segments of a run follow each other without a gap.
type Segment struct {
	FromNS, ToNS int64
	Idle         bool
	Kind         int  // of work: segments of one kind are expected to draw about the same power
	Told         bool // it begins so long before the token that ends it as the server told: as late as that token
	Tokens       int  // of a prompt that it begins with, which is read before the board works on it
}

// cell is a stretch of constant work within a segment. The power that the board draws follows its cells late.
type cell struct {
	from, to float64 // s
	segment  int
}

// observation is an update as the model sees it: its mean power over a stretch of time was w, give or take sd.
type observation struct {
	from, to float64 // s
	w, sd    float64
	edgeSD   float64 // s
	sharedSD float64 // s, of edgeSD
	doubt    float64 // factor of sd for a value that nothing explains, else 1
}

// Model is what a run's updates tell of one board's power at every instant.
type Model struct {
	originNS int64
	period   float64 // s, of the sensor
	segments []Segment
	cells    []cell
	first    []int // of each segment's cells
	seen     []observation
	noise    noise
	resolved []bool
	kinds    []kind
	alike    int // kinds, the first, with enough members to have a mean

	response                response
	delay                   float64   // s, from a request's start to the board's
	perToken                float64   // µs, by which that is longer for each token of the prompt
	late                    float64   // s, from the end of a stage to the token that tells of it
	last                    float64   // s, the same of the last token: its server may have more to do then
	window                  float64   // s, of the sensor
	toldWindow, windowDoubt float64   // s, and of its logarithm
	startSD                 float64   // s, by which the beginnings of all stages may be off together
	haste                   hastes    // by which each may be off by itself
	toldHaste               hastes    // by the lengths of stages
	hasteWorth              hastes    // of that, in windows with a change in them
	misfit                  float64   // root mean square of what the observations are off by, in standard deviations
	level                   []float64 // of each cell, W
	strides                 [own]stride
	factor                  *banded // of the levels' precision
	unheld                  *banded // the same, if levels may be negative
	common                  *banded // of the precision of what all levels share: response, delay, the kinds' means
	follow                  [][]float64
}

// kind is what the segments of one kind have in common.
type kind struct {
	mean, sd float64 // of their first level, W
	members  []int   // segments
	tied     bool    // sd is measured
}

// widest is how much longer than the period a window may seem: both are measured.
const widest = 1.1

// fewest is the smallest number of updates that a model is fitted to: a second of the usual sensor.
const fewest = 10

// Levels and what they share are estimated by turns: rounds times at most, and until no logarithm moves by more than settled.
const (
	rounds  = 24
	meant   = 4 // from then on, the levels mean something
	settled = 0.02
)

// Fit fits the model to a run's updates of the sensor of a board with a power limit, in W. It reports false where no model
// can be fitted: the updates are too few, or the sensor is a running mean that is longer than its period, so that no stage
// can be told from its neighbours.
func Fit(s schema.Sensor, limit schema.Opt[float32], updates []Update, segments []Segment) (*Model, bool) {
	if s.Average || s.Period <= 0 || float64(s.Window) > widest*float64(s.Period) || len(segments) == 0 {
		return nil, false
	}
	m := &Model{originNS: segments[0].FromNS, period: s.Period.Seconds(), segments: segments}
	m.toldWindow, m.windowDoubt = windowOf(s)
	m.window = m.toldWindow
	for _, u := range updates {
		// What the board did before the first segment, and after the last, nobody knows.
		if to := m.seconds(u.EdgeNS); to-1.5*m.window > 0 && u.EdgeNS <= segments[len(segments)-1].ToNS {
			m.seen = append(m.seen, observation{from: to - m.window, to: to, w: u.W, edgeSD: u.EdgeSD / 1e9, sharedSD: u.SharedSD / 1e9, doubt: 1})
		}
	}
	if len(m.seen) < fewest {
		return nil, false
	}
	m.divide()
	m.startSD = m.startSDOf()
	m.toldHaste, m.hasteWorth = m.hastesOf()
	m.haste = m.toldHaste
	m.noise = m.noiseOf(limit)
	m.suppose()
	m.weigh()
	m.solve()
	for r := range rounds {
		step := m.adjust()
		if r >= meant {
			m.tie()
		}
		m.weigh()
		m.solve()
		if step < settled && r > meant {
			break
		}
	}
	m.factor = m.unheld // what levels may be off by: those that were held at 0 are not known to be 0
	m.shareds()
	m.misfit = m.misfitOf()
	return m, true
}

// toldDoubt is how far the logarithm of a window that a table tells may be off. Windows of one architecture differ by a tenth
// between nodes (arXiv 2312.02741): where all of a run's stages share such an error, twice that makes intervals hold.
const toldDoubt = 0.2

// windowOf is the sensor's averaging window, in s, and how far its logarithm may be off. One that is not known may be as long
// as the period.
func windowOf(s schema.Sensor) (told, doubt float64) {
	switch {
	case s.Window == 0:
		return s.Period.Seconds(), 0.5
	case s.WindowError > 0:
		return s.Window.Seconds(), s.WindowError.Seconds() / s.Window.Seconds() / 1.96
	default:
		return s.Window.Seconds(), toldDoubt
	}
}

func (m *Model) seconds(ns int64) float64 { return float64(ns-m.originNS) / 1e9 }

// Cells are as short as sensors can tell apart, and in long segments as long as power takes to wander.
const (
	shortestCell = 0.1 // s
	longestCell  = 1.0 // s
)

// divide cuts the segments into cells.
func (m *Model) divide() {
	for i := range m.segments {
		m.first = append(m.first, len(m.cells))
		from, to := m.bounds(i)
		length := min(max((to-from)/20, shortestCell), longestCell)
		n := max(1, int((to-from)/length+0.5))
		for k := range n {
			m.cells = append(m.cells, cell{
				from: from + (to-from)*float64(k)/float64(n), to: from + (to-from)*float64(k+1)/float64(n), segment: i,
			})
		}
	}
	m.resolve()
	m.kinds = kindsOf(m.segments)
	for m.alike < min(len(m.kinds), mostKinds) && len(m.kinds[m.alike].members) >= few {
		m.alike++
	}
}

// resolve finds the segments that have a window to themselves.
func (m *Model) resolve() {
	m.resolved = make([]bool, len(m.segments))
	for i := range m.segments {
		from, to := m.bounds(i)
		for k := m.seenFrom(from); k < len(m.seen) && m.seen[k].to <= to; k++ {
			m.resolved[i] = m.resolved[i] || m.seen[k].from >= from
		}
	}
}

// seenFrom is the first observation that ends at or after an instant.
func (m *Model) seenFrom(t float64) int {
	return sort.Search(len(m.seen), func(k int) bool { return m.seen[k].to >= t })
}

// alikeness of segments of one kind that the sensor cannot tell one by one: the least standard deviation of their levels, as
// a share of the span of power.
const alikeness = 0.01

// mostKinds bounds what a run of many sizes costs.
const mostKinds = 64

// few is the smallest number of segments that say something about others of their kind.
const few = 3

// kindsOf are the kinds of some segments, the most frequent first.
func kindsOf(segments []Segment) (kinds []kind) {
	at := map[int]int{}
	for i, s := range segments {
		k, ok := at[s.Kind]
		if !ok {
			k = len(kinds)
			at[s.Kind] = k
			kinds = append(kinds, kind{})
		}
		kinds[k].members = append(kinds[k].members, i)
	}
	slices.SortStableFunc(kinds, func(a, b kind) int { return len(b.members) - len(a.members) })
	return kinds
}

// suppose is what is taken for true before the first look.
func (m *Model) suppose() {
	m.response, m.delay, m.late, m.last = supposed(), supposedDelay, supposedLate, supposedLate
	middle := m.noise.middle
	for k := range m.kinds {
		m.kinds[k].mean, m.kinds[k].sd = middle, m.noise.jump
		if k < m.alike {
			m.kinds[k].sd = alikeness * m.noise.span
		}
	}
	m.level = make([]float64, len(m.cells))
	for i := range m.level {
		m.level[i] = middle
	}
}

// shapeSD is how well a response describes a board at all, as an error of a stage's beginning, in s: what makes the
// intervals of the tests' study hold the truth as often as they say.
const shapeSD = 0.02e-3

// startSDOf reckons with two errors that observations share, so that they do not average out: the response's shape, and the
// place of the sensor's lattice, which is fitted anew every half stretch.
func (m *Model) startSDOf() float64 {
	var sum float64
	for _, o := range m.seen {
		sum += o.sharedSD * o.sharedSD
	}
	stretches := max(1, float64(len(m.seen))/float64(stretches[0]/2))
	return math.Hypot(shapeSD, math.Sqrt(sum/float64(len(m.seen))/stretches))
}

// hastes are by how much, in s, the instants at which stages begin and end scatter, by what moves them: delay, late or last.
type hastes [last + 1]float64

// hastesOf is by how much requests differ in how long they are on their way to the board, and tokens on theirs back: where
// work is the same, its stages' lengths scatter by that. The kinds that scatter least tell; the values of windows with a
// change in them may tell of more, or, where they are many, of less. Last tokens may scatter by more than others. Where no
// work is done often enough to tell, and of stages whose lengths the server tells, a few windows are worth more.
func (m *Model) hastesOf() (told, worth hastes) {
	var inner, outer []float64
	for _, k := range m.kinds {
		if s := &m.segments[k.members[0]]; len(k.members) < fewest || s.Idle {
			continue
		}
		var lengths []float64
		ends := 0
		for _, s := range k.members {
			lengths = append(lengths, m.DurationS(s))
			if s+1 < len(m.segments) && m.segments[s+1].Idle {
				ends++
			}
		}
		switch scattered := scatterOf(lengths); {
		case 2*ends > len(k.members):
			outer = append(outer, scattered)
		case !m.segments[k.members[0]].Told:
			inner = append(inner, scattered)
		}
	}
	for e := delay; e <= last; e++ {
		told[e], worth[e] = supposedHaste, 1
	}
	within := func(v float64) float64 { return min(max(v, leastHaste), mostHaste) }
	first := 0.0
	if len(inner) > 0 {
		first = within(lowest(inner) / math.Sqrt2)
		told[delay], told[late] = first, first
		worth[delay], worth[late] = many, many
	}
	if len(outer) > 0 {
		both := lowest(outer)
		told[last], worth[last] = within(both/math.Sqrt2), many
		if first > 0 && both > math.Sqrt2*first {
			told[last] = within(math.Sqrt(both*both - first*first)) // the rest is the first token's
		}
	}
	return told, worth
}

// scatterOf is the standard deviation of some lengths, by the nine of ten that are closest to their middle: what is late by
// chance is so by much, now and then. It sorts them.
func scatterOf(lengths []float64) float64 {
	slices.Sort(lengths)
	middle := lengths[len(lengths)/2]
	for i := range lengths {
		lengths[i] = math.Abs(lengths[i] - middle)
	}
	slices.Sort(lengths)
	const normal = 1.645
	return lengths[len(lengths)*9/10] / normal
}

// lowest is the lower quartile. It sorts the values.
func lowest(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/4]
}

// What hastesOf supposes, its bounds, in s, and how many windows with a change in them are worth as much as lengths.
const (
	supposedHaste = 0.15e-3
	leastHaste    = 0.04e-3
	mostHaste     = 3e-3
	many          = 60
)

// misfitOf is how far the observations are off, in the standard deviations that they should be off by.
func (m *Model) misfitOf() float64 {
	var sum float64
	for i := range m.seen {
		o := &m.seen[i]
		d := (o.w - m.integral(o.from, o.to)/(o.to-o.from)) / (o.sd / o.doubt)
		sum += min(d*d, 100)
	}
	return math.Sqrt(sum / float64(len(m.seen)))
}

// cellAt is the cell that holds an instant, or the nearest.
func (m *Model) cellAt(t float64) int {
	i := sort.Search(len(m.cells), func(i int) bool { return m.cells[i].to > t })
	return min(i, len(m.cells)-1)
}

// felt is the last cell that the power has settled on at an instant, or the first of all: work may begin long after its request.
func (m *Model) felt(t float64) int {
	i := m.cellAt(t - reach)
	for i > 0 {
		if at, _ := m.begin(i); at <= t-reach {
			break
		}
		i--
	}
	return i
}

// between is what each cell's level adds to the integral of power over a stretch of time: the weights of the cells from
// the first that counts, none of them negative. Before the first cell the board is taken to have done the same, and after
// the last.
func (m *Model) between(from, to float64) (first int, weights []float64) {
	first = m.felt(from)
	weights = append(weights, to-from)
	for i := first + 1; i < len(m.cells) && m.cells[i].from-max(m.late, m.last) < to; i++ {
		begin, _ := m.begin(i)
		w := m.response.integral(to-begin) - m.response.integral(from-begin)
		weights[len(weights)-1] = max(0, weights[len(weights)-1]-w) // but for rounding it never is
		weights = append(weights, w)
	}
	return first, weights
}

// begin is when the board begins with the work of cell i, and by which cell's request or token that is known. No cell of a
// segment begins before its first, and none after what follows the segment: where a stage is over for its client before its
// request should have reached the board, the board is taken to have passed it over.
func (m *Model) begin(i int) (at float64, by int) {
	at, by = m.alone(i), i
	segment := m.cells[i].segment
	if head := m.first[segment]; head > 0 {
		if first := m.alone(head); first > at {
			at, by = first, head
		}
	}
	if segment+1 < len(m.segments) {
		if next := m.first[segment+1]; m.cells[next].from-max(m.late, m.last) < at {
			if follows, known := m.begin(next); follows < at {
				return follows, known
			}
		}
	}
	return at, by
}

// alone is when cell i would begin if it had no neighbours.
func (m *Model) alone(i int) float64 {
	at := m.cells[i].from
	switch m.edge(i) {
	case delay:
		at += m.delay + m.perToken*m.tokens(i)
	case late:
		at -= m.late
	case last:
		at -= m.last
	}
	return at
}

// tokens is how many the request has that begins with cell i, in millions.
func (m *Model) tokens(i int) float64 { return float64(m.segments[m.cells[i].segment].Tokens) / 1e6 }

// edge is which of the board's unknowns moves the beginning of cell i: a request is on its way before the board works on
// it, and a token arrives after the stage that it ends, the last one with a lateness of its own.
func (m *Model) edge(i int) int {
	before, after := m.cells[i-1].segment, m.cells[i].segment
	switch {
	case before == after:
		return own
	case m.segments[before].Idle && !m.segments[after].Told:
		return delay
	case m.segments[after].Idle:
		return last
	default:
		return late
	}
}

// power is the power at an instant.
func (m *Model) power(t float64) float64 {
	const instant = 1e-4 // s
	return m.integral(t-instant, t+instant) / (2 * instant)
}

func (m *Model) integral(from, to float64) float64 {
	first, weights := m.between(from, to)
	var sum float64
	for i, w := range weights {
		sum += w * m.level[first+i]
	}
	return sum
}
