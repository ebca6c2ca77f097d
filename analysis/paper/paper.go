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
	"gonum.org/v1/plot/text"
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
	margin = 4
)

func init() {
	// gonum's own default is a serif.
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
}

// Window is the part of a timeline that is drawn, in seconds from the run's first request; all of it where both are 0.
type Window struct{ From, To float64 }

// figure is a grid of plots, with a title and a legend above, and below what their horizontal axes share.
type figure struct {
	name   string
	title  string
	below  string
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
		written, err := f.write(folder, formats, slices.ContainsFunc(m.Runs, func(r report.Run) bool { return r.Simulated }))
		if err != nil {
			return nil, err
		}
		names = append(names, written...)
	}
	const about = "figures.txt"
	if err := os.WriteFile(filepath.Join(folder, about), []byte(provenance(m, figures)), 0o644); err != nil {
		return nil, err
	}
	return append(names, about), nil
}

// write draws the figure in each of the formats.
func (f figure) write(folder string, formats []string, simulated bool) (names []string, err error) {
	if simulated {
		f.title = "SIMULATED: " + f.title
	}
	for _, format := range formats {
		name := f.name + "." + format
		if err := f.save(filepath.Join(folder, name), format); err != nil {
			return nil, fmt.Errorf("drawing %s: %w", name, err)
		}
		names = append(names, name)
	}
	return names, nil
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
	canvas, err := newCanvas(f.width, f.height+f.head(), format)
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
	top := c.Max.Y
	for _, line := range f.titleLines() {
		top -= strip
		c.FillText(textStyle(normal), vg.Point{X: c.Min.X + margin, Y: top}, line)
	}
	top -= f.drawLegend(c, top-4)
	bottom := vg.Length(2)
	if f.below != "" {
		style := textStyle(normal)
		style.XAlign = draw.XCenter
		c.FillText(style, vg.Point{X: c.Center().X, Y: c.Min.Y + 3}, f.below)
		bottom += strip
	}
	body := draw.Crop(c, 2, -4, bottom, top-c.Max.Y-6)
	tiles := draw.Tiles{Rows: len(f.plots), Cols: len(f.plots[0]), PadX: 10, PadY: 6}
	for row, canvases := range plot.Align(f.plots, tiles, body) {
		for col, one := range canvases {
			f.plots[row][col].Draw(one)
		}
	}
}

// panel is about how wide one of so many plots side by side is.
func (f figure) panel(plots int) vg.Length { return f.width/vg.Length(plots) - 14 }

// head is how much the title and the legend take beyond a line each, for which the heights are set.
func (f figure) head() vg.Length {
	rows := len(f.titleLines())
	if places := f.placed(); len(places) > 0 {
		rows += places[len(places)-1].row
	}
	return vg.Length(rows-1) * strip
}

// titleLines is the title in lines of the figure's width.
func (f figure) titleLines() []string {
	style := textStyle(normal)
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(f.title) {
		if longer := strings.TrimSpace(line + " " + word); line == "" || style.Width(longer) <= f.width-2*margin {
			line = longer
			continue
		}
		lines = append(lines, line)
		line = word
	}
	return append(lines, fitted(style, line, f.width-2*margin))
}

// fitted is a text, its end left out where it is wider than its place.
func fitted(style text.Style, said string, width vg.Length) string {
	if style.Width(said) <= width {
		return said
	}
	letters := []rune(said)
	for len(letters) > 1 && style.Width(string(letters)+"…") > width {
		letters = letters[:len(letters)-1]
	}
	return string(letters) + "…"
}

// A legend's entry is a thumb, its text, and a gap to the next.
const thumb, beside, gap = 14, 3, 8

// place is where an entry of a legend stands, from the left, in which row.
type place struct {
	entry
	x   vg.Length
	row int
}

// placed are the legend's entries in rows of the figure's width.
func (f figure) placed() []place {
	style := textStyle(small)
	var all []place
	x, row := vg.Length(margin), 0
	for i, e := range f.legend {
		e.text = fitted(style, e.text, f.width-2*margin-thumb-beside)
		wide := thumb + beside + style.Width(e.text)
		if x+wide > f.width-margin && i > 0 {
			x, row = margin, row+1
		}
		all = append(all, place{e, x, row})
		x += wide + gap
	}
	return all
}

// drawLegend draws the entries below a height, and says how much they take.
func (f figure) drawLegend(c draw.Canvas, top vg.Length) (taken vg.Length) {
	for _, p := range f.placed() {
		x, y := c.Min.X+p.x, top-vg.Length(p.row)*strip
		at := draw.Crop(c, x-c.Min.X, x+thumb-c.Max.X, y-strip+3-c.Min.Y, y-1-c.Max.Y)
		p.draw(&at)
		c.FillText(textStyle(small), vg.Point{X: x + thumb + beside, Y: y - strip + 4}, p.text)
		taken = vg.Length(p.row+1) * strip
	}
	return taken
}
