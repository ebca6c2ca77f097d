package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/sampler"
)

// judgeBoard tells what a board failed at. A sensor that never answered is a property of the board, and one that failed
// now and then a property of sensors: these are said, the rest makes the data partial.
func (t *trace) judgeBoard(b sampler.BoardStats) {
	if b.Losses == 0 && b.PowerAbsent == 0 {
		return
	}
	what := fmt.Sprintf("board %s: stopped answering %d times, for %v in all; instant power absent in %d of %d readings",
		b.UUID, b.Losses, b.LostFor.Round(time.Millisecond), b.PowerAbsent, b.Readings)
	if b.LastError != nil {
		what += "; " + b.LastError.Error()
	}
	if b.Losses > 0 || b.PowerAbsent > b.Readings/100 && b.PowerAbsent < b.Readings {
		t.faults = append(t.faults, what)
		return
	}
	fmt.Fprintln(t.err, what)
}

// verdict is the error that the run ends with, once it is committed.
func (t *trace) verdict(err error) error {
	r := &t.record
	switch {
	case errors.Is(err, errInterrupted):
		return &codedError{exitInterrupted, fmt.Errorf("interrupted after %d requests; they are committed%s", r.Requests, t.resumable())}
	case errors.Is(err, pipeline.ErrDisk):
		return &codedError{exitPartial, fmt.Errorf("%w\nThe run was stopped after %d requests; they are committed%s", err, r.Requests, t.resumable())}
	case err != nil && r.Succeeded == 0:
		return environment(err)
	case err != nil:
		return &codedError{exitPartial, err}
	case r.Failed > 0 && r.Succeeded == 0:
		return fmt.Errorf("all %d requests failed: %s", r.Failed, t.pipeline.FirstError())
	case len(t.faults) > 0:
		return &codedError{exitPartial, errors.New(strings.Join(t.faults, "\n"))}
	case t.schedule.Progress().Failed > 0:
		return &codedError{exitPartial, fmt.Errorf("%d of %d requests failed, the first with: %s", r.Failed, r.Requests, t.pipeline.FirstError())}
	case r.Failed > 0:
		fmt.Fprintf(t.err, "every prompt was answered; %d attempts had failed before, the first with: %s\n", r.Failed, t.pipeline.FirstError())
	}
	return nil
}
