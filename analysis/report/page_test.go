package report

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/llm-tracer/tracer/analysis"
)

// figuresOf names every figure of the page, and whether each board must be seen in it.
var figuresOf = []string{"time", "closePrefill", "closeDecode", "powers", "ttft", "prefillJ", "tpotLength", "tokenJLength", "tpotContext", "tokenJContext", "split"}

func selector(figure string) string {
	if figure == "time" {
		return "#time"
	}
	return "figure[data-draw=" + figure + "]"
}

// invented is a model of several boards, each read so often, at the first of which the sensor never sees a short prefill.
func invented(boards, points int, llm string) *Model {
	m := &Model{Dataset: "invented", Tracer: "test", Simulated: true, BinW: 5, Summary: &analysis.Summary{}}
	for i := range boards {
		name, uuid, run := fmt.Sprintf("sim-board-%d", i), fmt.Sprintf("GPU-%d", i), fmt.Sprintf("run-%d", i)
		m.Servings = append(m.Servings, Serving{Label: name, LLM: llm, Colour: i})
		m.Runs = append(m.Runs, Run{
			RunID: run, Host: "host", UUID: uuid, GPU: name, LLM: llm, Simulated: true, Status: "complete", Served: name, Serving: i, Label: name,
			Server: "sim", Started: "2026-01-01 00:00", Duration: float64(points) / 10, Provenance: "known", Requests: 8, Succeeded: 8, Readings: int64(5 * points),
		})
		line := Timeline{Run: i, Values: int64(5 * points), T: seconds(), W: watts(), Util: percent(), UtilT: new(seconds()), BandT: new(seconds())}
		for k := range points {
			s := float64(k) / 10
			line.T.add(&s)
			line.W.add(new(100 + 50*float64(i) + 40*math.Sin(s)))
			line.UtilT.add(&s)
			line.Util.add(new(50 + 40*math.Cos(s/3)))
		}
		for k := range min(points/20, 500) {
			s := float64(2 * k)
			line.BandT.add(&s)
			line.Band = append(line.Band, []string{"prefill", "decode"}[k%2])
			line.Requests = append(line.Requests, Request{S: s, FirstToken: new(s + 1), End: s + 2, Workload: "decode", Target: 10, In: new(int32(10)), Out: new(int32(20)), Valid: true})
		}
		line.BandT.add(new(float64(points) / 10)) // the last request is interrupted: its rows end with the run
		m.Timelines = append(m.Timelines, line)
		for _, stage := range []string{"idle", "prefill", "decode"} {
			for bin := range 30 {
				m.Powers = append(m.Powers, Power{GPU: name, LLM: llm, Stage: stage, W: 60*i + 100 + bin, Updates: int64(bin)})
			}
		}
		for k, size := range []int32{10, 100, 1000} {
			m.inventSize(i, k, size)
		}
		for _, workload := range []string{"prefill", "decode"} {
			c := CloseUp{RunID: run, Host: "host", Run: i, Workload: workload, Target: 1000, In: new(int32(10)), Out: new(int32(1000)), FirstTokenS: 0.4, LastTokenS: 1.6, EndS: 1.6}
			for k := range 20 {
				c.Points = append(c.Points, Point{S: float64(k) / 10, Value: new(100 + 10*float64(k))})
			}
			m.CloseUps = append(m.CloseUps, c)
		}
	}
	return m
}

func (m *Model) inventSize(board, k int, size int32) {
	run, tokens := m.Runs[board], new(float64(size))
	for _, workload := range []string{"prefill", "decode"} {
		in, out := tokens, new(10.0)
		if workload == "decode" {
			in, out = out, in
		}
		s := Size{GPU: run.GPU, LLM: run.LLM, Serving: board, Workload: workload, Target: size, Requests: 5, Valid: 5, Counted: 5, InputTokens: in, OutputTokens: out}
		s.TTFTLo, s.TTFT, s.TTFTHi = new(0.01*float64(k+board+1)), new(0.02*float64(k+board+1)), new(0.03*float64(k+board+1))
		s.TPOTLo, s.TPOT, s.TPOTHi = new(0.03), new(0.04+0.01*float64(board)), new(0.06)
		m.Sizes = append(m.Sizes, s)
		for _, stage := range []string{"prefill", "decode"} {
			j := 1234.5 + float64(300*board) + float64(size)
			m.Energies = append(m.Energies, Energy{Serving: board, Workload: workload, Target: size, Stage: stage, Requests: 5, Resolved: 4 * min(k, 1), Seen: k > 0, J: j, Half: j / 2, InputTokens: in, OutputTokens: out})
		}
	}
}

func TestEveryFigureShowsEveryBoard(t *testing.T) {
	b := open(t, invented(3, 600, "org/model"), 1280, 900)
	for _, figure := range figuresOf {
		picture := b.picture(selector(figure))
		for board := range 3 {
			if n := b.drawn(picture, fmt.Sprintf("--c%d", board)); n < 60 && figure != "split" {
				t.Errorf("%s: %d pixels in board %d's colour", figure, n, board)
			}
		}
	}
	picture := b.picture("#time")
	for _, stage := range []string{"--prefill", "--decode"} {
		if n := b.drawn(picture, stage); n < 2000 {
			t.Errorf("time: %d pixels in the colour of %s", n, stage)
		}
	}
	if end := eval[float64](b, "(() => { let end; timelines.panels[0].stretches(0, 60, (_, to) => (end = to)); return end; })()"); end != 60 {
		t.Errorf("the stretch that nothing follows ends at %v s, the run at 60 s", end)
	}
	if wide := eval[int](b, "document.documentElement.scrollWidth"); wide > 1280 {
		t.Errorf("the page is %d pixels wide", wide)
	}
}

func TestLongNamesHideNothing(t *testing.T) {
	m := invented(3, 600, "meta-llama/Meta-Llama-3-8B-Instruct")
	const long = "some-owner/a-model-whose-name-is-longer-than-any-panel-is-wide-at-three-boards-side-by-side"
	m.Servings[2].LLM, m.Runs[2].LLM, m.Runs[2].Status = long, long, "interrupted"
	m.Runs[2].Interrupted = 3
	for i := range m.Powers {
		if m.Powers[i].GPU == m.Runs[2].GPU {
			m.Powers[i].LLM = long
		}
	}
	b := open(t, m, 1280, 900)
	if hidden := eval[int](b, "[...document.querySelectorAll('.wide')].filter((e) => e.scrollWidth > e.clientWidth).length"); hidden > 0 {
		t.Errorf("%d tables must be scrolled sideways", hidden)
	}
	const outside = `[...document.querySelectorAll('figure[data-draw] svg text')].filter((e) => {
		const [own, all] = [e.getBoundingClientRect(), e.closest('figure').querySelector('.drawing').getBoundingClientRect()];
		return own.left < all.left - 1 || own.right > all.right + 1;
	}).map((e) => e.textContent).join('; ')`
	if cut := eval[string](b, outside); cut != "" {
		t.Errorf("cut: %s", cut)
	}
	for _, figure := range []string{"closePrefill", "powers", "ttft", "split"} {
		if titles := eval[string](b, "[...document.querySelectorAll('figure[data-draw="+figure+"] svg title')].map((e) => e.textContent).join('; ')"); !strings.Contains(titles, long) {
			t.Errorf("%s does not tell the whole name: %s", figure, titles)
		}
	}
}

func TestANarrowScreenNeedsNoSidewaysScrolling(t *testing.T) {
	b := open(t, invented(3, 600, "org/model"), 390, 844)
	if wide := eval[int](b, "document.documentElement.scrollWidth"); wide > 390 {
		t.Errorf("the page is %d pixels wide", wide)
	}
	if n := b.drawn(b.picture(selector("split")), "--page"); n == 0 {
		t.Error("no figure is drawn")
	}
}

func TestZoomShowsTheWindowThatWasDragged(t *testing.T) {
	b := open(t, invented(1, 100_000, "org/model"), 1280, 900)
	span := func() float64 { return eval[float64](b, "timelines.view[1] - timelines.view[0]") }
	whole, before := span(), b.picture("#timelines canvas")
	b.drag("#timelines .u-over", 0.25, 0.75)
	if got := span() / whole; math.Abs(got-0.5) > 0.01 {
		t.Errorf("half of the window was dragged, and %.2f of it is shown", got)
	}
	if same(before, b.picture("#timelines canvas")) {
		t.Error("the figure is the same as before")
	}
	b.click("button[data-move=in]")
	if got := span() / whole; math.Abs(got-0.25) > 0.01 {
		t.Errorf("after zooming in, %.2f of the whole is shown", got)
	}
	from := eval[float64](b, "timelines.view[0]")
	b.click("button[data-move=right]")
	if eval[float64](b, "timelines.view[0]") <= from {
		t.Error("the window did not move")
	}
	b.run(chromedp.Focus(chromedp.CSS("#timelines")), chromedp.KeyEvent("0"))
	if span() != whole {
		t.Error("0 does not show the whole")
	}
	if n := eval[int](b, "timelines.panels[0].shown.t.length"); n > 2500 {
		t.Errorf("%d points are drawn", n)
	}
}

func (b *tab) drag(selector string, from, to float64) {
	b.Helper()
	box := eval[[]float64](b, `(() => { const e = document.querySelector("`+selector+`"); e.scrollIntoView({block: "center"}); const r = e.getBoundingClientRect(); return [r.left, r.top + r.height / 2, r.width] })()`)
	at := func(share float64) (x, y float64) { return box[0] + share*box[2], box[1] }
	x, y := at(from)
	b.run(chromedp.MouseEvent(chromedp.MousePressed, x, y, chromedp.ButtonLeft))
	for _, share := range []float64{(from + to) / 2, to} {
		x, y = at(share)
		b.run(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, x, y, chromedp.ButtonLeft))
	}
	b.run(chromedp.MouseEvent(chromedp.MouseReleased, x, y, chromedp.ButtonLeft))
}

func same(a, b image.Image) bool {
	if a.Bounds() != b.Bounds() {
		return false
	}
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			if a.At(x, y) != b.At(x, y) {
				return false
			}
		}
	}
	return true
}

func TestThemeChangesWithItsSwitch(t *testing.T) {
	b := open(t, invented(1, 600, "org/model"), 1280, 900)
	light := eval[string](b, "getComputedStyle(document.body).backgroundColor")
	b.click("#theme")
	if dark := eval[string](b, "getComputedStyle(document.body).backgroundColor"); dark == light {
		t.Errorf("the page stays %s", dark)
	}
	for _, figure := range []string{"#time", selector("ttft")} {
		if n := b.drawn(b.picture(figure), "--c0"); n < 60 {
			t.Errorf("%s: %d pixels in the dark theme's colour of the board", figure, n)
		}
	}
}

func TestFiguresAreSavedWithTheirNumbers(t *testing.T) {
	m := invented(2, 600, "org/model")
	var b *tab
	for i, figure := range figuresOf {
		if i%4 == 0 { // Chromium gives a page ten downloads until somebody touches it, and does not take this for a touch
			b = open(t, m, 1280, 900)
		}
		drawing := b.download(selector(figure) + " button[data-save=svg]")
		if strings.Contains(drawing, "var(") || strings.Contains(drawing, "currentColor") {
			t.Errorf("%s: the SVG leans on the page's colours", figure)
		}
		marks := 0
		for d := xml.NewDecoder(strings.NewReader(drawing)); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", figure, err)
			}
			if e, ok := token.(xml.StartElement); ok && (e.Name.Local == "path" || e.Name.Local == "rect") {
				marks++
			}
		}
		if marks < 5 {
			t.Errorf("%s: the SVG has %d marks", figure, marks)
		}
		rows, err := csv.NewReader(strings.NewReader(b.download(selector(figure) + " button[data-save=csv]"))).ReadAll()
		if err != nil || len(rows) < 5 {
			t.Errorf("%s: %d rows of CSV, %v", figure, len(rows), err)
		}
	}
	b = open(t, m, 1280, 900)
	if text := b.download(selector("split") + " button[data-save=csv]"); !strings.Contains(text, "sim-board-1,org/model,prefill,100,prefill,5,4,100,10,1634.5,817.25") {
		t.Errorf("the energies are not in\n%s", text)
	}
	if text := b.download("#time button[data-save=csv]"); !strings.Contains(text, "run-1,sim-board-1,0.1,153.99,") {
		t.Error("the second value of power is not in the CSV")
	}
}

func TestAFigureWithoutNumbersSaysSo(t *testing.T) {
	m := invented(1, 600, "org/model")
	m.Sizes, m.Energies, m.Powers, m.CloseUps = nil, nil, nil, nil
	m.Timelines[0] = Timeline{Run: 0, T: seconds(), W: watts(), Util: percent()}
	b := open(t, m, 1280, 900)
	text := eval[string](b, "[...document.querySelectorAll('.drawing')].map((d) => d.textContent).join(' ')")
	for _, said := range []string{"no values of instant power", "nothing measured", "no valid request", "no energies"} {
		if !strings.Contains(text, said) {
			t.Errorf("no figure says %q", said)
		}
	}
}

func TestHostileTextIsInert(t *testing.T) {
	const hostile = `=1</script><script>window.pwned=1</script><img src=x onerror=window.pwned=2>"'><svg onload=window.pwned=3>&amp;` + "\u2028"
	m := invented(2, 600, hostile)
	m.Dataset, m.Runs[0].Status, m.Runs[0].RunID, m.Servings[0].Label, m.Runs[0].Label = hostile, hostile, hostile, hostile, hostile
	m.Runs[1].Provenance, m.Runs[0].Engine, m.Choice.LLM = hostile, new(hostile), hostile
	m.Runs[0].RequestsAgainst = []Reason{{Reason: hostile, Requests: 1}}
	m.Servings[1].LLM = "another, so that models are named"
	m.Timelines[0].Band[0] = hostile
	b := open(t, m, 1280, 900)
	b.run(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, 600, 600))
	if eval[bool](b, "'pwned' in window") {
		t.Error("text was run")
	}
	if n := eval[int](b, "document.querySelectorAll('img, svg [onload], script:not([src]):not([type]) ~ img').length"); n != 0 {
		t.Errorf("%d elements were made of text", n)
	}
	if title := eval[string](b, "document.title"); !strings.Contains(title, "<img src=x onerror=window.pwned=2>") {
		t.Errorf("the title is %q", title)
	}
	drawing := b.download(selector("split") + " button[data-save=svg]")
	if err := xml.Unmarshal([]byte(drawing), new(struct{})); err != nil || strings.Contains(drawing, "<img") {
		t.Errorf("the SVG: %v", err)
	}
	if text := b.download(selector("split") + " button[data-save=csv]"); !strings.Contains(text, `"'=1</script>`) {
		t.Error("a formula reaches the CSV")
	}
}

func TestPaperShowsEveryFigureAndNoControls(t *testing.T) {
	b := open(t, invented(3, 600, "org/model"), 1280, 900)
	eval[chromedp.Void](b, `addEventListener("beforeprint", () => (window.printed = [document.querySelectorAll("#paper svg").length, ...[...document.querySelectorAll("figure[data-draw] .drawing > svg")].map((s) => s.getAttribute("width"))].map(String)))`)
	pdf, err := chromedp.Run(b.Context, chromedp.PrintToPDF(chromedp.PDFPrintBackground(), chromedp.PDFPaper(chromedp.PaperA4)))
	b.must(err)
	during := eval[[]string](b, "window.printed")
	if len(during) != len(figuresOf) || during[0] == "0" {
		t.Errorf("on paper there are %v", during)
	}
	if pages := bytes.Count(pdf, []byte("/Type /Page\n")); pages < 2 || pages > 12 {
		t.Errorf("%d pages", pages)
	}
	if left := eval[int](b, "document.querySelectorAll('#paper svg').length"); left != 0 {
		t.Error("the screen keeps what was for the paper")
	}
}

// A page's size is bounded: this is the most points that a model holds.
func TestAMillionReadingsFitIntoFiveMegabytes(t *testing.T) {
	m := invented(3, allPoints/3, "org/model")
	var text bytes.Buffer
	if err := m.WriteHTML(&text); err != nil {
		t.Fatal(err)
	}
	if text.Len() > 5<<20 {
		t.Errorf("the page has %d bytes", text.Len())
	}
	b := open(t, m, 1280, 900)
	for range 12 {
		b.click("button[data-move=in]")
	}
	if n := eval[int](b, "timelines.panels[2].shown.t.length"); n < 10 || n > 2500 {
		t.Errorf("%d points are drawn", n)
	}
}
