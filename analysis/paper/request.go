package paper

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/llm-tracer/tracer/analysis/report"
)

// wide is how many boards stand side by side in one column of a paper.
const wide = 2

// requests are single requests as the boards' power sensors showed them, a figure a workload.
func requests(m *report.Model) []figure {
	var all []figure
	for _, workload := range []string{"prefill", "decode"} {
		var shown []report.CloseUp
		for _, c := range m.CloseUps {
			if c.Workload == workload && len(c.Points) > 0 {
				shown = append(shown, c)
			}
		}
		if len(shown) > 0 {
			all = append(all, request(m, workload, shown))
		}
	}
	return all
}

func request(m *report.Model, workload string, shown []report.CloseUp) figure {
	top, from, to := 0.0, 0.0, 0.0
	for _, c := range shown {
		for _, p := range c.Points {
			from, to = min(from, p.S), max(to, p.S)
			if p.Value != nil {
				top = max(top, 1.3**p.Value)
			}
		}
	}
	f := figure{
		name: "request-" + workload, title: fmt.Sprintf("power over one %s-oriented request", workload), width: column, height: 2.2 * vg.Inch,
		legend: []entry{box("prefill", tints["prefill"], nil), box("decode", tints["decode"], nil), mark("new value of the sensor", draw.GlyphStyle{Color: ink, Radius: 1.4, Shape: draw.CircleGlyph{}}, new(lineStyle(ink, 1)))},
		plots:  [][]*plot.Plot{nil},
	}
	if len(shown) > wide {
		f.width = page
	}
	f.below = "time since the request was sent (s)"
	across := f.panel(len(shown))
	for i, c := range shown {
		p := newPlot("", "")
		if i == 0 {
			p.Y.Label.Text = "power (W)"
		} else {
			p.Y.Tick.Marker = unnamed{p.Y.Tick.Marker}
		}
		p.X.Tick.Marker = linear(ticksIn(across))
		p.Title.Text = heading(p, named(m, m.Runs[c.Run].Label, m.Runs[c.Run].LLM, "\n"), across)
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = from, to, 0, top
		p.Add(rectangle(c.PrefillS, c.FirstTokenS, 0, top, tints["prefill"]), rectangle(c.FirstTokenS, c.LastTokenS, 0, top, tints["decode"]))
		dashed := lineStyle(ink, 0.5)
		dashed.Dashes = []vg.Length{2, 2}
		p.Add(upright(0, top, lineStyle(ink, 0.5)), upright(c.FirstTokenS, top, dashed))
		p.Add(sensor(c, colourOf(m.Servings[m.Runs[c.Run].Serving]))...)
		said := fmt.Sprintf("%d in, %d out", value(c.In), value(c.Out))
		p.Add(texts(small, draw.XRight, plotter.XYLabels{XYs: plotter.XYs{{X: to, Y: 0.95 * top}}, Labels: []string{said}}))
		f.plots[0] = append(f.plots[0], p)
	}
	return f
}

// sensor is what a board's power sensor showed: steps, and a dot at each new value where there is room.
func sensor(c report.CloseUp, colour color.Color) (drawn []plot.Plotter) {
	var xys plotter.XYs
	for _, p := range c.Points {
		if p.Value != nil {
			xys = append(xys, plotter.XY{X: p.S, Y: *p.Value})
		}
	}
	drawn = append(drawn, &plotter.Line{XYs: xys, StepStyle: plotter.PostStep, LineStyle: lineStyle(colour, 1)})
	if len(xys) < 60 {
		drawn = append(drawn, &plotter.Scatter{XYs: xys, GlyphStyle: draw.GlyphStyle{Color: colour, Radius: 1.4, Shape: draw.CircleGlyph{}}})
	}
	return drawn
}

func value(v *int32) int32 {
	if v == nil {
		return 0
	}
	return *v
}
