package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/pipeline/bucket"
)

type queryCommand struct {
	Dir  string `arg:"" placeholder:"DIR" help:"Dataset to read."`
	SQL  string `arg:"" optional:"" name:"sql" help:"One SELECT over samples, requests, folds, runs and prompts; - reads it from the standard input."`
	File string `placeholder:"PATH" help:"File that holds the query."`
	chosen
	CSV  bool `name:"csv" xor:"format" help:"Write CSV."`
	JSON bool `name:"json" xor:"format" help:"Write a JSON object a line."`
}

// Help is printed under the flags.
func (*queryCommand) Help() string {
	return `The dataset's tables are views of an embedded DuckDB, read-only: samples, requests, folds, runs, prompts, with the
partition keys gpu, llm and stage as columns.

  tracer query datasets "SELECT stage, count(*) AS rows, avg(power_instant_w) AS mean_w FROM samples GROUP BY stage"
  tracer query datasets "DESCRIBE requests"
  tracer query datasets --file question.sql --csv >answer.csv
  tracer query datasets -- "-- SQL that begins with a comment goes behind --, or into --file or -
  SELECT count(*) FROM requests"`
}

// Run answers one query.
func (c *queryCommand) Run(t *terminal) error {
	text, err := c.text(os.Stdin)
	if err != nil {
		return err
	}
	return t.withChosen(c.Dir, c.chosen, func(ctx context.Context, d *query.Dataset) error {
		switch {
		case c.CSV:
			return d.WriteCSV(ctx, t.out, text)
		case c.JSON:
			return d.WriteJSON(ctx, t.out, text)
		}
		cut, err := d.WriteTable(ctx, t.out, text)
		if cut {
			fmt.Fprintln(t.err, "tracer: there are more rows; --csv and --json write all of them")
		}
		return err
	})
}

// text is the query: the argument's, a file's, or the standard input's.
func (c *queryCommand) text(stdin io.Reader) (string, error) {
	switch {
	case (c.SQL == "") == (c.File == ""):
		return "", usage(`give one query: tracer query DIR "SELECT …", or - for the standard input, or --file PATH`)
	case c.File != "":
		text, err := os.ReadFile(c.File)
		if err != nil {
			return "", usage("--file: %w", err)
		}
		return string(text), nil
	case c.SQL == "-":
		text, err := io.ReadAll(stdin)
		if err != nil {
			return "", fmt.Errorf("reading the query from the standard input: %w", err)
		}
		return string(text), nil
	}
	return c.SQL, nil
}

// withDataset opens a dataset for as long as f works on it; of one in a store, what has rows of the runs that are named, or all. Ctrl-C
// ends f, and nothing is left behind.
func (t *terminal) withDataset(dir string, runs []string, f func(context.Context, *query.Dataset) error) error {
	ctx, stop := interruptible()
	defer stop()
	return stopped(ctx, t.inView(ctx, dir, bucket.Look{Runs: runs}, func(v *bucket.View) error { return t.withView(ctx, v, f) }))
}

func (t *terminal) withView(ctx context.Context, v *bucket.View, f func(context.Context, *query.Dataset) error) error {
	d, err := query.Open(ctx, v.Dir)
	if errors.Is(err, query.ErrNoDataset) {
		return usage("%w; name a folder that tracer collect wrote", err)
	}
	if err != nil {
		return err
	}
	if n := len(d.Uncommitted()); n > 0 {
		fmt.Fprintf(t.err, "note: %d files are left out, for no manifest lists them (%s, …): they belong to a run that is not committed\n", n, query.Printable(d.Uncommitted()[0]))
	}
	gone := slices.DeleteFunc(slices.Clone(d.Missing()), func(file string) bool { return v.LeftOut[file] })
	if n := len(gone); n > 0 {
		fmt.Fprintf(t.err, "note: %d files that manifests list are gone (%s, …): what they held is not counted\n", n, query.Printable(gone[0]))
	}
	err = errors.Join(f(ctx, d), d.Close())
	if complaint, ok := errors.AsType[*query.SQLError](err); ok {
		return usage("%s", query.PrintableLines(complaint.Message))
	}
	return err
}
