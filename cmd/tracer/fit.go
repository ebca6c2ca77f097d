package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/llm-tracer/tracer/analysis/fit"
	"github.com/llm-tracer/tracer/analysis/paper"
	"github.com/llm-tracer/tracer/analysis/query"
)

// chosen are the flags that narrow a dataset down.
type chosen struct {
	Runs []string `name:"run" placeholder:"ID,…" help:"Only these runs (default: all)."`
	GPU  string   `name:"gpu" placeholder:"NAME" help:"Only boards of this name (NVIDIA A10 or just A10; NVIDIA-A10, as in the folders, too) or UUID."`
	LLM  string   `name:"llm" placeholder:"NAME" help:"Only this model: its name, or as in the dataset's folders."`
}

func (c chosen) choice() query.Choice { return query.Choice{Runs: c.Runs, GPU: c.GPU, LLM: c.LLM} }

// refused says that nothing fits, and which flags asked for it.
func (c chosen) refused(err error) error {
	if !errors.Is(err, query.ErrNoneChosen) {
		return err
	}
	var flags []string
	for _, f := range [][2]string{{"run", strings.Join(c.Runs, ",")}, {"gpu", c.GPU}, {"llm", c.LLM}} {
		if f[1] != "" {
			flags = append(flags, "--"+f[0]+" "+query.Printable(f[1])+": ")
		}
	}
	return usage("%s%w", strings.Join(flags, ""), err)
}

// withChosen opens what of a dataset the flags choose.
func (t *terminal) withChosen(dir string, c chosen, f func(context.Context, *query.Dataset) error) error {
	return t.withDataset(dir, c.Runs, func(ctx context.Context, d *query.Dataset) error {
		if err := d.Choose(ctx, c.choice()); err != nil {
			return c.refused(err)
		}
		return f(ctx, d)
	})
}

// hardware are the flags that say what Kavier's formulas are about.
type hardware struct {
	Params        *float64 `placeholder:"N" help:"Parameters of the model that a token touches, such as 8e9 (default: the catalog's)."`
	BytesPerParam *float64 `name:"bytes-per-param" placeholder:"N" help:"Bytes of a parameter: 2 for bf16 (default: 2)."`
	TFLOPS        *float64 `name:"tflops" placeholder:"N" help:"The board's dense TFLOPS at that precision (default: the catalog's)."`
	Bandwidth     *float64 `placeholder:"GB/S" help:"The board's memory bandwidth, in 10⁹ bytes a second (default: the catalog's)."`
}

func (h hardware) given() (fit.Hardware, error) {
	var given fit.Hardware
	for _, f := range []struct {
		name string
		from *float64
		to   *float64
	}{{"--params", h.Params, &given.Params}, {"--bytes-per-param", h.BytesPerParam, &given.BytesPerParam}, {"--tflops", h.TFLOPS, &given.TFLOPS}, {"--bandwidth", h.Bandwidth, &given.BandwidthGBs}} {
		if f.from == nil {
			continue
		}
		if *f.to = *f.from; !(*f.from > 0) {
			return given, usage("%s %g: give a number above 0, or leave it out for the catalog's", f.name, *f.from)
		}
	}
	return given, nil
}

type fitCommand struct {
	Dir string `arg:"" placeholder:"DIR" help:"Dataset to read."`
	chosen
	hardware
	Plots string `placeholder:"FOLDER" help:"Draw the curves and each request's residual into this folder, as SVG, PDF and PNG."`
	JSON  bool   `name:"json" xor:"format" help:"Print all of it as JSON: intervals, reasons, every request's residual."`
	CSV   bool   `name:"csv" xor:"format" help:"Print one row for each constant."`
}

// Help is printed under the flags.
func (*fitCommand) Help() string {
	return `Prefill time and energy against length, time and energy of an output token against context, watts, Kavier's constants and
OpenDC's gpuPowerModel, for each model on each kind of board, with 95 % intervals. What the data do not support is said.

  tracer fit datasets --plots figures
  tracer fit datasets --llm my-model --params 3.2e9 --tflops 165 --bandwidth 1008`
}

// Run fits.
func (c *fitCommand) Run(t *terminal) error {
	given, err := c.given()
	if err != nil {
		return err
	}
	if c.Plots != "" {
		if err := outside(c.Plots); err != nil {
			return err
		}
	}
	return t.withDataset(c.Dir, c.Runs, func(ctx context.Context, d *query.Dataset) error {
		fits, err := fit.Of(ctx, d, c.choice(), given)
		if err != nil {
			return c.refused(err)
		}
		if err := c.draw(t, fits); err != nil {
			return err
		}
		switch {
		case c.JSON:
			return t.json(fits)
		case c.CSV:
			return fit.WriteCSV(t.out, fits)
		}
		return fit.Print(t.out, fits)
	})
}

// draw draws the residuals where that is asked for.
func (c *fitCommand) draw(t *terminal, fits []fit.Fit) error {
	if c.Plots == "" {
		return nil
	}
	names, err := paper.Residuals(fits, c.Plots, []string{"svg", "pdf", "png"})
	if err != nil {
		return usage("--plots %s: %w", c.Plots, err)
	}
	_, err = fmt.Fprintf(t.err, "%s: %s\n", c.Plots, strings.Join(names, ", "))
	return err
}
