package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"github.com/llm-tracer/tracer/pipeline/journal"
)

const (
	watchEvery = 250 * time.Millisecond
	silentLong = 5 * time.Second // without a word from a run before its lock is tried
)

type watchCommand struct {
	Dir string `arg:"" optional:"" default:"datasets" placeholder:"DIR" help:"Dataset that the run is written into (default: ${default})."`
	ID  string `name:"run" placeholder:"ID" help:"The run to watch (default: the last begun of those in progress)."`
}

// Help is printed under the flags.
func (*watchCommand) Help() string {
	return `From another terminal, while tracer collect is at work: power, utilisation, progress. It reads the run's journal, and takes
nothing from the run. q or Ctrl-C leaves. Where its output is no terminal, it prints a line every ten seconds.`
}

// Run watches one run until it is over, or nobody wants to see more.
func (c *watchCommand) Run(t *terminal) error {
	if err := (&spooled{}).locate(&c.Dir); err != nil {
		return err
	}
	path, err := c.find()
	if err != nil {
		return err
	}
	l, err := follow(path)
	if err != nil {
		return err
	}
	defer l.from.Close() //nolint:errcheck // read only
	w := &spectator{liveRun: l, width: 80, heard: time.Now(), dir: c.Dir}
	if f, ok := t.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if _, err := tea.NewProgram(w, tea.WithOutput(f)).Run(); err != nil && !errors.Is(err, tea.ErrInterrupted) {
			return fmt.Errorf("drawing on the terminal: %w", err)
		}
	} else {
		w.printLines(t)
	}
	if w.over != "" {
		fmt.Fprintln(t.out, w.over)
	}
	return w.err
}

// find is the journal of the run that was asked for, or of the last begun of those in progress.
func (c *watchCommand) find() (path string, err error) {
	names, err := journal.Names(c.Dir)
	if err != nil {
		return "", err
	}
	left, latest := 0, int64(0)
	for _, name := range names {
		at := journal.Path(c.Dir, name)
		f, err := journal.Follow(at)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue // published meanwhile, or another user's
		}
		if err != nil {
			return "", err
		}
		run, gone := f.Header.Run, f.Left()
		_ = f.Close() // read only
		switch {
		case c.ID != "" && c.ID != run.ID:
		case gone:
			left++
		case path == "" || run.Start.WallNS > latest:
			path, latest = at, run.Start.WallNS
		}
	}
	if path != "" {
		return path, nil
	}
	if left > 0 {
		return "", usage("no run is in progress in %s, and %d broke off: tracer recover --out %s publishes what there is", c.Dir, left, c.Dir)
	}
	return "", usage("no run is in progress in %s; name the folder that tracer collect --out writes into, or see with tracer summary what a run has found that ended", c.Dir)
}

// spectator is a run, and who looks at it.
type spectator struct {
	*liveRun
	dir   string
	width int
	heard time.Time // when the run last journalled something
	over  string    // what there is to say when it is over
	err   error
}

// look reads on; it says whether there is anything more to come.
func (w *spectator) look(now time.Time) bool {
	before := w.now
	if w.err = w.read(); w.err != nil {
		return false
	}
	if w.now != before {
		w.heard = now
	}
	if w.end == nil && now.Sub(w.heard) < silentLong || !w.from.Left() {
		return true
	}
	w.over = fmt.Sprintf("run %s is over: tracer summary %s --run %s", w.from.Header.Run.ID, w.dir, w.from.Header.Run.ID)
	if w.end == nil {
		w.over = fmt.Sprintf("run %s has broken off: tracer recover --out %s publishes what there is", w.from.Header.Run.ID, w.dir)
	}
	return false
}

// printLines says how the run stands every ten seconds, until it is over or interrupted.
func (w *spectator) printLines(t *terminal) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var printed time.Time
	for w.look(time.Now()) {
		if time.Since(printed) >= lineEvery {
			printed = time.Now()
			fmt.Fprintln(t.out, w.line())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

type lookAgain time.Time

func again() tea.Cmd { return tea.Tick(watchEvery, func(t time.Time) tea.Msg { return lookAgain(t) }) }

// Init begins to look.
func (*spectator) Init() tea.Cmd { return again() }

// Update takes in what has happened: time, a key, another size of the terminal.
func (w *spectator) Update(m tea.Msg) (tea.Model, tea.Cmd) {
	switch m := m.(type) {
	case tea.WindowSizeMsg:
		w.width = m.Width
	case tea.KeyPressMsg:
		if k := m.String(); k == "q" || k == "ctrl+c" || k == "esc" {
			return w, tea.Quit
		}
	case lookAgain:
		if !w.look(time.Time(m)) {
			return w, tea.Quit
		}
		return w, again()
	}
	return w, nil
}

// View draws the run.
func (w *spectator) View() tea.View {
	v := tea.NewView(w.view(w.width))
	v.AltScreen = true
	return v
}

// clip cuts a line to a width, its colours aside.
func clip(s string, width int) string { return strings.TrimRight(ansi.Truncate(s, width, "…"), " ") }
