package main

import (
	"context"
	"encoding/csv"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/analysis/query"
)

type compareCommand struct {
	Dir       string `arg:"" placeholder:"DIR" help:"Dataset of A, and of B where no other is named."`
	Other     string `arg:"" optional:"" placeholder:"DIR_B" help:"Dataset of B."`
	A         string `name:"a" placeholder:"KEY=VALUE,…" help:"Which runs are A: run=ID, gpu=NAME, llm=NAME (default: all)."`
	B         string `name:"b" placeholder:"KEY=VALUE,…" help:"Which runs are B (default: all)."`
	Resamples int    `default:"2000" placeholder:"N" help:"Of the bootstrap (default: ${default})."`
	Seed      uint64 `default:"1" placeholder:"N" help:"Of the bootstrap (default: ${default})."`
	CSV       bool   `name:"csv" xor:"format" help:"Print CSV."`
	JSON      bool   `name:"json" xor:"format" help:"Print JSON."`
}

// Help is printed under the flags.
func (*compareCommand) Help() string {
	return `Ratios B/A of times and energies, size by size, with 95 % intervals:

  tracer compare datasets --a gpu=NVIDIA-A10 --b gpu=NVIDIA-A100-SXM4-80GB
  tracer compare datasets --a run=before --b run=after
  tracer compare datasets/monday datasets/tuesday --a llm=Qwen/Qwen2.5-14B --b llm=Qwen/Qwen2.5-14B`
}

// Run compares two sides.
func (c *compareCommand) Run(t *terminal) error {
	if err := within(bound{"--resamples", c.Resamples, 100, 100_000, ""}); err != nil {
		return err
	}
	a, err := side("--a", c.A, c.Dir)
	if err != nil {
		return err
	}
	other := c.Other
	if other == "" {
		other = c.Dir
	}
	b, err := side("--b", c.B, other)
	if err != nil {
		return err
	}
	if c.Other == "" && (c.A == "") != (c.B == "") {
		return usage("of one dataset, one side would be part of the other: give both --a and --b, such as --a gpu=A10 --b gpu=H100, or a second DIR")
	}
	measuredA, err := t.measure(a)
	if err != nil {
		return err
	}
	measuredB, err := t.measure(b)
	if err != nil {
		return err
	}
	if a.Dir == b.Dir && slices.Equal(measuredA.RunIDs, measuredB.RunIDs) {
		return usage("A and B are the same runs; tell them apart with --a and --b, such as --a run=ID --b run=ID")
	}
	return c.print(t, analysis.Compare(measuredA, measuredB, c.Resamples, c.Seed))
}

// side is one of the two, as a flag says it.
func side(flag, text, dir string) (analysis.Side, error) {
	s := analysis.Side{Dir: dir}
	if text == "" {
		return s, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(part, "=")
		into := map[string]*string{"run": &s.Run, "gpu": &s.GPU, "llm": &s.LLM}[key]
		if into == nil || value == "" || *into != "" {
			return s, usage("%s %s: give run=ID, gpu=NAME or llm=NAME, each once, with commas between", flag, text)
		}
		*into = value
	}
	return s, nil
}

// measure reads one of the two.
func (t *terminal) measure(s analysis.Side) (m analysis.Measured, err error) {
	var runs []string
	if s.Run != "" {
		runs = []string{s.Run}
	}
	err = t.withDataset(s.Dir, runs, func(ctx context.Context, d *query.Dataset) error {
		m, err = analysis.Measure(ctx, d, s)
		return err
	})
	if errors.Is(err, analysis.ErrNothingSelected) {
		err = &codedError{exitUsage, err}
	}
	return m, err
}

func (c *compareCommand) print(t *terminal, r *analysis.Comparison) error {
	switch {
	case c.JSON:
		return t.json(r)
	case !c.CSV:
		return r.Print(t.out)
	}
	number := func(v *float64) string {
		if v == nil {
			return ""
		}
		return strconv.FormatFloat(*v, 'g', -1, 64)
	}
	out := csv.NewWriter(t.out)
	rows := [][]string{{"workload", "target_tokens", "metric", "requests_a", "requests_b", "mean_a", "mean_b", "ratio", "ratio_lo", "ratio_hi", "distinguishable"}}
	for _, l := range r.Lines {
		rows = append(rows, []string{
			string(l.Workload), strconv.Itoa(int(l.Size)), l.Metric, strconv.Itoa(l.RequestsA), strconv.Itoa(l.RequestsB),
			number(&l.A), number(&l.B), number(&l.Ratio), number(l.Lo), number(l.Hi), strconv.FormatBool(l.Differs),
		})
	}
	return out.WriteAll(rows)
}
