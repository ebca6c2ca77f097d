package paper

import (
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/llm-tracer/tracer/analysis/report"
)

// Boards have Okabe and Ito's colours, as on the report's page, and with each model a shape of their own.
var (
	colours = []color.RGBA{
		{0x00, 0x72, 0xb2, 255},
		{0xd5, 0x5e, 0x00, 255},
		{0x00, 0x9e, 0x73, 255},
		{0xcc, 0x79, 0xa7, 255},
		{0x56, 0xb4, 0xe9, 255},
		{0xe6, 0x9f, 0x00, 255},
		{0x55, 0x55, 0x55, 255},
		{0x8a, 0x6d, 0x00, 255},
	}
	shapes = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}} // those that can be hollow
	tints  = map[string]color.RGBA{"prefill": {0xfb, 0xd9, 0xa5, 255}, "decode": {0xd6, 0xe6, 0xf7, 255}, "mixed": {0xe3, 0xd3, 0xee, 255}}
	ink    = color.RGBA{0x33, 0x33, 0x33, 255}
	faint  = color.RGBA{0xdd, 0xdd, 0xdd, 255}
)

func colourOf(s report.Serving) color.RGBA                { return colours[s.Colour%len(colours)] }
func shapeOf(serving int) draw.GlyphDrawer                { return shapes[serving%len(shapes)] }
func lineStyle(c color.Color, w vg.Length) draw.LineStyle { return draw.LineStyle{Color: c, Width: w} }

// pale is a colour mixed with white.
func pale(c color.RGBA, share float64) color.RGBA {
	mix := func(v uint8) uint8 { return uint8(255 - share*float64(255-v)) }
	return color.RGBA{mix(c.R), mix(c.G), mix(c.B), 255}
}

func textStyle(size float64) text.Style {
	return text.Style{Color: ink, Font: font.From(plot.DefaultFont, vg.Length(size)), Handler: plot.DefaultTextHandler}
}

// newPlot is an empty plot in the paper's style.
func newPlot(x, y string) *plot.Plot {
	p := plot.New()
	p.Title.TextStyle = textStyle(small)
	p.Title.TextStyle.XAlign, p.Title.TextStyle.YAlign = draw.XCenter, draw.YTop
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font.Size, axis.Tick.Label.Font.Size = normal, small
		axis.Label.Padding, axis.Tick.Length, axis.Padding = 2, 3, 1
		axis.LineStyle, axis.Tick.LineStyle = lineStyle(ink, 0.5), lineStyle(ink, 0.5)
	}
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.X.Tick.Marker, p.Y.Tick.Marker = linear(7), linear(5)
	p.Add(gridLines{})
	return p
}

// gridLines are drawn at the ticks that have names, or would have: of a plot that shares its neighbour's names as well.
type gridLines struct{}

// Plot draws them; across a plot whose kinds are named at its left there are none.
func (gridLines) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	style := lineStyle(faint, 0.4)
	for _, at := range majors(&p.X) {
		c.StrokeLine2(style, x(at), c.Min.Y, x(at), c.Max.Y)
	}
	if _, kinds := inner(p.Y.Tick.Marker).(plot.ConstantTicks); kinds {
		return
	}
	for _, at := range majors(&p.Y) {
		c.StrokeLine2(style, c.Min.X, y(at), c.Max.X, y(at))
	}
}

func majors(a *plot.Axis) (all []float64) {
	for _, t := range inner(a.Tick.Marker).Ticks(a.Min, a.Max) {
		if !t.IsMinor() && t.Value >= a.Min && t.Value <= a.Max {
			all = append(all, t.Value)
		}
	}
	return all
}

// unnamed are another ticker's ticks without their names.
type unnamed struct{ plot.Ticker }

// Ticks are the other's.
func (u unnamed) Ticks(lo, hi float64) []plot.Tick {
	ticks := u.Ticker.Ticks(lo, hi)
	for i := range ticks {
		ticks[i].Label = ""
	}
	return ticks
}

func inner(t plot.Ticker) plot.Ticker {
	if u, ok := t.(unnamed); ok {
		return u.Ticker
	}
	return t
}

// linear are at most so many named ticks, at 1, 2 or 5 times a power of ten, written without zeros that say nothing.
func linear(most int) plot.Ticker {
	return plot.TickerFunc(func(lo, hi float64) (ticks []plot.Tick) {
		if !(hi > lo) || math.IsInf(hi-lo, 0) {
			return nil
		}
		step := report.RoundStep((hi - lo) / float64(most))
		for k := int(math.Ceil(lo / step)); float64(k)*step <= hi; k++ {
			v := float64(k) * step
			label := strconv.FormatFloat(v, 'f', max(0, -int(math.Floor(math.Log10(step)+1e-9))), 64)
			ticks = append(ticks, plot.Tick{Value: v, Label: strings.Replace(label, "-", "−", 1)})
		}
		return ticks
	})
}

// ticksIn is for how many named ticks a plot of a width has room.
func ticksIn(width vg.Length) int { return max(2, int(width/(0.4*vg.Inch))) }

// logAxis makes an axis logarithmic between two values.
func logAxis(a *plot.Axis, lo, hi float64) {
	if hi/lo < 1.5 {
		lo, hi = lo/1.5, hi*1.5
	} else {
		lo, hi = lo/1.25, hi*1.25
	}
	a.Min, a.Max, a.Scale = lo, hi, plot.LogScale{}
	named := func(lead int) bool {
		return lead == 1 || hi/lo < 8 || hi/lo < 300 && (lead == 2 || lead == 5)
	}
	a.Tick.Marker = plot.TickerFunc(func(lo, hi float64) (ticks []plot.Tick) {
		for e := math.Floor(math.Log10(lo)); e <= math.Log10(hi); e++ {
			for lead := 1; lead < 10; lead++ {
				v := float64(lead) * math.Pow(10, e)
				label := ""
				if named(lead) {
					label = strconv.FormatFloat(v, 'g', 6, 64)
				}
				if v >= lo && v <= hi {
					ticks = append(ticks, plot.Tick{Value: v, Label: label})
				}
			}
		}
		return ticks
	})
}

// heading is what stands above a plot, each of its lines within the plot's width.
func heading(p *plot.Plot, said string, width vg.Length) string {
	lines := strings.Split(said, "\n")
	for i := range lines {
		lines[i] = fitted(p.Title.TextStyle, lines[i], width)
	}
	return strings.Join(lines, "\n")
}

// rectangle is a filled box in data's units.
func rectangle(x1, x2, y1, y2 float64, fill color.Color) *plotter.Polygon {
	p := &plotter.Polygon{XYs: []plotter.XYs{{{X: x1, Y: y1}, {X: x2, Y: y1}, {X: x2, Y: y2}, {X: x1, Y: y2}}}, Color: fill}
	p.Width = 0
	return p
}

// upright is a line across the whole height.
func upright(x, top float64, style draw.LineStyle) *plotter.Line {
	return &plotter.Line{XYs: plotter.XYs{{X: x}, {X: x, Y: top}}, LineStyle: style}
}

// box is an entry of a legend for a filled, or dashed, area.
func box(name string, fill color.Color, border *draw.LineStyle) entry {
	return entry{name, func(c *draw.Canvas) {
		corners := []vg.Point{{X: c.Min.X, Y: c.Min.Y}, {X: c.Max.X, Y: c.Min.Y}, {X: c.Max.X, Y: c.Max.Y}, {X: c.Min.X, Y: c.Max.Y}, {X: c.Min.X, Y: c.Min.Y}}
		c.FillPolygon(fill, corners)
		if border != nil {
			c.StrokeLines(*border, corners)
		}
	}}
}

// mark is an entry of a legend for a glyph.
func mark(name string, style draw.GlyphStyle, line *draw.LineStyle) entry {
	return entry{name, func(c *draw.Canvas) {
		if line != nil {
			c.StrokeLine2(*line, c.Min.X, c.Center().Y, c.Max.X, c.Center().Y)
		}
		if style.Shape != nil {
			c.DrawGlyph(style, c.Center())
		}
	}}
}

// texts are words at places in a plot.
func texts(size float64, align text.XAlignment, labels plotter.XYLabels) *plotter.Labels {
	l := &plotter.Labels{XYs: labels.XYs, Labels: labels.Labels, TextStyle: make([]text.Style, len(labels.Labels))}
	for i := range l.TextStyle {
		l.TextStyle[i] = textStyle(size)
		l.TextStyle[i].XAlign, l.TextStyle[i].YAlign = align, draw.YCenter
	}
	return l
}

// markRadius is half of a mark's size.
const markRadius = 2.4

// marked is a board's mark at a point, hollow where the sensor saw the stage alone in fewer than half of the requests.
func marked(at plotter.XY, colour color.Color, shape draw.GlyphDrawer, hollow bool) []plot.Plotter {
	marks := []plot.Plotter{&plotter.Scatter{XYs: plotter.XYs{at}, GlyphStyle: draw.GlyphStyle{Color: colour, Radius: markRadius, Shape: shape}}}
	if hollow {
		marks = append(marks, &plotter.Scatter{XYs: plotter.XYs{at}, GlyphStyle: draw.GlyphStyle{Color: color.White, Radius: 0.6 * markRadius, Shape: shape}})
	}
	return marks
}

func grid(p *plot.Plot) [][]*plot.Plot { return [][]*plot.Plot{{p}} }
