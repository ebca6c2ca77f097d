package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

type recoverCommand struct {
	Out        string   `default:"datasets" placeholder:"DIR|URL" help:"Dataset that the runs were written into (default: ${default}); of a store, its spool, which is pushed then."`
	AssumeDead bool     `name:"assume-dead" help:"On a filesystem without locks: take it that no tracer is writing these runs any more."`
	Runs       []string `arg:"" optional:"" name:"run" help:"Runs to recover (default: all that broke off)."`
	spooled
}

// Help is printed under the flags.
func (*recoverCommand) Help() string {
	return `A run that was killed, or lost its power or its disk, is in its journal up to the last half second. Requests in
flight then become rows marked interrupted; the readings since the oldest of them began are left out, since nobody knows their
stage, and runs.gaps says so:

  tracer recover --out datasets
  tracer collect --out datasets --resume RUN      # recovers it, too, and sends the prompts that are missing

It can be stopped at any time, and run again.`
}

// Run recovers every run that broke off, or those that are named.
func (c *recoverCommand) Run(t *terminal) error {
	if err := c.locate(&c.Out); err != nil {
		return err
	}
	if c.spool == nil {
		return c.recover(t)
	}
	if !store.IsDataset(c.Out) {
		fmt.Fprintf(t.out, "nothing to recover: there is no spool of %s in %s\n", c.spool.At, c.Out)
		return nil
	}
	if err := c.recover(t); err != nil {
		return err
	}
	return (&pushCommand{From: c.Out, To: c.spool.At.String()}).Run(&terminal{out: t.err, err: t.err})
}

func (c *recoverCommand) recover(t *terminal) error {
	if !store.IsDataset(c.Out) {
		if entries, err := os.ReadDir(c.Out); err == nil && len(entries) == 0 { // a tracer was killed before it wrote anything
			fmt.Fprintf(t.out, "nothing to recover: %s is empty\n", c.Out)
			return nil
		}
		return fmt.Errorf("--out: %w in %s: there is no _tracer in it; name the folder that tracer collect --out wrote into", store.ErrNoDataset, c.Out)
	}
	found, err := journal.List(c.Out)
	if errors.Is(err, store.ErrNoDataset) {
		return usage("--out: %w", err)
	}
	if err != nil {
		return environment(fmt.Errorf("--out: %w", err))
	}
	for _, id := range c.Runs {
		if !slices.ContainsFunc(found, func(r journal.Run) bool { return belongs(r, id) }) {
			return usage("run %s has no journal in %s: it is published, or was never begun there", id, c.Out)
		}
	}
	var failed []error
	done := 0
	for _, r := range found {
		named := slices.ContainsFunc(c.Runs, func(id string) bool { return belongs(r, id) })
		if len(c.Runs) > 0 && !named {
			continue
		}
		if errors.Is(r.Err, journal.ErrLive) && !named {
			fmt.Fprintf(t.err, "run %s is being written; it is left alone\n", query.Printable(r.Name))
			continue
		}
		done++
		failed = append(failed, t.recoverRun(c.Out, r, c.AssumeDead))
	}
	if done == 0 {
		fmt.Fprintf(t.out, "nothing to recover in %s\n", c.Out)
	}
	return worst(failed)
}

// belongs says whether the journal is that run's.
func belongs(r journal.Run, id string) bool { return r.Header.Run.ID == id || r.Name == id }

// worst is what went wrong, under the code of what went wrong most.
func worst(failed []error) error {
	err := errors.Join(failed...)
	if err == nil {
		return nil
	}
	code := exitPartial
	for _, e := range failed {
		if e != nil && exitCode(e) != exitPartial {
			code = exitCode(e)
		}
	}
	return &codedError{code, err}
}

// recoverRun publishes what one journal holds and says what that is.
func (t *terminal) recoverRun(out string, r journal.Run, assumeDead bool) error {
	if r.Err != nil && (!errors.Is(r.Err, journal.ErrNoLocks) || !assumeDead) {
		return notRecovered(r.Name, r.Err)
	}
	got, err := pipeline.Recover(out, r.Name, versionLine(), assumeDead)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else has just recovered it
	}
	if err != nil {
		return notRecovered(r.Name, err)
	}
	t.tellRecovered(r.Name, &got)
	if got.Kept != "" {
		return &codedError{exitPartial, fmt.Errorf("run %s: its journal is damaged, and what was there is lost (runs.gaps: damaged); the journal is kept as %s", r.Name, got.Kept)}
	}
	return nil
}

func (t *terminal) tellRecovered(name string, r *pipeline.Recovered) {
	name = query.Printable(name)
	if r.Manifest.RunID == "" {
		fmt.Fprintf(t.out, "run %s had been published; only its journal was left, and is removed\n", name)
		return
	}
	rows := map[string]int64{}
	for _, f := range r.Manifest.Files {
		table, _, _ := strings.Cut(f.Path, "/")
		rows[table] += f.Rows
	}
	fmt.Fprintf(t.out, "run %s is published, %s: %d readings and %d requests", query.Printable(r.Manifest.RunID), r.Manifest.Status, rows[schema.Samples.Name], rows[schema.Requests.Name])
	if r.Whole {
		fmt.Fprintln(t.out, "; nothing is lost")
		return
	}
	fmt.Fprintf(t.out, ", up to %s", r.Run.Clock.Wall(r.Run.End.MonotonicNS).Format("15:04:05.000 MST"))
	if r.InFlight > 0 {
		fmt.Fprintf(t.out, "; %d of the requests never ended", r.InFlight)
	}
	if r.Unlabelled > 0 {
		fmt.Fprintf(t.out, "; %d readings were taken while nobody knows which stage they belong to, and left out", r.Unlabelled)
	}
	for _, d := range r.Damage {
		fmt.Fprintf(t.out, "; %v", d)
	}
	fmt.Fprintln(t.out)
}

// notRecovered is a journal that cannot be recovered, with the mend.
func notRecovered(name string, err error) error {
	switch {
	case errors.Is(err, journal.ErrLive):
		return &codedError{exitConflict, fmt.Errorf("run %s: %w; wait for it, or stop it first", name, err)}
	case errors.Is(err, journal.ErrNoLocks):
		return environment(fmt.Errorf("run %s: %w, so that nobody can tell whether it is still being written; if it is not, give --assume-dead", name, err))
	case errors.Is(err, store.ErrRunExists):
		return fmt.Errorf("run %s: %w; move that file away and recover again", name, err)
	case errors.Is(err, journal.ErrNothing):
		return environment(fmt.Errorf("run %s: %w; unless another version of tracer wrote it, and can recover it, it holds nothing that can be read: move it out of _tracer/journal", name, err))
	default:
		return environment(fmt.Errorf("run %s: %w; its journal stays, to be recovered once that is mended", name, err))
	}
}

// offerRecovery tells of runs that broke off in the dataset and, on a terminal, asks whether to recover them first.
func (c *collect) offerRecovery(t *terminal) error {
	found, err := journal.List(c.Out)
	if err != nil {
		return unwritable(c.Out, err)
	}
	found = slices.DeleteFunc(found, func(r journal.Run) bool { return r.Err != nil })
	if len(found) == 0 {
		return nil
	}
	var ids []string
	for _, r := range found {
		ids = append(ids, query.Printable(r.Header.Run.ID))
	}
	fmt.Fprintf(t.err, "%d run(s) in %s broke off, not published: %s\n", len(ids), c.named(c.Out), strings.Join(ids, ", "))
	if !t.asks("Publish what they hold before this run begins? [Y/n] ") {
		fmt.Fprintf(t.err, "tracer recover --out %s publishes what they hold; this run goes on without\n", c.named(c.Out))
		return nil
	}
	var failed []error
	for _, r := range found {
		failed = append(failed, t.recoverRun(c.Out, r, false))
		fmt.Fprintf(t.err, "tracer collect --resume %s --out %s goes on with it\n", query.Printable(r.Header.Run.ID), c.named(c.Out))
	}
	return worst(failed)
}

// asks puts a question where somebody can answer it, and reports whether the answer was yes.
func (t *terminal) asks(question string) bool {
	f, ok := t.err.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || !term.IsTerminal(int(os.Stdin.Fd())) {
		return false
	}
	fmt.Fprint(t.err, question)
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n') // none is no
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true
	case "":
		return strings.HasSuffix(answer, "\n")
	}
	return false
}
