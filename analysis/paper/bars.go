package paper

import (
	"fmt"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/llm-tracer/tracer/analysis/report"
)

// powers is how the sensor's new values are distributed: a row a stage, a column a kind of board.
func powers(m *report.Model) []figure {
	var stages []string
	for _, stage := range []string{"idle", "prefill", "decode", "mixed"} {
		if slices.ContainsFunc(m.Powers, func(p report.Power) bool { return p.Stage == stage }) {
			stages = append(stages, stage)
		}
	}
	var boards []report.Run
	last := 0
	for _, r := range m.Runs {
		if !slices.ContainsFunc(boards, func(b report.Run) bool { return b.GPU == r.GPU && b.LLM == r.LLM }) {
			boards = append(boards, r)
		}
	}
	for _, p := range m.Powers {
		last = max(last, p.W/m.BinW+1)
	}
	if len(stages) == 0 {
		return nil
	}
	f := figure{name: "power-by-stage", title: "distribution of power by stage, new values of the sensor", width: column, height: vg.Length(0.6*float64(len(stages))+0.7) * vg.Inch}
	if len(boards) > wide {
		f.width = page
	}
	f.below = "power (W)"
	across := f.panel(len(boards))
	for i, stage := range stages {
		var row []*plot.Plot
		for k, board := range boards {
			p := newPlot("", "")
			p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, float64(last*m.BinW), 0, 1.25
			p.X.Tick.Marker, p.Y.Tick.Marker = linear(ticksIn(across)), plot.ConstantTicks(nil)
			if i == 0 {
				p.Title.Text = heading(p, named(m, board.GPU, board.LLM, "\n"), across)
			}
			if k == 0 {
				p.Y.Label.Text = stage
			}
			if i < len(stages)-1 {
				p.X.Tick.Marker = unnamed{p.X.Tick.Marker}
			}
			p.Add(distribution(m, board, stage, p.X.Max)...)
			row = append(row, p)
		}
		f.plots = append(f.plots, row)
	}
	return []figure{f}
}

func distribution(m *report.Model, board report.Run, stage string, right float64) []plot.Plotter {
	counts := map[int]int64{}
	var n, fullest int64
	for _, p := range m.Powers {
		if p.GPU == board.GPU && p.LLM == board.LLM && p.Stage == stage {
			counts[p.W/m.BinW] += p.Updates
			n += p.Updates
			fullest = max(fullest, counts[p.W/m.BinW])
		}
	}
	width := float64(m.BinW)
	var drawn []plot.Plotter
	for bin, count := range counts {
		x := float64(bin) * width
		drawn = append(drawn, rectangle(x, x+width, 0, float64(count)/float64(fullest), colourOf(m.Servings[board.Serving])))
	}
	said := fmt.Sprintf("n = %d", n)
	return append(drawn, texts(small, draw.XRight, plotter.XYLabels{XYs: plotter.XYs{{X: right, Y: 1.12}}, Labels: []string{said}}))
}

// split is the shares of prefill and decode in the energy of one request of each kind.
func split(m *report.Model) []figure {
	var kinds []string
	var servings []int
	for _, f := range m.Energies {
		if kind := kindOf(f); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
		if !slices.Contains(servings, f.Serving) {
			servings = append(servings, f.Serving)
		}
	}
	if len(kinds) == 0 {
		return nil
	}
	slices.Reverse(kinds) // axes count upwards
	dashed := lineStyle(ink, 0.6)
	dashed.Dashes = []vg.Length{2, 1.5}
	f := figure{
		name: "energy-split", title: "where a request's energy goes", width: column, height: vg.Length(0.17*float64(len(kinds))+0.95) * vg.Inch, plots: [][]*plot.Plot{nil},
		legend: []entry{box("prefill", pale(ink, 0.9), nil), box("decode", pale(ink, 0.35), nil), box("seen alone in fewer than half", pale(ink, 0), &dashed)},
	}
	if len(servings) > wide {
		f.width = page
	}
	f.below = "share of energy (%)"
	for i, s := range servings {
		p := newPlot("", "")
		p.Title.Text = heading(p, named(m, m.Servings[s].Label, m.Servings[s].LLM, "\n"), f.panel(len(servings)))
		p.NominalY(kinds...)
		p.Y.Min, p.Y.Max = -0.6, float64(len(kinds))-0.4
		if i > 0 {
			p.Y.Tick.Marker = unnamed{p.Y.Tick.Marker}
		}
		p.X.Min, p.X.Max = 0, 138
		p.X.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0"}, {Value: 50, Label: "50"}, {Value: 100, Label: "100"}}
		for row, kind := range kinds {
			p.Add(stacked(m, s, kind, float64(row))...)
		}
		f.plots[0] = append(f.plots[0], p)
	}
	return []figure{f}
}

func kindOf(f report.Energy) string { return fmt.Sprintf("%s %d", f.Workload, f.Target) }

// stacked is the bar of one kind, with the whole energy beside it.
func stacked(m *report.Model, serving int, kind string, row float64) []plot.Plotter {
	parts := map[string]report.Energy{}
	for _, f := range m.Energies {
		if f.Serving == serving && kindOf(f) == kind {
			parts[f.Stage] = f
		}
	}
	total := parts["prefill"].OfAllJ + parts["decode"].OfAllJ
	if total <= 0 {
		return nil
	}
	colour := colourOf(m.Servings[serving])
	var drawn []plot.Plotter
	x := 0.0
	for _, stage := range []string{"prefill", "decode"} {
		f := parts[stage]
		share := map[string]float64{"prefill": 1, "decode": 0.4}[stage]
		bar := rectangle(x, x+100*f.OfAllJ/total, row-0.38, row+0.38, pale(colour, share))
		if !f.Seen {
			bar.Color = pale(colour, 0.5*share)
			bar.LineStyle = lineStyle(colour, 0.6)
			bar.Dashes = []vg.Length{2, 1.5}
		}
		drawn = append(drawn, bar)
		x += 100 * f.OfAllJ / total
	}
	return append(drawn, texts(small-0.5, draw.XLeft, plotter.XYLabels{XYs: plotter.XYs{{X: 103, Y: row}}, Labels: []string{joules(total)}}))
}

func joules(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.3g kJ", v/1000)
	}
	return fmt.Sprintf("%.3g J", v)
}
