package main

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// rescue publishes what the journal holds of a run that could not go on recording.
func (t *trace) rescue(cause error) (*store.Manifest, error) {
	if err := t.pipeline.Close(); err != nil {
		return nil, t.unpublished(errors.Join(cause, err))
	}
	r, err := pipeline.Recover(t.Out, store.RunName(t.RunID, t.record.Host), versionLine(), true)
	if err != nil {
		return nil, t.unpublished(errors.Join(cause, err))
	}
	t.record = r.Run
	return &r.Manifest, &codedError{exitPartial, fmt.Errorf("%w\nThe run was stopped; what its journal holds is committed", cause)}
}

// planned is what is known of the sampling before it begins.
func (t *trace) planned() []schema.Sampling {
	all := make([]schema.Sampling, len(t.boards.facts()))
	for i := range all {
		if all[i].PowerPeriod = t.plan.Power; t.period == 0 {
			all[i].Budget = t.budget
		}
	}
	return all
}

// unpublished is the end of a run that could not be written. Its journal has it.
func (t *trace) unpublished(err error) error {
	mend := "mend that"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		mend = "make room"
	}
	return fmt.Errorf("%w\nNothing is lost: %s, and then tracer recover --out %s %s publishes what was measured", err, mend, t.Out, t.RunID)
}

// resumable is how to go on with a run that was stopped, where that can be done.
func (t *trace) resumable() string {
	if t.options == nil {
		return ""
	}
	return fmt.Sprintf("; tracer collect --resume %s --out %s goes on with the rest", t.RunID, t.Out)
}
