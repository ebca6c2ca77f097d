package main

import (
	"fmt"
	"strings"

	"github.com/llm-tracer/tracer/analysis/paper"
	"github.com/llm-tracer/tracer/analysis/report"
)

type plotCommand struct {
	drawn
	Output string   `short:"o" default:"figures" placeholder:"FOLDER" help:"Folder to write into (default: ${default})."`
	Format []string `default:"svg,pdf,png" enum:"svg,pdf,png" placeholder:"FORMAT,…" help:"svg, pdf, png (default: ${default})."`
	From   float64  `placeholder:"S" help:"Where timelines begin, in seconds from the run's first request that is no warm-up; runs without readings there have none (default: with the run)."`
	To     float64  `placeholder:"S" help:"Where they end (default: with the run)."`
}

// Help is printed under the flags.
func (*plotCommand) Help() string {
	return `The figures of a paper of two columns, a file each, and figures.txt, which says what they were drawn from.

  tracer plot datasets -o figures --format pdf
  tracer plot datasets --run 20261124-080032-d15d2e --from=-0.8 --to=6.2`
}

// Run draws the figures.
func (c *plotCommand) Run(t *terminal) error {
	if c.From > c.To || c.From == c.To && c.From != 0 {
		return usage("--from %v --to %v: a timeline ends after it begins", c.From, c.To)
	}
	if err := outside(c.Output); err != nil {
		return err
	}
	return c.build(t, func(m *report.Model) error {
		window := paper.Window{From: c.From, To: c.To}
		if all := paper.Extent(m.Timelines...); window != (paper.Window{}) && !window.Overlaps(all) {
			return usage("--from %v --to %v: nothing was read then; the readings are from %.1f s to %.1f s, counted from the run's first request that is no warm-up", c.From, c.To, all.From, all.To)
		}
		names, err := paper.Write(m, c.Output, c.Format, window)
		if err != nil {
			return fmt.Errorf("writing into %s: %w", c.Output, err)
		}
		_, err = fmt.Fprintf(t.out, "%s: %s\n", c.Output, strings.Join(names, ", "))
		return err
	})
}
