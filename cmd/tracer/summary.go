package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/schema"
)

type summaryCommand struct {
	Dir string   `arg:"" placeholder:"DIR" help:"Dataset to sum up."`
	By  []string `default:"gpu,llm,workload,size" enum:"gpu,board,llm,run,workload,size" placeholder:"KEY,…" help:"What lines are told apart by: gpu, board, llm, run, workload, size (default: ${default})."`
	chosen
	JSON bool   `name:"json" xor:"format" help:"Print everything as JSON."`
	CSV  string `name:"csv" xor:"format" placeholder:"TABLE" help:"Print one table as CSV: stages, requests, energies, boards or runs."`
}

// Help is printed under the flags.
func (*summaryCommand) Help() string {
	return `The tables that collect ends with, over a whole dataset:

  tracer summary datasets
  tracer summary datasets --by gpu,run                          # every run on lines of its own, sizes together
  tracer summary datasets --run 20261124-080032-d15d2e --json
  tracer summary datasets --csv energies >energies.csv`
}

// summaryTables can be had as CSV.
var summaryTables = []string{"stages", "requests", "energies", "boards", "runs"}

// Run sums a dataset up.
func (c *summaryCommand) Run(t *terminal) error {
	if c.CSV != "" && !slices.Contains(summaryTables, c.CSV) {
		return usage("--csv %s: there are the tables %s", c.CSV, strings.Join(summaryTables, ", "))
	}
	return t.withChosen(c.Dir, c.chosen, func(ctx context.Context, d *query.Dataset) error {
		by := make([]analysis.Key, len(c.By))
		for i, key := range c.By {
			by[i] = analysis.Key(key)
		}
		if c.CSV != "" {
			return d.WriteCSV(ctx, t.out, analysis.TableQuery(c.CSV, by))
		}
		s, err := analysis.Summarize(ctx, d, by)
		if err != nil {
			return err
		}
		if c.JSON {
			return t.json(s)
		}
		t.printRuns(c.Dir, s)
		return s.Print(t.out)
	})
}

// printRuns says what stands behind the tables.
func (t *terminal) printRuns(dir string, s *analysis.Summary) {
	boards, ends := map[string]bool{}, map[schema.Status]int{}
	for _, b := range s.Boards {
		boards[b.UUID] = true
	}
	for _, r := range s.Runs {
		ends[r.Status]++
	}
	var parts []string
	for _, status := range []schema.Status{schema.StatusComplete, schema.StatusInterrupted, "recovered"} {
		if n := ends[status]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, status))
		}
	}
	fmt.Fprintf(t.out, "%s: runs: %d", dir, len(s.Runs))
	if n := len(s.Runs); n > 0 {
		fmt.Fprintf(t.out, " (%s), boards: %d, %s to %s", strings.Join(parts, ", "), len(boards), s.Runs[0].Start.UTC().Format("2006-01-02 15:04"), s.Runs[n-1].End.UTC().Format("2006-01-02 15:04 UTC"))
	}
	fmt.Fprintln(t.out)
	switch n := s.Simulated(); {
	case n > 0 && n == len(s.Runs):
		fmt.Fprintln(t.out, "SIMULATED boards and servers: these numbers describe no real hardware.")
	case n > 0:
		fmt.Fprintf(t.out, "SIMULATED in %d of the runs: numbers of boards whose names begin with sim- describe no real hardware.\n", n)
	}
	fmt.Fprintln(t.out)
}
