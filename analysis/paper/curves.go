package paper

import (
	"math"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/llm-tracer/tracer/analysis/report"
)

// point is a quantity of one size, with its interval.
type point struct {
	serving      int
	x, y, lo, hi float64
	unseen       bool // the sensor saw the stage alone in fewer than half of the requests
}

// few is under how many output tokens the time and energy of one say nothing.
const few = 4

// curves are latencies and energies against tokens.
func curves(m *report.Model) []figure {
	var ttft, tpot, prefill, token []point
	for _, s := range m.Sizes {
		if s.Workload == "prefill" && s.TTFT != nil && s.InputTokens != nil {
			ttft = append(ttft, point{s.Serving, *s.InputTokens, 1e3 * *s.TTFT, 1e3 * *s.TTFTLo, 1e3 * *s.TTFTHi, false})
		}
		if s.Workload == "decode" && s.TPOT != nil && s.OutputTokens != nil && *s.OutputTokens >= few {
			tpot = append(tpot, point{s.Serving, *s.OutputTokens, 1e3 * *s.TPOT, 1e3 * *s.TPOTLo, 1e3 * *s.TPOTHi, false})
		}
	}
	for _, e := range m.Energies {
		switch {
		case e.Workload != e.Stage:
		case e.Stage == "prefill" && e.InputTokens != nil:
			prefill = append(prefill, point{e.Serving, *e.InputTokens, e.J, e.J - e.Half, e.J + e.Half, !e.Seen})
		case e.Stage == "decode" && e.OutputTokens != nil && *e.OutputTokens >= few:
			n := *e.OutputTokens - 1 // the first token is prefill's
			token = append(token, point{e.Serving, *e.OutputTokens, e.J / n, (e.J - e.Half) / n, (e.J + e.Half) / n, !e.Seen})
		}
	}
	const nine, interval = "nine in ten requests", "95 % interval"
	var all []figure
	for _, f := range []*figure{
		curve(m, "ttft", "time to first token", "input tokens", "time to first token (ms)", nine, ttft),
		curve(m, "prefill-energy", "energy of a prefill", "input tokens", "energy (J)", interval, prefill),
		curve(m, "tpot", "time per output token", "output tokens", "time per token (ms)", nine, tpot),
		curve(m, "token-energy", "energy per output token", "output tokens", "energy per token (J)", interval, token),
	} {
		if f != nil {
			all = append(all, *f)
		}
	}
	return all
}

func curve(m *report.Model, name, title, x, y, interval string, all []point) *figure {
	var points []point
	for _, p := range all {
		if p.x > 0 && p.y > 0 {
			p.lo = max(p.lo, p.y/10) // a bar that ends below zero ends below the figure
			points = append(points, p)
		}
	}
	if len(points) == 0 {
		return nil
	}
	p := newPlot(x, y)
	xs, ys := [2]float64{math.Inf(1), 0}, [2]float64{math.Inf(1), 0}
	for _, one := range points {
		xs = [2]float64{min(xs[0], one.x), max(xs[1], one.x)}
		ys = [2]float64{min(ys[0], one.lo), max(ys[1], one.hi)}
	}
	logAxis(&p.X, xs[0], xs[1])
	logAxis(&p.Y, ys[0], ys[1])
	f := &figure{name: name, title: title, width: column, height: 2.5 * vg.Inch}
	unseen := false
	for i, s := range m.Servings {
		var own plotter.XYs
		for _, one := range points {
			if one.serving != i {
				continue
			}
			own = append(own, plotter.XY{X: one.x, Y: one.y})
			p.Add(&plotter.Line{XYs: plotter.XYs{{X: one.x, Y: one.lo}, {X: one.x, Y: one.hi}}, LineStyle: lineStyle(colourOf(s), 0.8)})
			unseen = unseen || one.unseen
		}
		if len(own) == 0 {
			continue
		}
		p.Add(&plotter.Line{XYs: own, LineStyle: lineStyle(colourOf(s), 1)})
		for _, one := range points {
			if one.serving == i {
				p.Add(marked(plotter.XY{X: one.x, Y: one.y}, colourOf(s), shapeOf(i), one.unseen)...)
			}
		}
		line := lineStyle(colourOf(s), 1)
		f.legend = append(f.legend, mark(serving(m, s), draw.GlyphStyle{Color: colourOf(s), Radius: markRadius, Shape: shapeOf(i)}, &line))
	}
	f.legend = append(f.legend, entry{interval, func(c *draw.Canvas) {
		c.StrokeLine2(lineStyle(ink, 0.8), c.Center().X, c.Min.Y, c.Center().X, c.Max.Y)
	}})
	if unseen {
		f.legend = append(f.legend, mark("seen alone in fewer than half", draw.GlyphStyle{Color: ink, Radius: markRadius, Shape: draw.RingGlyph{}}, nil))
	}
	f.plots = grid(p)
	return f
}

// serving names boards, and their model where there are several.
func serving(m *report.Model, s report.Serving) string { return named(m, s.Label, s.LLM, ", ") }

// named is a board's name, and where there are several models that of its own.
func named(m *report.Model, board, llm, between string) string {
	for _, other := range m.Servings {
		if other.LLM != llm {
			return board + between + m.ShortName(llm)
		}
	}
	return board
}
