package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/schema"
)

// checkBoards has a run gone on with on boards of its own kinds alone, so that its repetitions can be held against each other. That
// they are others of that kind is told: a scheduler gives a job whichever is free, and every row says which board it is of.
func (r *resumption) checkBoards(t *terminal, ours []schema.Board) error {
	if r == nil || len(r.boards) == 0 {
		return nil
	}
	for i := range ours {
		if !slices.ContainsFunc(r.boards, func(b schema.Board) bool { return b.Name == ours[i].Name }) {
			return &codedError{exitConflict, fmt.Errorf("run %s was measured on %s, and here is %s: what goes on with a run is of its kind of boards. "+
				"Go on where there is one (Slurm: --constraint, Kubernetes: nodeSelector), name it with --gpu, or begin a run with another --run-id", r.root.RunID, named(r.boards), named(ours))}
		}
	}
	if had, have := uuids(r.boards), uuids(ours); !slices.Equal(had, have) {
		fmt.Fprintf(t.err, "note: run %s goes on, now on %s; it began on %s: gpu_uuid in every table tells them apart\n", r.root.RunID, named(ours), named(r.boards))
	}
	return nil
}

func named(boards []schema.Board) string {
	all := make([]string, len(boards))
	for i := range boards {
		all[i] = boards[i].Name + " " + boards[i].UUID
	}
	return strings.Join(all, ", ")
}

func uuids(boards []schema.Board) []string {
	all := make([]string, len(boards))
	for i := range boards {
		all[i] = boards[i].UUID
	}
	slices.Sort(all)
	return all
}
