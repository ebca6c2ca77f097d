package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/llm-tracer/tracer/pipeline"
)

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
