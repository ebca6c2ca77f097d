package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/sourcegraph/conc/panics"

	"github.com/llm-tracer/tracer/sampler"
)

// running is a sampler at work.
type running struct {
	*sampler.Sampler
	since time.Time
}

// sampled reads the boards by a plan while something is sent, and ends with it.
func (t *trace) sampled(ctx context.Context, stop context.CancelCauseFunc, plan sampler.Plan, send func() error) (stats sampler.Stats, err error) {
	s, err := sampler.New(t.boards.devices, plan, t.readings)
	if err != nil {
		return stats, err
	}
	s.Wait(t.boards.patience)
	if t.period == 0 {
		s.Govern(t.budget)
	}
	sampling, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	t.running.Store(&running{s, time.Now()})
	defer t.running.Store(nil)
	var reader conc.WaitGroup
	reader.Go(func() {
		var lost error
		crash := panics.Try(func() { stats, lost = s.Run(sampling) })
		if lost = cmp.Or(crash.AsError(), lost); lost != nil {
			stop(fmt.Errorf("%w: %w", errAllBoardsLost, lost))
		}
	})
	err = send()
	end()
	reader.Wait()
	return stats, err
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
