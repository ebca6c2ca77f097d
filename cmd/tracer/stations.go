package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/sourcegraph/conc/panics"

	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/remote"
)

// running are the samplers at work.
type running struct {
	*sampler.Sampler // of this host's boards; nil where there are none

	hosts []*remote.Host
	since time.Time
}

// sampled reads the boards by a plan while something is sent, and ends with it. What other hosts have read has arrived then.
func (t *trace) sampled(ctx context.Context, stop context.CancelCauseFunc, plan sampler.Plan, send func() error) (stats sampler.Stats, err error) {
	at := &running{hosts: t.boards.hosts, since: time.Now()}
	if len(t.boards.devices) > 0 {
		if at.Sampler, err = sampler.New(t.boards.devices, plan, t.readings); err != nil {
			return stats, err
		}
		at.Wait(t.boards.patience)
		if t.period == 0 {
			at.Govern(t.budget)
		}
	}
	sampling, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	t.running.Store(at)
	defer t.running.Store(nil)
	readers := &sources{stop: stop}
	if at.Sampler != nil {
		readers.read(func() (lost error) {
			stats, lost = at.Run(sampling)
			return lost
		})
	}
	t.hosts = make([]remote.Result, len(at.hosts))
	for i := range at.hosts {
		readers.read(func() (lost error) {
			t.hosts[i], lost = t.sampleHost(sampling, i, plan, t.budgetOf())
			return lost
		})
	}
	err = send()
	end()
	readers.owner.Wait()
	return stats, err
}

// budgetOf is the governor's; 0 where it only watches.
func (t *trace) budgetOf() float64 {
	if t.period == 0 {
		return t.budget
	}
	return 0
}

// sources read boards side by side. When none is left, there is nothing to go on for.
type sources struct {
	owner conc.WaitGroup
	stop  context.CancelCauseFunc

	mu   sync.Mutex
	all  int
	lost []error
}

func (s *sources) read(run func() error) {
	s.mu.Lock()
	s.all++
	s.mu.Unlock()
	s.owner.Go(func() {
		var lost error
		crash := panics.Try(func() { lost = run() })
		if lost = cmp.Or(crash.AsError(), lost); lost == nil {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lost = append(s.lost, lost); len(s.lost) == s.all {
			s.stop(fmt.Errorf("%w: %w", errAllBoardsLost, errors.Join(s.lost...)))
		}
	})
}

// recorded runs the pipeline beside its sources, until they have ended and the rings are empty.
func (t *trace) recorded(stop context.CancelCauseFunc, sources func() error) error {
	drained := make(chan struct{})
	var (
		writer conc.WaitGroup
		failed error
	)
	writer.Go(func() {
		crash := panics.Try(func() { failed = t.pipeline.Collect(drained, stop) })
		if failed = cmp.Or(crash.AsError(), failed); failed != nil {
			stop(failed)
		}
	})
	err := sources()
	close(drained)
	writer.Wait()
	return cmp.Or(failed, err)
}
