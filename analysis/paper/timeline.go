package paper

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/llm-tracer/tracer/analysis/report"
	"github.com/llm-tracer/tracer/schema"
)

// pieces is into how many a window is cut where it holds more points than can be seen: each then has its least and greatest.
const pieces = 1200

// Extent is from when to when runs were read, all of them together, in seconds from each one's first request.
func Extent(lines ...report.Timeline) (all Window) {
	all = Window{math.Inf(1), math.Inf(-1)}
	for _, line := range lines {
		if t := line.T.Floats(); len(t) > 0 {
			all = Window{min(all.From, t[0]), max(all.To, t[len(t)-1])}
		}
	}
	return all
}

// Overlaps says that two windows have something in common.
func (w Window) Overlaps(other Window) bool { return w.From <= other.To && other.From <= w.To }

// timelines are power and utilisation over time, a figure a run and board that was read in the window.
func timelines(m *report.Model, w Window) []figure {
	var all []figure
	for _, line := range m.Timelines {
		if w == (Window{}) || w.Overlaps(Extent(line)) {
			all = append(all, timeline(m, line, w))
		}
	}
	return all
}

func timeline(m *report.Model, line report.Timeline, w Window) figure {
	run := m.Runs[line.Run]
	t, power := line.T.Floats(), line.W.Floats()
	if w == (Window{}) && len(t) > 0 {
		w = Window{t[0], t[len(t)-1]}
	}
	utilT := t
	if line.UtilT != nil {
		utilT = line.UtilT.Floats()
	}
	colour := colourOf(m.Servings[run.Serving])
	upper, lower := newPlot("", "power (W)"), newPlot("time since the run's first request (s)", "GPU (%)")
	upper.X.Tick.Marker, lower.X.Tick.Marker = unnamed{linear(12)}, linear(12)
	steps := within(t, power, w)
	upper.Y.Max, lower.Y.Max = 1, 104
	for _, p := range steps {
		upper.Y.Max = max(upper.Y.Max, 1.35*p.Y)
	}
	for _, p := range []*plot.Plot{upper, lower} {
		p.X.Min, p.X.Max, p.Y.Min = w.From, w.To, 0
		p.Add(bands(line, w, p.Y.Max)...)
	}
	lower.Y.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0"}, {Value: 50, Label: "50"}, {Value: 100, Label: "100"}}
	upper.Add(sent(line, w, upper.Y.Max)...)
	upper.Add(&plotter.Line{XYs: steps, StepStyle: plotter.PostStep, LineStyle: lineStyle(colour, 1)})
	lower.Add(&plotter.Line{XYs: within(utilT, line.Util.Floats(), w), StepStyle: plotter.PostStep, LineStyle: lineStyle(colour, 1)})
	return figure{
		name: fmt.Sprintf("timeline-%s-%s", schema.Slug(run.Label), schema.Slug(run.RunID)), title: fmt.Sprintf("%s serving %s", run.Label, run.LLM), width: page, height: 2.9 * vg.Inch,
		legend: append(banded(line),
			entry{"request sent", func(c *draw.Canvas) {
				c.StrokeLine2(lineStyle(ink, 0.6), c.Center().X, c.Min.Y, c.Center().X, c.Max.Y)
			}},
			entry{"first token", func(c *draw.Canvas) { c.StrokeLine2(dashes(), c.Center().X, c.Min.Y, c.Center().X, c.Max.Y) }},
		),
		plots: [][]*plot.Plot{{upper}, {lower}},
	}
}

// banded are a legend's entries for bands: of mixed only where requests overlapped in different stages.
func banded(line report.Timeline) (all []entry) {
	for _, stage := range []string{"prefill", "decode", "mixed"} {
		if stage != "mixed" || slices.Contains(line.Band, stage) {
			all = append(all, box(stage, tints[stage], nil))
		}
	}
	return all
}

func dashes() draw.LineStyle {
	style := lineStyle(ink, 0.6)
	style.Dashes = []vg.Length{2, 2}
	return style
}

// within are the points of a window, thinned to what can be seen: of each piece the least and the greatest.
func within(t, v []float64, w Window) plotter.XYs {
	var all plotter.XYs
	for i := range t {
		next := math.Inf(1)
		if i+1 < len(t) {
			next = t[i+1]
		}
		if next >= w.From && t[i] <= w.To && !math.IsNaN(v[i]) {
			all = append(all, plotter.XY{X: max(t[i], w.From), Y: v[i]})
		}
	}
	if n := len(all); n > 0 && len(t) > 0 && t[len(t)-1] > w.To {
		all = append(all, plotter.XY{X: w.To, Y: all[n-1].Y}) // the last value holds beyond the window
	}
	if len(all) <= 2*pieces {
		return all
	}
	var thin plotter.XYs
	for piece := range pieces {
		from, to := piece*len(all)/pieces, (piece+1)*len(all)/pieces
		lo, hi := from, from
		for i := from; i < to; i++ {
			if all[i].Y < all[lo].Y {
				lo = i
			}
			if all[i].Y > all[hi].Y {
				hi = i
			}
		}
		thin = append(thin, all[min(lo, hi)], all[max(lo, hi)])
	}
	return thin
}

// bands are the stretches of rows with one label; a run in buckets has none.
func bands(line report.Timeline, w Window, top float64) (drawn []plot.Plotter) {
	if line.BandT == nil {
		return nil
	}
	t := line.BandT.Floats()
	for i, stage := range line.Band {
		tint, ok := tints[stage]
		if !ok || t[i+1] < w.From || t[i] > w.To {
			continue
		}
		drawn = append(drawn, rectangle(max(t[i], w.From), min(t[i+1], w.To), 0, top, tint))
	}
	return drawn
}

// roomy is for how many requests a window has room for more than a tick each.
const roomy = 8

// sent marks requests: a tick where each was sent; with room a line, another at its first token, and what it asked for.
func sent(line report.Timeline, w Window, top float64) (drawn []plot.Plotter) {
	var shown []report.Request
	for _, r := range line.Requests {
		if r.S >= w.From && r.S <= w.To {
			shown = append(shown, r)
		}
	}
	var labels plotter.XYLabels
	for i, r := range shown {
		if len(shown) > roomy {
			drawn = append(drawn, &plotter.Line{XYs: plotter.XYs{{X: r.S, Y: 0.93 * top}, {X: r.S, Y: top}}, LineStyle: lineStyle(ink, 0.5)})
			continue
		}
		level := 0.96 - 0.09*float64(i%2) // neighbours' words would meet
		drawn = append(drawn, upright(r.S, (level+0.04)*top, lineStyle(ink, 0.5)))
		if r.FirstToken != nil && *r.FirstToken < w.To {
			drawn = append(drawn, upright(*r.FirstToken, 0.84*top, dashes()))
		}
		labels.XYs = append(labels.XYs, plotter.XY{X: r.S + 0.004*(w.To-w.From), Y: level * top})
		labels.Labels = append(labels.Labels, fmt.Sprintf("%d tokens in, %d out", value(r.In), value(r.Out)))
	}
	return append(drawn, texts(small, draw.XLeft, labels))
}
