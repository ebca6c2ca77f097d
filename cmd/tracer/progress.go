package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/sourcegraph/conc"
	"golang.org/x/term"
)

const (
	barEvery  = 200 * time.Millisecond
	lineEvery = 10 * time.Second
)

// showProgress reports on the run until the returned function is called: a bar on a terminal, plain lines elsewhere.
func (t *trace) showProgress() (end func()) {
	every, draw, finish := lineEvery, t.printLine, func() {}
	if f, ok := t.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		bar := progressbar.NewOptions(len(t.prompts)+len(t.warmup), progressbar.OptionSetWriter(f), progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionSetElapsedTime(true), progressbar.OptionSetWidth(20),
			progressbar.OptionThrottle(barEvery/2), progressbar.OptionClearOnFinish())
		every = barEvery
		draw = func() {
			bar.Describe(t.live())
			_ = bar.Set64(t.schedule.Progress().Done) // the terminal went away
		}
		finish = func() { _ = bar.Finish() }
	}
	if what := t.simulatedParts(); what != "" {
		fmt.Fprintf(t.err, "SIMULATED %s: %s serving %s\n", what, t.boards.facts()[0].Name, t.record.Model)
	}
	fmt.Fprintf(t.err, "run %s: %d requests to %s (%s), %d board(s), %s\n", t.RunID, len(t.prompts)+len(t.warmup), t.record.Endpoint, t.record.Server, len(t.boards.facts()), t.rhythm)
	t.started = time.Now()
	return ticking(every, draw, func() {
		finish()
		p := t.schedule.Progress()
		fmt.Fprintf(t.err, "sent %d of %d requests in %v, %d failed\n", p.Done, max(p.Total, int64(len(t.prompts)+len(t.warmup))), time.Since(t.started).Round(time.Second), p.Failed)
	})
}

// ticking draws every so often until the returned function is called, and then finishes.
func ticking(every time.Duration, draw, finish func()) (end func()) {
	done := make(chan struct{})
	var owner conc.WaitGroup
	owner.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				draw()
			case <-done:
				finish()
				return
			}
		}
	})
	return func() {
		close(done)
		owner.Wait()
	}
}

func (t *trace) printLine() {
	p := t.schedule.Progress()
	fmt.Fprintf(t.err, "%d/%d requests, %d failed, %s\n", p.Done, max(p.Total, int64(len(t.prompts)+len(t.warmup))), p.Failed, t.live())
}

// live is the boards at this instant.
func (t *trace) live() string {
	s := t.running.Load()
	if s == nil {
		return "not sampling"
	}
	l := s.live()
	var watts []string
	for _, b := range l.Boards {
		if b.Period > t.plan.Power {
			watts = append(watts, fmt.Sprintf("(every %v)", b.Period))
		}
		switch {
		case b.Lost:
			watts = append(watts, "lost")
		case b.PowerW.OK:
			watts = append(watts, fmt.Sprintf("%.0f W", b.PowerW.V))
		default:
			watts = append(watts, "– W")
		}
	}
	phase, p := "", t.schedule.Progress()
	switch {
	case p.Waiting > 0:
		phase = fmt.Sprintf("no server for %v, ", p.Waiting.Round(time.Second))
	case l.Ticks > 0 && p.InFlight == 0:
		phase = "idle, "
	}
	hz := float64(l.Ticks) / time.Since(s.since).Seconds()
	return fmt.Sprintf("%s%s, %.1f Hz, %d dropped", phase, strings.Join(watts, " "), hz, l.Dropped)
}

// repeat prints a line every ten seconds, on a terminal the same line anew every 200 ms, until the returned function is
// called, which prints the last.
func (t *terminal) repeat(line func() string) (end func()) {
	every, before, after := lineEvery, "", "\n"
	if f, ok := t.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		every, before, after = barEvery, "\r\033[K", ""
	}
	return ticking(every, func() { fmt.Fprint(t.err, before+line()+after) }, func() { fmt.Fprintln(t.err, before+line()) })
}
