package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/sampler/nvml"
	"github.com/llm-tracer/tracer/sampler/remote"
	"github.com/llm-tracer/tracer/schema"
)

type agent struct {
	Stdio   bool   `name:"stdio" help:"Speak over stdin and stdout."`
	Session string `placeholder:"ID" help:"Which tracer's."`
	Keep    string `hidden:"" placeholder:"DIR"`
}

// Help is printed under the flags.
func (*agent) Help() string {
	return "collect --gpu ssh://HOST starts this on HOST, over ssh. It reads HOST's boards, keeps the readings while the connection is cut, and leaves nothing behind."
}

// Run is one of the two halves of an agent.
func (a *agent) Run() error {
	switch {
	case a.Keep != "":
		return keepBoards(a.Keep)
	case a.Stdio:
		return remote.Relay(a.Session, os.Stdin, os.Stdout)
	}
	return usage("tracer agent is started by tracer collect --gpu ssh://HOST; by itself it does nothing")
}

// keepBoards is the half that outlives connections.
func keepBoards(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // without it, a boot shows as a step of the clock
	k := remote.Keeper{
		Facts:   remote.Facts{Host: hostname(), Version: versionLine(), Kernel: kernel(), CPU: cpu(), Boot: strings.TrimSpace(string(boot))},
		Open:    openForAgent,
		Queue:   func() remote.Queue { return ring.New[schema.Reading](ringReadings) },
		Create:  createSpool,
		Reopen:  reopenSpool,
		Encoder: func() remote.Encoder { return journal.NewEncoder(&store.Recycler{}) },
	}
	return k.Keep(ctx, dir, func() {
		const inherited = 3 // from the relay
		f := os.NewFile(inherited, "ready")
		_, _ = f.WriteString("\n") // a relay that has gone will come again
		_ = f.Close()
	})
}

// openForAgent opens what the user named behind the host.
func openForAgent(spec, library string, patience time.Duration) (remote.Boards, error) {
	open := func() (*boards, error) { return openLibrary(spec, library, patience) }
	if strings.Contains(spec, simPrefix) {
		open = func() (*boards, error) { return openBoards(spec, patience) }
	}
	b, err := open()
	if err != nil {
		if errors.Is(err, nvml.ErrNoDriver) {
			err = fmt.Errorf("%w; name the library with ?library=PATH if it stands elsewhere", err)
		}
		return remote.Boards{}, &remote.BrokenError{Message: err.Error(), Usage: exitCode(err) == exitUsage}
	}
	return remote.Boards{Devices: b.devices, Close: b.close}, nil
}

// spool keeps an agent's readings in a journal of no run.
type spool struct{ *journal.Journal }

func createSpool(path string, boards []schema.Board) (remote.Log, error) {
	j, err := journal.Create(path, &journal.Header{Boards: boards, Sampling: make([]schema.Sampling, len(boards))}, &store.Recycler{})
	if err != nil {
		return nil, err
	}
	return spool{j}, nil
}

func reopenSpool(path string) (remote.Log, error) {
	j, err := journal.Open(path, &store.Recycler{}, true)
	if err != nil {
		return nil, err
	}
	return spool{j}, nil
}

// Append adds readings.
func (s spool) Append(rows []schema.Reading) error { return s.Readings(journal.Look{}, rows) }

// Rows begins with the first.
func (s spool) Rows() remote.Cursor { return spooled{s.Journal.Rows(), s.Journal} }

// spooled reads behind whoever appends.
type spooled struct {
	rows *journal.Rows
	of   *journal.Journal
}

// Next gives the next batch.
func (s spooled) Next(into []schema.Reading) ([]schema.Reading, error) {
	return s.rows.Next(s.of.Size(), into)
}
