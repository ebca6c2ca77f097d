package paper

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/llm-tracer/tracer/analysis/fit"
	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/schema"
)

// mostPoints is how many requests a plot of residuals shows; of more it shows every so many.
const mostPoints = 2000

// Residuals draws each fit's curves through the requests that they were fitted to, and below them how far off each request
// lies, into a folder, in each of the formats. It returns the files' names.
func Residuals(fits []fit.Fit, folder string, formats []string) ([]string, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	var names []string
	for i := range fits {
		written, err := residuals(&fits[i]).write(folder, formats, fits[i].Simulated)
		if err != nil {
			return nil, err
		}
		names = append(names, written...)
	}
	return names, nil
}

// fittedCurve is a curve of a fit, as a figure names it.
type fittedCurve struct {
	*fit.Curve
	title, x, y string
	scale       float64 // from the curve's unit to the axis'
}

func residuals(f *fit.Fit) figure {
	served := query.Served(f.GPU, f.Boards)
	fig := figure{
		name:  "residuals-" + query.ServedSlug(f.GPU, f.Boards) + "-" + schema.Slug(f.LLM),
		title: fmt.Sprintf("requests and fits, %s on %s", query.Printable(f.LLM), served),
		width: page, height: 3.4 * vg.Inch, plots: make([][]*plot.Plot, 2),
	}
	line := lineStyle(ink, 1)
	fig.legend = []entry{
		mark("one request", draw.GlyphStyle{Color: colours[0], Radius: 1.4, Shape: draw.CircleGlyph{}}, nil),
		mark("fit", draw.GlyphStyle{}, &line),
	}
	for _, c := range []fittedCurve{
		{&f.PrefillTime, "prefill", "input tokens", "time (ms)", 1e3},
		{&f.PrefillEnergy, "prefill", "input tokens", "energy (J)", 1},
		{&f.TokenTime, "output token", "context tokens", "time (ms)", 1e3},
		{&f.TokenEnergy, "output token", "context tokens", "energy (J)", 1},
	} {
		above, below := c.plots(fig.panel(4))
		fig.plots[0], fig.plots[1] = append(fig.plots[0], above), append(fig.plots[1], below)
	}
	return fig
}

// plots are the curve through its requests, and their residuals in % of it.
func (c *fittedCurve) plots(width vg.Length) (above, below *plot.Plot) {
	above, below = newPlot("", c.y), newPlot(c.x, "residual (%)")
	points := c.shown()
	if len(points) == 0 {
		above.Title.Text = heading(above, c.title+"\nno fit: "+c.Why, width)
		for _, p := range []*plot.Plot{above, below} {
			p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 1, 0, 1
			p.X.Tick.Marker, p.Y.Tick.Marker = plot.ConstantTicks{}, plot.ConstantTicks{}
		}
		return above, below
	}
	above.Title.Text = heading(above, c.title+"\n"+c.Form, width)
	var measured, off, curve plotter.XYs
	x, y, furthest := [2]float64{math.Inf(1), 0}, [2]float64{math.Inf(1), 0}, 1.0
	for _, p := range points {
		x = [2]float64{min(x[0], p.X), max(x[1], p.X)}
		y = [2]float64{min(y[0], c.scale*p.Y, c.scale*p.Fitted), max(y[1], c.scale*p.Y, c.scale*p.Fitted)}
		percent := 100 * p.Residual / p.Fitted
		furthest = max(furthest, math.Abs(percent))
		measured, off = append(measured, plotter.XY{X: p.X, Y: c.scale * p.Y}), append(off, plotter.XY{X: p.X, Y: percent})
		if n := len(curve); n == 0 || curve[n-1].X != p.X {
			curve = append(curve, plotter.XY{X: p.X, Y: c.scale * p.Fitted})
		}
	}
	style := draw.GlyphStyle{Color: colours[0], Radius: 1.4, Shape: draw.CircleGlyph{}}
	above.Add(&plotter.Scatter{XYs: measured, GlyphStyle: style}, &plotter.Line{XYs: curve, LineStyle: lineStyle(ink, 1)})
	below.Add(&plotter.Line{XYs: plotter.XYs{{X: x[0] / 2}, {X: x[1] * 2}}, LineStyle: lineStyle(ink, 1)}, &plotter.Scatter{XYs: off, GlyphStyle: style})
	logAxis(&above.X, x[0], x[1])
	logAxis(&above.Y, y[0], y[1])
	logAxis(&below.X, x[0], x[1])
	above.X.Tick.Marker = unnamed{above.X.Tick.Marker}
	below.Y.Min, below.Y.Max = -1.1*furthest, 1.1*furthest
	return above, below
}

// shown are the points that can stand on logarithmic axes, thinned, by x.
func (c *fittedCurve) shown() []fit.Point {
	var points []fit.Point
	every := len(c.Points)/mostPoints + 1
	for i, p := range c.Points {
		if i%every == 0 && p.X > 0 && p.Y > 0 && p.Fitted > 0 {
			points = append(points, p)
		}
	}
	slices.SortStableFunc(points, func(a, b fit.Point) int { return cmp.Compare(a.X, b.X) })
	return points
}
