package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/llm-tracer/tracer/internal/campaign"
	"github.com/llm-tracer/tracer/pipeline/journal"
)

// leftover is how long the campaign waits for a run of its own that is still being written: the last campaign was killed,
// and its run is being committed.
const leftover = time.Minute

// campaigning is a campaign being carried out. Each run is a process of its own, so that a driver that hangs, or whatever
// else brings one down, leaves the others alone.
type campaigning struct {
	*terminal
	layers   *layers
	file     *campaign.File
	path     string
	blocks   []campaign.Block
	measured *measured

	over   map[string]float64 // seconds of the runs whose collect has ended well, whatever the dataset tells of them
	failed []failure
	table  *campaignTable
	server *served

	running, serving atomic.Pointer[process] // what the second Ctrl-C ends; nil where there is none
}

// failure is what went wrong with one cell.
type failure struct{ run, what string }

// run carries out what is not done.
func (r *campaigning) run() error {
	if err := os.MkdirAll(logs(r.file), 0o755); err != nil {
		return unwritable(r.file.Out, err)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	release := r.onSignal(stop)
	defer release()
	r.table = newCampaignTable(r)
	end := r.table.show()
	for i := range r.blocks {
		if err := r.block(ctx, &r.blocks[i]); err != nil {
			break
		}
	}
	end()
	return r.verdict(ctx)
}

// block carries out one block, with its server. The error is that the campaign was stopped.
func (r *campaigning) block(ctx context.Context, b *campaign.Block) error {
	var rest *resting
	defer func() { r.stopServing() }()
	for i := range b.Cells {
		c := &b.Cells[i]
		if r.measured.done(c) {
			continue
		}
		began := time.Now()
		r.table.begin(c)
		err := r.serve(ctx, b)
		if err == nil {
			rest, err = r.coolDown(ctx, b.Board, rest)
		}
		if err == nil {
			err = r.cell(ctx, c)
		}
		if cause := context.Cause(ctx); cause != nil {
			r.table.end(c, "stopped")
			return cause
		}
		if refreshed, stateErr := r.measuredOf(ctx, r.file); stateErr == nil {
			r.measured = refreshed
		} else {
			err = errors.Join(err, stateErr)
		}
		if err == nil {
			r.over[r.file.RunID(c)] = time.Since(began).Seconds()
		}
		for run, seconds := range r.over {
			state := r.measured.at(run)
			state.complete, state.Seconds = true, cmp.Or(state.Seconds, seconds)
		}
		what := ""
		if err != nil {
			what = strings.ReplaceAll(err.Error(), "\n", "; ")
			r.failed = append(r.failed, failure{r.file.RunID(c), what})
		}
		r.table.end(c, what)
	}
	return nil
}

// cell runs tracer collect for one cell and waits for it. The first signal makes it commit, as on its own.
func (r *campaigning) cell(ctx context.Context, c *campaign.Cell) error {
	if err := r.waitForLeftover(ctx, c); err != nil {
		return err
	}
	path := r.logOf(c)
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // what the run said is not what it measured
	end, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	at := *c
	if r.server != nil {
		at.Model = r.server.model // on its port
	}
	cmd := exec.Command("/proc/self/exe", r.file.Arguments(&at)...) //nolint:gosec // this very program, replaced on disk or not
	cmd.Args[0], cmd.Stdout, cmd.Stderr = "tracer", log, log
	p, err := startProcess(cmd)
	if err != nil {
		return fmt.Errorf("starting tracer: %w", err)
	}
	r.running.Store(p)
	defer r.running.Store(nil)
	select {
	case <-p.ended:
	case <-ctx.Done():
		_ = p.signal(syscall.SIGTERM) // it may have ended
		<-p.ended
	}
	p.owner.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitOK {
		return fmt.Errorf("%s (exit code %d; %s)", cmp.Or(lastComplaint(path, end), cmd.ProcessState.String()), code, path)
	}
	return nil
}

func (r *campaigning) logOf(c *campaign.Cell) string {
	return filepath.Join(logs(r.file), c.Name()+".log")
}

// waitForLeftover waits while another process writes the cell's run.
func (r *campaigning) waitForLeftover(ctx context.Context, c *campaign.Cell) error {
	if strings.Contains(r.file.Out, "://") {
		return nil
	}
	for deadline := time.Now().Add(leftover); ; {
		found, err := journal.List(r.file.Out)
		if err != nil {
			return err
		}
		live := false
		for _, j := range found {
			live = live || errors.Is(j.Err, journal.ErrLive) && strings.HasPrefix(j.Name, r.file.RunID(c)+"-") || errors.Is(j.Err, journal.ErrLive) && strings.HasPrefix(j.Name, r.file.RunID(c)+".")
		}
		if !live || time.Now().After(deadline) {
			return nil // collect says what is in its way
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// lastComplaint is the last thing that tracer complained about in a log, from a place on.
func lastComplaint(path string, from int64) (said string) {
	text, err := os.ReadFile(path)
	if err != nil || int64(len(text)) < from {
		return ""
	}
	for line := range bytes.Lines(text[from:]) {
		if what, ok := strings.CutPrefix(string(bytes.TrimSpace(line)), "tracer: "); ok {
			said = what
		}
	}
	return said
}

// verdict prints the table and what failed.
func (r *campaigning) verdict(ctx context.Context) error {
	r.table.writeTo(r.out)
	for _, b := range r.blocks {
		for i := range b.Cells {
			if what := r.measured.unanswered(&b.Cells[i]); what != "" && !r.failedAlready(r.file.RunID(&b.Cells[i])) {
				r.failed = append(r.failed, failure{r.file.RunID(&b.Cells[i]), what})
			}
		}
	}
	for _, f := range r.failed {
		fmt.Fprintf(r.out, "%s: %s\n", f.run, f.what)
	}
	goOn := fmt.Sprintf("tracer campaign %s goes on", r.path)
	switch left := r.table.left(); {
	case context.Cause(ctx) != nil:
		return &codedError{exitInterrupted, fmt.Errorf("interrupted; what was measured is committed, %d runs are left; %s", left, goOn)}
	case left > 0:
		return &codedError{exitPartial, fmt.Errorf("%d of %d runs failed; %s with those that are left", len(r.failed), r.table.total, goOn)}
	case len(r.failed) > 0:
		return &codedError{exitPartial, fmt.Errorf("every run is committed; %d of %d have something against them", len(r.failed), r.table.total)}
	}
	fmt.Fprintf(r.out, "campaign %s is complete in %s; tracer report %s shows it\n", r.file.Name, r.file.Out, r.file.Out)
	return nil
}

func (r *campaigning) failedAlready(run string) bool {
	for _, f := range r.failed {
		if f.run == run {
			return true
		}
	}
	return false
}

// printPlan says what would be run, and what is done.
func (r *campaigning) printPlan() error {
	table := newCampaignTable(r)
	for i, b := range r.blocks {
		served := ""
		if b.Model.Serve != nil {
			served = ", served by the campaign"
		}
		fmt.Fprintf(r.out, "block %d: repetition %d on %s with %s%s\n", i, b.Repetition, b.Board.Name, b.Model.Name, served)
		for j := range b.Cells {
			c, state := &b.Cells[j], "to be run"
			switch s := r.measured.cells[r.file.RunID(c)]; {
			case r.measured.done(c):
				state = "done"
			case s != nil:
				state = "begun"
			}
			fmt.Fprintf(r.out, "  %s  %s\n", r.file.RunID(c), state)
		}
	}
	_, err := fmt.Fprintf(r.out, "%d runs into %s, %d left%s\n", table.total, r.file.Out, table.left(), table.eta())
	return err
}
