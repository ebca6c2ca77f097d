package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// template is how long the run is that the day is made of.
const template = time.Minute

// recoverDay kills a run of a minute, strings its journal together to one of so long, and recovers that.
func recoverDay(tracer, out string, length time.Duration) error {
	cmd := exec.Command(tracer, simulated(out, "minute", "sim:H100-SXM", "20ms")...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	watch(cmd.Process.Pid, template)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	name, err := stretch(out, length)
	if err != nil {
		return fmt.Errorf("making a journal of %v: %w", length, err)
	}
	info, err := os.Stat(journal.Path(out, name))
	if err != nil {
		return err
	}
	began := time.Now()
	cmd = exec.Command(tracer, "recover", "--out", out, "day")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("tracer recover: %w", err)
	}
	took, usage := time.Since(began), cmd.ProcessState.SysUsage().(*syscall.Rusage) //nolint:forcetypeassert // on Linux it is one
	published, err := bytesUnder(filepath.Join(out, schema.Samples.Name))
	if err != nil {
		return err
	}
	fmt.Printf("%v of one board every 20 ms: a journal of %.1f MB, recovered in %v with at most %.0f MB of memory, to %.1f MB of samples\n", //nolint:forbidigo // its output
		length, float64(info.Size())/1e6, took.Round(100*time.Millisecond), float64(usage.Maxrss)/1e3, float64(published)/1e6)
	return nil
}

// stretch repeats the journal of the killed run, later each time.
func stretch(out string, length time.Duration) (name string, err error) {
	found, err := journal.List(out)
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%d journals, %w", len(found), err)
	}
	from, err := journal.Open(journal.Path(out, found[0].Name), &store.Recycler{}, false)
	if err != nil {
		return "", err
	}
	h := *from.Header
	h.Run.ID = "day"
	name = store.RunName(h.Run.ID, h.Run.Host)
	to, err := journal.Create(journal.Path(out, name), &h, &store.Recycler{})
	if err != nil {
		return "", err
	}
	for i := range int(length / template) {
		if err := repeat(from, to, i); err != nil {
			return "", err
		}
	}
	return name, errors.Join(to.Sync(), to.Close(), from.Remove())
}

// repeat appends a whole journal to another, i times its length later.
func repeat(from, to *journal.Journal, i int) error {
	later := int64(i) * int64(template)
	events, err := from.Replay()
	if err != nil {
		return err
	}
	rows := from.Rows()
	for {
		e, err := events.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, new(*journal.DamageError)): // torn where the run was killed
			return nil
		case err != nil:
			return err
		case e.Span != nil:
			err = to.Closed(e.Worker, shifted(e.Span, later, i))
		case e.OpenNS != 0:
			err = to.Opened(e.Worker, e.OpenNS+later, e.Opening)
		case e.FirstTokenNS != 0:
			err = to.Answering(e.Worker, e.FirstTokenNS+later)
		default:
			err = readings(rows, to, e.Look, events.At(), later)
		}
		if err != nil {
			return err
		}
	}
}

func readings(rows *journal.Rows, to *journal.Journal, look journal.Look, before, later int64) error {
	batch, err := rows.Next(before, nil)
	if err != nil {
		return err
	}
	for i := range batch {
		batch[i].StartNS += later
		batch[i].EndNS += later
	}
	look.NS += later
	look.Clock.MonotonicNS += later
	look.Clock.WallNS += later
	return to.Readings(look, batch)
}

func shifted(s *schema.Span, later int64, i int) *schema.Span {
	s.RequestID = fmt.Sprintf("%s-%d", s.RequestID, i)
	s.StartNS += later
	s.EndNS += later
	for _, ns := range []*schema.Opt[int64]{&s.PrefillStartNS, &s.FirstTokenNS, &s.LastTokenNS} {
		if ns.OK {
			ns.V += later
		}
	}
	return s
}
