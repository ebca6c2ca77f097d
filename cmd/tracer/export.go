package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/llm-tracer/tracer/analysis/export"
	"github.com/llm-tracer/tracer/analysis/query"
)

type exportCommand struct {
	Dir string `arg:"" placeholder:"DIR" help:"Dataset to read."`
	chosen
	Format     string `enum:"csv,opendc,kavier,jsonl" required:"true" placeholder:"FORMAT" help:"csv, opendc, kavier or jsonl."`
	Output     string `short:"o" required:"true" placeholder:"FOLDER" help:"Folder to write into."`
	Force      bool   `help:"Replace files of an earlier export."`
	AllColumns bool   `name:"all-columns" help:"csv: every column of samples after the nine."`
	Samples    bool   `help:"jsonl: samples.jsonl too."`
	hardware
}

// Help is printed under the flags.
func (*exportCommand) Help() string {
	return `Formats:

  csv      prefill_A10.csv, decode_A10.csv: a row for each reading
  opendc   tasks.parquet, fragments.parquet and a topology.json with the fitted gpuPowerModel
  kavier   a request trace for each board and model, and the fitted constants
  jsonl    requests.jsonl: every column

  tracer export datasets --format opendc -o opendc`
}

// Run exports.
func (c *exportCommand) Run(t *terminal) error {
	given, err := c.given()
	if err != nil {
		return err
	}
	if err := outside(c.Output); err != nil {
		return err
	}
	order := export.Order{Choice: c.choice(), Format: c.Format, AllColumns: c.AllColumns, Samples: c.Samples, Hardware: given}
	return t.withDataset(c.Dir, c.Runs, func(ctx context.Context, d *query.Dataset) (err error) {
		folder, err := export.Create(c.Output, c.Force)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, folder.Close()) }()
		files, err := export.Write(ctx, d, order, folder)
		if err == nil {
			err = folder.Publish()
		}
		if errors.Is(err, export.ErrExists) {
			return usage("%w", err)
		}
		if err != nil {
			return c.refused(err)
		}
		for _, f := range files {
			fmt.Fprintf(t.out, "%s: %d rows\n", filepath.Join(c.Output, f.Name), f.Rows)
		}
		return nil
	})
}
