package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/analysis/report"
)

// drawn is what of a dataset is drawn: the flags that report and plot share.
type drawn struct {
	Dir string `arg:"" placeholder:"DIR" help:"Dataset to read."`
	chosen
}

type reportCommand struct {
	drawn
	Output string `short:"o" default:"report.html" placeholder:"PATH" help:"File to write (default: ${default})."`
}

// Help is printed under the flags.
func (*reportCommand) Help() string {
	return `One page, for any browser, without a network: power over time, latencies and energies against tokens, how well it was
measured. Each figure can be saved as SVG and CSV.

  tracer report datasets -o report.html
  tracer report datasets --gpu "NVIDIA A10" -o a10.html`
}

// Run writes the page.
func (c *reportCommand) Run(t *terminal) error {
	if err := outside(c.Output); err != nil {
		return err
	}
	return c.build(t, func(m *report.Model) error {
		f, err := os.Create(c.Output)
		if err != nil {
			return usage("-o %s: %w", c.Output, err)
		}
		w := bufio.NewWriterSize(f, 1<<16)
		if err := errors.Join(m.WriteHTML(w), w.Flush(), f.Close()); err != nil {
			return fmt.Errorf("writing %s: %w", c.Output, err)
		}
		_, err = fmt.Fprintf(t.out, "%s: %d run(s) and board(s)\n", c.Output, len(m.Runs))
		return err
	})
}

// build reads what is drawn and hands it on.
func (c *drawn) build(t *terminal, use func(*report.Model) error) error {
	return t.withDataset(c.Dir, c.Runs, func(ctx context.Context, d *query.Dataset) error {
		m, err := report.Build(ctx, d, c.Dir, version, c.choice())
		if errors.Is(err, report.ErrNoRuns) {
			return usage("%s: %w; tracer collect --out %s measures one", c.Dir, report.ErrNoRuns, c.Dir)
		}
		if err != nil {
			return c.refused(err)
		}
		return use(m)
	})
}
