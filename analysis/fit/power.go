package fit

import (
	"context"
	"fmt"
	"math"

	"github.com/llm-tracer/tracer/analysis/query"
)

// PowerModel is one of OpenDC's, in the words of its topology files: P = idlePower + (maxPower − idlePower)·g(utilisation).
type PowerModel struct {
	Type        string   `json:"modelType"`
	Power       *float64 `json:"power,omitempty"` // of the constant one alone
	IdleW       float64  `json:"idlePower"`
	MaxW        float64  `json:"maxPower"`
	Calibration *float64 `json:"calibrationFactor,omitempty"`
	AsymUtil    *float64 `json:"asymUtil,omitempty"`
	DVFS        *bool    `json:"dvfs,omitempty"`
}

// shape is g for a utilisation, and where it has one a parameter between lo and hi.
type shape struct {
	name   string
	g      func(u, parameter float64) float64
	lo, hi float64
}

// shapes are the formulas of org.opendc.simulator.compute.power.PowerModels.
var shapes = []shape{
	{name: "linear", g: func(u, _ float64) float64 { return u }},
	{name: "constant", g: func(float64, float64) float64 { return 0 }},
	{name: "sqrt", g: func(u, _ float64) float64 { return math.Sqrt(u) }},
	{name: "square", g: func(u, _ float64) float64 { return u * u }},
	{name: "cubic", g: func(u, _ float64) float64 { return u * u * u }},
	{name: "mse", g: func(u, r float64) float64 { return 2*u - math.Pow(u, r) }, lo: 0.1, hi: 10},
	{name: "asymptotic", g: func(u, a float64) float64 { return (1 + u - math.Exp(-u/a)) / 2 }, lo: 0.02, hi: 2},
	{name: asymptoticDVFS, g: func(u, a float64) float64 { u *= u * u; return (1 + u - math.Exp(-u/a)) / 2 }, lo: 0.02, hi: 2},
}

const asymptoticDVFS = "asymptotic, dvfs"

// Shape is how well one of OpenDC's models fits.
type Shape struct {
	PowerModel
	RMSW  float64 `json:"rms_w"` // root mean square of what it misses a second's mean power by
	AICc  float64 `json:"aicc"`
	Delta float64 `json:"aicc_above_best"`
}

// Power is the power of a board against its utilisation.
type Power struct {
	Model   *PowerModel `json:"gpuPowerModel"` // null: the data support none
	Why     string      `json:"unsupported,omitempty"`
	Note    string      `json:"note,omitempty"` // what the data leave open
	Idle    Estimate    `json:"idle_w"`
	Max     Estimate    `json:"max_w"`
	Seconds int         `json:"seconds"`
	RMSW    float64     `json:"rms_w"` // of what the model misses a second's mean power by
	Shapes  []Shape     `json:"shapes"`
}

const (
	leastSeconds = 20   // of a trace, for its power to be fitted
	leastSpan    = 0.3  // between the 5th and the 95th percentile of utilisation, for a slope
	leastBetween = 0.1  // of the seconds between a quarter and three quarters of the span, for a shape
	evenAICc     = 10.0 // above the best, that a simpler model may lie
)

// fitPower fits OpenDC's models to a board's seconds.
func fitPower(seconds []second) Power {
	p := Power{Seconds: len(seconds)}
	if len(seconds) < leastSeconds {
		p.unsupported(fmt.Sprintf("%d seconds with power and utilisation; %d are needed", len(seconds), leastSeconds))
		return p
	}
	var solutions []*solution
	for _, s := range shapes {
		fitted, solved := s.fit(seconds)
		if solved != nil {
			p.Shapes, solutions = append(p.Shapes, fitted), append(solutions, solved)
		}
	}
	best := 0
	for i := range p.Shapes {
		if p.Shapes[i].AICc < p.Shapes[best].AICc {
			best = i
		}
	}
	lowest := p.Shapes[best].AICc
	for i := range p.Shapes {
		p.Shapes[i].Delta = p.Shapes[i].AICc - lowest
	}
	lo, hi, between := span(seconds)
	switch {
	case hi-lo < leastSpan:
		p.unsupported(fmt.Sprintf("utilisation stayed between %.0f and %.0f %%", 100*lo, 100*hi))
		return p
	case p.Shapes[0].Type == "linear" && (between < leastBetween || p.Shapes[0].Delta < evenAICc):
		if best = 0; between < leastBetween {
			p.Note = fmt.Sprintf("only %.0f %% of the seconds lie well between idle and busy: the shape is not supported, and linear is the simplest", 100*between)
		} else if p.Shapes[0].Delta > 0 {
			p.Note = "no other shape fits clearly better than linear"
		}
	}
	p.Model = &p.Shapes[best].PowerModel
	s := solutions[best]
	p.Idle = interval(s.coef[0], s.half(0), "W")
	if len(s.coef) > 1 {
		p.Max = interval(s.coef[0]+s.coef[1], s.halfAt([]float64{1, 1}), "W")
	} else {
		p.Max = p.Idle
	}
	p.RMSW = p.Shapes[best].RMSW
	return p
}

func (p *Power) unsupported(why string) {
	p.Why, p.Idle, p.Max = why, unsupported("W", why), unsupported("W", why)
}

// span is the 5th and the 95th percentile of utilisation, and the share of seconds in the middle half between them.
func span(seconds []second) (lo, hi, between float64) {
	at := func(q float64) float64 {
		return quantile(seconds, q, func(s second) float64 { return s.Utilisation })
	}
	lo, hi = at(0.05), at(0.95)
	for _, s := range seconds {
		if f := (s.Utilisation - lo) / (hi - lo); f > 0.25 && f < 0.75 {
			between++
		}
	}
	return lo, hi, between / float64(len(seconds))
}

// fit finds the shape's levels and, by golden section, its parameter.
func (s shape) fit(seconds []second) (Shape, *solution) {
	solve := func(parameter float64) *solution { return s.solve(seconds, parameter) }
	parameter := 0.0
	if s.hi > 0 {
		parameter = golden(s.lo, s.hi, func(x float64) float64 {
			if solved := solve(x); solved != nil {
				return solved.rss
			}
			return math.Inf(1)
		})
	}
	solved := solve(parameter)
	if solved == nil || len(solved.coef) > 1 && solved.coef[1] <= 0 { // OpenDC refuses maxPower below idlePower
		return Shape{}, nil
	}
	k := len(solved.coef)
	f := Shape{PowerModel: PowerModel{Type: s.name, IdleW: round(solved.coef[0], 100), MaxW: round(solved.coef[0], 100)}, RMSW: math.Sqrt(solved.rss / float64(solved.n))}
	if k > 1 {
		f.MaxW = round(solved.coef[0]+solved.coef[1], 100)
	}
	parameter = round(parameter, 1e4)
	yes, no := true, false
	switch s.name {
	case "constant":
		f.Power = &f.IdleW
	case "mse":
		f.Calibration = &parameter
	case "asymptotic":
		f.AsymUtil, f.DVFS = &parameter, &no
	case asymptoticDVFS:
		f.Type, f.AsymUtil, f.DVFS = "asymptotic", &parameter, &yes
	}
	if s.hi > 0 {
		k++
	}
	f.AICc = solved.aicc(k)
	return f, solved
}

func (s shape) solve(seconds []second, parameter float64) *solution {
	points := make([]point, len(seconds))
	blocks := map[string]map[int64]int{}
	count := 0
	for i, sec := range seconds {
		if blocks[sec.Run] == nil {
			blocks[sec.Run] = map[int64]int{}
		}
		if blocks[sec.Run][sec.Block] == 0 {
			count++
			blocks[sec.Run][sec.Block] = count
		}
		row := []float64{1}
		if s.name != "constant" {
			row = append(row, s.g(min(max(sec.Utilisation, 0), 1), parameter))
		}
		points[i] = point{row: row, y: sec.PowerW, w: 1, group: i, within: blocks[sec.Run][sec.Block]}
	}
	solved, err := regress(points)
	if err != nil {
		return nil
	}
	return solved
}

// At is the power at a utilisation, in W, as OpenDC computes it.
func (m PowerModel) At(u float64) float64 {
	u = min(max(u, 0), 1)
	name, parameter := m.Type, 0.0
	switch {
	case m.Type == "constant":
		return *m.Power
	case m.Calibration != nil:
		parameter = *m.Calibration
	case m.AsymUtil != nil:
		parameter = *m.AsymUtil
		if *m.DVFS {
			name = asymptoticDVFS
		}
	}
	for _, s := range shapes {
		if s.name == name {
			return m.IdleW + (m.MaxW-m.IdleW)*s.g(u, parameter)
		}
	}
	return math.NaN()
}

// round leaves out digits that nobody measured.
func round(v, per float64) float64 { return math.Round(v*per) / per }

// golden finds where f is least between lo and hi, on a logarithmic scale, to a thousandth.
func golden(lo, hi float64, f func(float64) float64) float64 {
	const ratio = 0.6180339887498949
	a, b := math.Log(lo), math.Log(hi)
	c, d := b-ratio*(b-a), a+ratio*(b-a)
	fc, fd := f(math.Exp(c)), f(math.Exp(d))
	for b-a > 1e-3 {
		if fc < fd {
			b, d, fd = d, c, fc
			c = b - ratio*(b-a)
			fc = f(math.Exp(c))
		} else {
			a, c, fc = c, d, fd
			d = a + ratio*(b-a)
			fd = f(math.Exp(d))
		}
	}
	return math.Exp((a + b) / 2)
}

// PowerOf fits the power of boards of one name.
func PowerOf(ctx context.Context, d *query.Dataset, boards []query.Board) (Power, error) {
	seconds, err := readSeconds(ctx, d, boards)
	if err != nil {
		return Power{}, err
	}
	return fitPower(seconds), nil
}
