package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/internal/campaign"
)

// campaignTable is the state of a campaign for the screen: drawn anew on a terminal, a line for each run elsewhere.
type campaignTable struct {
	r     *campaigning
	total int
	live  bool // the screen is a terminal

	mu    sync.Mutex
	lines []campaignLine
	now   string // the run under way
	log   string // its log
	began time.Time
	drawn int // lines on the terminal
}

// campaignLine is the cells of one board with one model.
type campaignLine struct {
	board, model             string
	runs, done, failed, left int
}

func newCampaignTable(r *campaigning) *campaignTable {
	t := &campaignTable{r: r}
	if f, ok := r.err.(*os.File); ok {
		t.live = term.IsTerminal(int(f.Fd()))
	}
	for _, b := range r.blocks {
		t.total += len(b.Cells)
	}
	t.count()
	return t
}

// count sums up what is done.
func (t *campaignTable) count() {
	t.lines = nil
	for _, b := range t.r.blocks {
		l := t.line(b.Board.Name, b.Model.Name)
		for i := range b.Cells {
			l.runs++
			switch c := &b.Cells[i]; {
			case t.r.measured.done(c):
				l.done++
			case t.r.failedAlready(t.r.file.RunID(c)):
				l.failed++
			default:
				l.left++
			}
		}
	}
}

func (t *campaignTable) line(board, model string) *campaignLine {
	for i := range t.lines {
		if t.lines[i].board == board && t.lines[i].model == model {
			return &t.lines[i]
		}
	}
	t.lines = append(t.lines, campaignLine{board: board, model: model})
	return &t.lines[len(t.lines)-1]
}

// left is how many runs are not done, those that failed included.
func (t *campaignTable) left() (n int) {
	for _, l := range t.lines {
		n += l.left + l.failed
	}
	return n
}

// aside says something beside the table, which is drawn anew below it.
func (t *campaignTable) aside(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live {
		t.erased(&strings.Builder{})
	}
	fmt.Fprintf(t.r.err, format+"\n", args...)
}

func (t *campaignTable) begin(c *campaign.Cell) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now, t.log, t.began = c.Name(), t.r.logOf(c), time.Now()
}

// end takes note of a run that is over; what went wrong with it, if anything did.
func (t *campaignTable) end(c *campaign.Cell, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now = ""
	t.count()
	if what == "" {
		what = "complete"
	}
	if !t.live {
		fmt.Fprintf(t.r.err, "%d/%d %s: %s, in %v%s\n", t.total-t.left(), t.total, c.Name(), query.Printable(what), time.Since(t.began).Round(time.Second), t.eta())
	}
}

// eta is how long the rest may take by what is done; empty where nothing is.
func (t *campaignTable) eta() string {
	rest := time.Duration(0)
	for _, b := range t.r.blocks {
		for i := range b.Cells {
			if c := &b.Cells[i]; !t.r.measured.done(c) {
				one, known := t.r.measured.expected(c, t.r.blocks)
				if !known {
					return ""
				}
				rest += one
			}
		}
	}
	if rest == 0 {
		return ""
	}
	return fmt.Sprintf("; about %v more, until %s", rest.Round(time.Second), time.Now().Add(rest).Format("15:04"))
}

// show draws the table until the returned function is called.
func (t *campaignTable) show() (end func()) {
	if !t.live {
		fmt.Fprintf(t.r.err, "campaign %s: %d runs into %s, %d left%s\n", t.r.file.Name, t.total, t.r.file.Out, t.left(), t.eta())
		return func() {}
	}
	t.draw()
	return ticking(time.Second, t.draw, t.erase)
}

func (t *campaignTable) draw() {
	t.mu.Lock()
	defer t.mu.Unlock()
	var s strings.Builder
	t.writeTo(&s)
	fmt.Fprintf(&s, "%d of %d runs%s\n", t.total-t.left(), t.total, t.eta())
	if t.now != "" {
		fmt.Fprintf(&s, "%s, %v: %s\n", t.now, time.Since(t.began).Round(time.Second), lastLine(t.log))
	}
	t.erased(&s)
}

// erased puts text where the table stood.
func (t *campaignTable) erased(text fmt.Stringer) {
	width := 80
	if f, ok := t.r.err.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			width = w
		}
	}
	var out strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA\x1b[J", t.drawn)
	}
	t.drawn = 0
	for line := range strings.Lines(text.String()) {
		if cut := []rune(strings.TrimSuffix(line, "\n")); len(cut) >= width {
			line = string(cut[:max(width-2, 0)]) + "…\n"
		}
		out.WriteString(line)
		t.drawn++
	}
	fmt.Fprint(t.r.err, out.String())
}

func (t *campaignTable) erase() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.erased(&strings.Builder{})
}

// writeTo writes the table.
func (t *campaignTable) writeTo(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "board\tmodel\truns\tdone\tfailed\tleft\t")
	for _, l := range t.lines {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t\n", l.board, l.model, l.runs, l.done, l.failed, l.left)
	}
	_ = w.Flush() // the terminal went away
}

// lastLine is what a log says at present.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // read only
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	tail := make([]byte, min(end, 512))
	if _, err := f.ReadAt(tail, end-int64(len(tail))); err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(tail)), "\n")
	return query.Printable(lines[len(lines)-1])
}
