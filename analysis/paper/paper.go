// Package paper draws the figures of a dataset for a paper of two columns, one file each, from the same model as the report's
// page.
package paper

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	_ "gonum.org/v1/plot/vg/vgpdf" // for draw.NewFormattedCanvas
	_ "gonum.org/v1/plot/vg/vgsvg"

	"github.com/llm-tracer/tracer/analysis/report"
)

// Widths of figures, as ACM and IEEE set their columns.
const (
	column = 3.35 * vg.Inch
	page   = 7 * vg.Inch
	dpi    = 300 // of PNG
)

// Sizes of text, and what stands above the plots.
const (
	small  = 7
	normal = 8
	strip  = 11 // a line of text
)

func init() {
	// gonum's own default is a serif.
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
}

// Window is the part of a timeline that is drawn, in seconds from the run's first request; all of it where both are 0.
type Window struct{ From, To float64 }

// figure is a grid of plots, with a title and a legend above.
type figure struct {
	name   string
	title  string
	width  vg.Length
	height vg.Length
	legend []entry
	plots  [][]*plot.Plot
}

// entry is what a legend says of one kind of mark.
type entry struct {
	text string
	draw func(*draw.Canvas)
}

// Write draws every figure that the model has numbers for into a folder, in each of the formats (svg, pdf, png), and figures.txt,
// which says what of. It returns the files' names.
func Write(m *report.Model, folder string, formats []string, w Window) ([]string, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	figures := slices.Concat(timelines(m, w), requests(m), powers(m), curves(m), split(m))
	var names []string
	for _, f := range figures {
		if slices.ContainsFunc(m.Runs, func(r report.Run) bool { return r.Simulated }) {
			f.title = "SIMULATED: " + f.title
		}
		for _, format := range formats {
			name := f.name + "." + format
			if err := f.save(filepath.Join(folder, name), format); err != nil {
				return nil, fmt.Errorf("drawing %s: %w", name, err)
			}
			names = append(names, name)
		}
	}
	const text = "figures.txt"
	if err := os.WriteFile(filepath.Join(folder, text), []byte(provenance(m, figures)), 0o644); err != nil {
		return nil, err
	}
	return append(names, text), nil
}

// provenance says what the figures were drawn from.
func provenance(m *report.Model, figures []figure) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Figures of the dataset %s, drawn by tracer %s.\n", m.Dataset, m.Tracer)
	if m.Simulated {
		b.WriteString("SIMULATED boards or servers: these numbers describe no real hardware.\n")
	}
	b.WriteString("\nRuns:\n")
	for _, r := range m.Runs {
		fmt.Fprintf(&b, "  %s on %s, board %s (%s), model %s, started %s UTC, %s\n", r.RunID, r.Host, r.Label, r.UUID, r.LLM, r.Started, r.Status)
	}
	b.WriteString("\nFigures:\n")
	for _, f := range figures {
		fmt.Fprintf(&b, "  %s: %s\n", f.name, f.title)
	}
	return b.String()
}

func (f figure) save(path, format string) error {
	canvas, err := newCanvas(f.width, f.height, format)
	if err != nil {
		return err
	}
	f.draw(draw.New(canvas))
	var drawing bytes.Buffer
	if _, err := canvas.WriteTo(&drawing); err != nil {
		return err
	}
	return os.WriteFile(path, bytes.ReplaceAll(drawing.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:"+likewise+";")), 0o644)
}

// likewise are fonts of the same widths, for readers of SVG that lack the first.
const likewise = "Liberation Sans,Arial,Helvetica,sans-serif"

type canvas interface {
	vg.CanvasSizer
	io.WriterTo
}

func newCanvas(w, h vg.Length, format string) (canvas, error) {
	if format == "png" {
		return vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(dpi))}, nil
	}
	return draw.NewFormattedCanvas(w, h, format)
}

func (f figure) draw(c draw.Canvas) {
	c.FillPolygon(color.White, []vg.Point{c.Min, {X: c.Max.X, Y: c.Min.Y}, c.Max, {X: c.Min.X, Y: c.Max.Y}})
	top := c.Max.Y - strip
	c.FillText(textStyle(normal), vg.Point{X: c.Min.X + 4, Y: top}, f.title)
	top -= f.drawLegend(c, top-4)
	body := draw.Crop(c, 2, -4, 2, top-c.Max.Y-6)
	tiles := draw.Tiles{Rows: len(f.plots), Cols: len(f.plots[0]), PadX: 6, PadY: 6}
	for row, canvases := range plot.Align(f.plots, tiles, body) {
		for col, one := range canvases {
			f.plots[row][col].Draw(one)
		}
	}
}

// drawLegend places the entries in lines below a height, and says how much they take.
func (f figure) drawLegend(c draw.Canvas, top vg.Length) vg.Length {
	const thumb, gap = 14, 8
	style := textStyle(small)
	x, y := c.Min.X+4, top
	for i, e := range f.legend {
		wide := thumb + 3 + style.Width(e.text) + gap
		if x+wide > c.Max.X && i > 0 {
			x, y = c.Min.X+4, y-strip
		}
		at := draw.Crop(c, x-c.Min.X, x+thumb-c.Max.X, y-strip+3-c.Min.Y, y-1-c.Max.Y)
		e.draw(&at)
		c.FillText(style, vg.Point{X: x + thumb + 3, Y: y - strip + 4}, e.text)
		x += wide
	}
	if len(f.legend) == 0 {
		return 0
	}
	return top - y + strip
}
