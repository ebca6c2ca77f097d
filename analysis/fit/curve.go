package fit

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// observation is what one request gave at one size.
type observation struct {
	x, y float64
	w    float64 // one over the variance, up to a factor
	key  [2]int64
}

// outlierScale is how many standard deviations, by the median absolute deviation of its group, an observation may lie from
// its group's median.
const outlierScale = 5

// leastGroup is how many observations a group needs before one of them can be called an outlier.
const leastGroup = 5

// finestScale is the least standard deviation that a group is credited with, of its median: below it lies the clock's grain.
const finestScale = 0.002

// trim leaves out what is far from all others at the same size: a request that something else disturbed. It says how many.
func trim(all []observation) (kept []observation, left int) {
	for _, group := range grouped(all) {
		if len(group) < leastGroup {
			kept = append(kept, group...)
			continue
		}
		centre := median(group, func(o observation) float64 { return o.y })
		sigma := 1.4826 * median(group, func(o observation) float64 { return math.Abs(o.y - centre) })
		limit := outlierScale * max(sigma, finestScale*math.Abs(centre))
		for _, o := range group {
			if math.Abs(o.y-centre) <= limit {
				kept = append(kept, o)
			}
		}
	}
	return kept, len(all) - len(kept)
}

// sameSize is by how much lengths of prompts may differ and still be one size: servers count a template's tokens too.
const sameSize = 1.25

// grouped are the observations of each size, sizes rising. Those with a key are of one size if all of it is equal.
func grouped(all []observation) (groups [][]observation) {
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b observation) int {
		return cmp.Or(cmp.Compare(a.x, b.x), cmp.Compare(a.key[0], b.key[0]), cmp.Compare(a.key[1], b.key[1]))
	})
	for i, o := range sorted {
		if i == 0 || !o.like(sorted[i-1], groups[len(groups)-1][0]) {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], o)
	}
	return groups
}

// like says whether an observation is of the size of the one before it and the size's first.
func (o observation) like(before, first observation) bool {
	if o.key != [2]int64{} {
		return o.key == first.key && o.x == first.x
	}
	return o.x <= sameSize*before.x && o.x <= sameSize*sameSize*first.x
}

func median(group []observation, of func(observation) float64) float64 {
	values := make([]float64, len(group))
	for i, o := range group {
		values[i] = of(o)
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// curve is y = max(floor, a + b·x + c·x²). A prefill cannot be shorter than one pass over the weights: that is the floor.
type curve struct {
	line   *solution // a, b and, where square, c
	square bool
	floor  *solution // of the sizes below the knee; nil where there are none
	knee   float64   // size where the line leaves the floor; 0 without one
	sizes  int       // above the knee
	score  float64
}

// leastSlack is how far, relative, the parts of a curve may contradict each other at a measured size, whatever the noise.
const leastSlack = 0.01

// rivalAICc is how far above the best a curve's criterion may lie for its intervals to count too: a weight of e⁻² of its.
const rivalAICc = 4

// fitCurve finds the curve that Akaike's criterion prefers, with or without a floor, with or without a square, and after
// it those that are hardly worse. Each has a size to spare that checks it, and a square must rise.
func fitCurve(all []observation) (curves []*curve, left int) {
	kept, left := trim(all)
	groups := grouped(kept)
	for below := range groups {
		for _, square := range []bool{false, true} {
			if c := curveOf(groups, below, square); c != nil {
				curves = append(curves, c)
			}
		}
	}
	slices.SortStableFunc(curves, func(a, b *curve) int { return cmp.Compare(a.score, b.score) })
	return rivals(curves), left
}

// rivals are the best of curves and those that are hardly worse.
func rivals(curves []*curve) []*curve {
	for i, c := range curves {
		if c.score > curves[0].score+rivalAICc {
			return curves[:i]
		}
	}
	return curves
}

// coefficient is the best curve's, with an interval that holds those of its rivals.
func coefficient(curves []*curve, j int, unit string) Estimate {
	value := curves[0].line.coef[j]
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, c := range curves {
		if j < len(c.line.coef) {
			lo, hi = min(lo, c.line.coef[j]-c.line.half(j)), max(hi, c.line.coef[j]+c.line.half(j))
		}
	}
	e := supported(value, max(hi-value, value-lo), unit)
	e.Lo, e.Hi = lo, hi
	return e
}

func curveOf(groups [][]observation, below int, square bool) *curve {
	above := groups[below:]
	if len(above) < leastSizes || square && len(above) < leastSizes+1 {
		return nil
	}
	line, err := regress(points(above, func(x float64) []float64 {
		if square {
			return []float64{1, x, x * x}
		}
		return []float64{1, x}
	}))
	if err != nil || line.coef[1] <= 0 || square && line.coef[2] <= 0 {
		return nil
	}
	c := &curve{line: line, square: square, sizes: len(above)}
	rss, n, k := line.rss, line.n, len(line.coef)
	if below > 0 {
		c.floor, err = regress(points(groups[:below], func(float64) []float64 { return []float64{1} }))
		if err != nil {
			return nil
		}
		level := c.floor.coef[0]
		last, first := groups[below-1][0].x, above[0][0].x
		if c.rising(last)-c.slack(last) > level || c.rising(first)+c.slack(first) < level {
			return nil
		}
		rss, n, k = rss+c.floor.rss, n+c.floor.n, k+2 // the level, and where it ends
		c.knee = c.meets(level)
	}
	c.score = aicc(rss, n, k)
	return c
}

func points(groups [][]observation, row func(x float64) []float64) (all []point) {
	for g, group := range groups {
		for _, o := range group {
			all = append(all, point{row: row(o.x), y: o.y, w: o.w, group: g})
		}
	}
	return all
}

// rising is the part above the floor.
func (c *curve) rising(x float64) float64 {
	y, power := 0.0, 1.0
	for _, coef := range c.line.coef {
		y, power = y+coef*power, power*x
	}
	return y
}

// slack is how far the rising part may be off: its 95 % interval, with that of the floor, or a hundredth.
func (c *curve) slack(x float64) float64 {
	row := []float64{1, x, x * x}[:len(c.line.coef)]
	return max(leastSlack*c.floor.coef[0], math.Hypot(c.line.halfAt(row), c.floor.half(0)))
}

// at is the curve's value.
func (c *curve) at(x float64) float64 {
	if c.floor != nil && x < c.knee {
		return c.floor.coef[0]
	}
	return c.rising(x)
}

// meets is where the rising part has the value.
func (c *curve) meets(y float64) float64 {
	a, b := c.line.coef[0]-y, c.line.coef[1]
	if !c.square {
		return -a / b
	}
	q := c.line.coef[2]
	return (-b + math.Sqrt(max(0, b*b-4*q*a))) / (2 * q)
}

// Curve is a fitted curve as it is told: what the coefficients are, and what every request is off.
type Curve struct {
	Form     string   `json:"form"` // empty where the data support none
	Why      string   `json:"unsupported,omitempty"`
	Note     string   `json:"note,omitempty"` // what the data leave open
	A        Estimate `json:"a"`              // at length or context 0
	B        Estimate `json:"b"`              // per token
	C        Estimate `json:"c"`              // per token squared
	Floor    Estimate `json:"floor"`          // below the knee
	Knee     float64  `json:"knee_tokens,omitempty"`
	Sizes    int      `json:"sizes"`
	Outliers int      `json:"outliers_left_out"`
	Points   []Point  `json:"points"`
}

// Point is one request, and what the curve says of it.
type Point struct {
	X        float64 `json:"tokens"`
	Y        float64 `json:"observed"`
	Fitted   float64 `json:"fitted"`
	Residual float64 `json:"residual"`
}

// leastSizes is how many sizes a line needs: one more than it takes to draw it. A square needs one more again.
const leastSizes = 3

const (
	noSizes  = "requests of fewer than 3 sizes: nothing tells a rise from a floor"
	noSquare = "the sizes show no curvature"
	noteLack = "the sizes scatter about the curve by more than their requests do: the intervals are those of the sizes"
)

func (c *Curve) unsupported(unit, why string) {
	c.Why = why
	c.A, c.B, c.C, c.Floor = unsupported(unit, why), unsupported(unit, why), unsupported(unit, why), unsupported(unit, why)
}

// remark adds to the note.
func (c *Curve) remark(note string) { c.Note = strings.TrimPrefix(c.Note+"; "+note, "; ") }

// prefillCurve fits time or energy of prefills against their length.
func prefillCurve(all []observation, unit string) (out Curve) {
	if out.Sizes = len(grouped(all)); len(all) == 0 {
		out.unsupported(unit, "no request has it")
		return out
	}
	if out.Sizes < leastSizes {
		out.unsupported(unit, noSizes)
		return out
	}
	curves, left := fitCurve(all)
	if len(curves) == 0 {
		out.unsupported(unit, "no rising line fits")
		return out
	}
	c := curves[0]
	out.Outliers = left
	out.A, out.B = coefficient(curves, 0, unit), coefficient(curves, 1, unit+"/token")
	out.Form, out.C, out.Floor = "a + b·n", unsupported(unit+"/token²", noSquare), unsupported(unit, "no size lies below a knee")
	if c.square {
		out.Form += " + c·n²"
		out.C = coefficient(curves, 2, unit+"/token²")
	} else if c.sizes <= leastSizes {
		out.C.Why = fmt.Sprintf("%d sizes; %d above any knee are needed", c.sizes, leastSizes+1)
	}
	if c.floor != nil {
		out.Form, out.Knee = "max(floor, "+out.Form+")", c.knee
		out.Floor = supported(c.floor.coef[0], c.floor.half(0), unit)
	}
	switch {
	case len(curves) > 1:
		out.Note = fmt.Sprintf("%d forms fit about as well: the intervals hold those of all", len(curves))
	case c.line.lack:
		out.Note = noteLack
	}
	out.Points = residuals(all, c.at)
	return out
}

// tokenCurve fits time or energy of an output token against its context; without a slope where Akaike's criterion wants none.
func tokenCurve(all []observation, unit string) (out Curve) {
	kept, left := trim(all)
	groups := grouped(kept)
	out.Sizes, out.Outliers = len(groups), left
	if len(all) == 0 {
		out.unsupported(unit, "no request has it")
		return out
	}
	flat, err := regress(points(groups, func(float64) []float64 { return []float64{1} }))
	if err != nil {
		out.unsupported(unit, "one request alone")
		return out
	}
	out.Floor, out.C = unsupported(unit, "not fitted"), unsupported(unit, "not fitted")
	curves := []*curve{{line: flat, score: flat.aicc(1)}}
	if line, err := regress(points(groups, func(x float64) []float64 { return []float64{1, x} })); err == nil {
		if rising := (&curve{line: line, score: line.aicc(2)}); rising.score < curves[0].score {
			curves = append([]*curve{rising}, curves...)
		} else {
			curves = append(curves, rising)
		}
	}
	best := curves[0]
	out.A, out.Form = coefficient(rivals(curves), 0, unit), "a"
	if len(best.line.coef) > 1 {
		out.Form, out.B = "a + b·context", coefficient(curves[:1], 1, unit+"/token")
	} else {
		out.B = unsupported(unit+"/token", fmt.Sprintf("no change with the context is to be seen, which varied from %.0f to %.0f tokens", groups[0][0].x, groups[len(groups)-1][0].x))
	}
	if best.line.lack {
		out.Note = noteLack
	}
	out.Points = residuals(all, best.rising)
	return out
}

func residuals(all []observation, at func(float64) float64) (points []Point) {
	for _, group := range grouped(all) {
		for _, o := range group {
			points = append(points, Point{X: o.x, Y: o.y, Fitted: at(o.x), Residual: o.y - at(o.x)})
		}
	}
	return points
}
