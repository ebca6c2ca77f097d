package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/remote"
	"github.com/llm-tracer/tracer/schema"
)

// openBoards opens what --gpu names, here and in other hosts.
func (c *target) openBoards(t *terminal) (*boards, error) {
	here, hosts := remote.Split(c.GPU)
	if len(hosts) == 0 {
		return openBoards(here, c.DriverTimeout)
	}
	targets := make([]remote.Target, len(hosts))
	for i, h := range hosts {
		var err error
		if targets[i], err = remote.Parse(h); err != nil {
			return nil, usage("--gpu %s: %w", remote.Shown(h), err)
		}
	}
	ssh := strings.Fields(c.SSH)
	if len(ssh) == 0 {
		return nil, usage("--ssh is empty; name the command, such as ssh")
	}
	if err := checkDriverTimeout(c.DriverTimeout); err != nil {
		return nil, err
	}
	b := &boards{patience: c.DriverTimeout, close: func() {}}
	if here != "" {
		var err error
		if b, err = openBoards(here, c.DriverTimeout); err != nil {
			return nil, err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	for i, at := range targets {
		h, err := remote.Open(ctx, remote.Config{
			Target: at, SSH: ssh, Version: versionLine(), Driver: c.DriverTimeout, Patience: c.Patience,
			Decoder: func() remote.Decoder { return journal.NewDecoder(&store.Recycler{}) },
			Say:     func(what string) { fmt.Fprintln(t.err, "note:", what) },
		})
		if err != nil {
			b.closeAll()
			return nil, unopened(ctx, hosts[i], err)
		}
		b.hosts = append(b.hosts, h)
		f := h.Facts()
		fmt.Fprintf(t.err, "%s: %d board(s), %s, %s\n", at.Name, len(f.Boards), f.Kernel, f.CPU)
	}
	if err := b.distinct(); err != nil {
		b.closeAll()
		return nil, usage("--gpu %s: %w", remote.ShownList(c.GPU), err)
	}
	return b, nil
}

// unopened is a host whose boards cannot be read.
func unopened(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return errors.New("stopped before the run began; nothing of it was written")
	}
	if b, ok := errors.AsType[*remote.BrokenError](err); ok && b.Usage {
		return usage("--gpu %s: %w", host, err)
	}
	return environment(fmt.Errorf("--gpu %s: %w", host, err))
}

// distinct refuses a board that is named twice.
func (b *boards) distinct() error {
	seen := map[string]bool{}
	for _, f := range b.facts() {
		if seen[f.UUID] {
			return fmt.Errorf("board %s is named twice", f.UUID)
		}
		seen[f.UUID] = true
	}
	return nil
}

// closeAll gives hosts and boards up. Hosts remove what they wrote.
func (b *boards) closeAll() {
	for _, h := range b.hosts {
		h.Close()
	}
	b.close()
}

// onlyHere refuses boards in other hosts for a command that reads those of this one.
func onlyHere(command, spec string) error {
	if _, hosts := remote.Split(spec); len(hosts) > 0 {
		return usage("--gpu %s: tracer %s looks at the boards of the host it runs on; run it there", remote.Shown(hosts[0]), command)
	}
	return nil
}

// sampleHost reads the boards of another host until the context ends. It returns when all that they read has arrived.
func (t *trace) sampleHost(ctx context.Context, i int, plan sampler.Plan, budget float64) (remote.Result, error) {
	first := len(t.boards.devices)
	for _, h := range t.boards.hosts[:i] {
		first += len(h.Facts().Boards)
	}
	return t.boards.hosts[i].Run(ctx, plan, budget, first, t.remote[i])
}

// sampledBoards are the statistics of all boards, in their order.
func (t *trace) sampledBoards(own sampler.Stats) (all []boardSampling) {
	for _, b := range own.Boards {
		all = append(all, boardSampling{b, &own, schema.HostClock{}})
	}
	for i := range t.hosts {
		h := &t.hosts[i]
		for _, b := range h.Stats.Boards {
			all = append(all, boardSampling{b, &h.Stats, h.Clock})
		}
	}
	return all
}

// boardSampling is how one board was sampled, by which sampler.
type boardSampling struct {
	sampler.BoardStats

	by    *sampler.Stats
	clock schema.HostClock
}

// into fills in what a run's row says of it.
func (b *boardSampling) into(s *schema.Sampling) {
	stats := b.by
	s.Readings, s.Dropped, s.MissedTicks = b.Readings, b.Dropped, max(0, b.Planned-b.Readings)
	s.LatenessP50, s.LatenessP99, s.LatenessMax = stats.Lateness.P50, stats.Lateness.P99, stats.Lateness.Max
	s.RealTime, s.Lost, s.CPU = stats.RealTime, b.Losses > 0, stats.CPU
	s.CallShare, s.CallPeak, s.PeriodChanges = b.BusyShare, b.BusiestShare, b.Changes
	s.PowerAbsent, s.Gaps, s.ClockSteps, s.HostClock = b.PowerAbsent, b.Gaps, stats.Steps, b.clock
	if stats.Elapsed > 0 {
		s.AchievedHz = float64(b.Readings) / stats.Elapsed.Seconds()
	}
	for _, c := range stats.Cost {
		if c.Lane == sampler.LanePower {
			s.ReadCostP50, s.ReadCostP99 = c.P50, c.P99
		}
	}
}

// tellClocks says how far other hosts' times may be off.
func (t *trace) tellClocks() {
	for i := range t.hosts {
		c := &t.hosts[i].Clock
		fmt.Fprintf(t.out, "host %s: its clock is %+.6f s off and gains %+.2f ppm; its rows' times may be off by up to %.3g ms (fastest round trip %.3g ms)\n",
			t.boards.hosts[i].Name, c.Offset.Seconds(), c.DriftPPM, 1e3*c.Error.Seconds(), 1e3*c.RoundTrip.Seconds())
	}
}

// live merges this host's boards and the others'.
func (r *running) live() sampler.Live {
	var l sampler.Live
	if r.Sampler != nil {
		l = r.Sampler.Live()
	}
	for _, h := range r.hosts {
		for _, b := range h.Live() {
			l.Readings += b.Readings
			if r.Sampler == nil {
				l.Ticks = max(l.Ticks, b.Readings)
			}
			l.Boards = append(l.Boards, b)
		}
	}
	return l
}

// whereabouts is how a board is called among those of several hosts.
func whereabouts(b *schema.Board) string {
	if b.Host == "" {
		return strconv.Itoa(int(b.Index))
	}
	return fmt.Sprintf("%d of %s", b.Index, b.Host)
}
