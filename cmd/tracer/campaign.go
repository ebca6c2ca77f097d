package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/internal/campaign"
	"github.com/llm-tracer/tracer/pipeline/bucket"
)

type campaignCommand struct {
	File   string `arg:"" placeholder:"FILE.yaml" help:"What is to be measured."`
	DryRun bool   `name:"dry-run" help:"Print the plan and what of it is done; run nothing, write nothing."`
	Emit   string `default:"" enum:",slurm,k8s" placeholder:"WHERE" help:"Write the jobs for slurm or k8s (Kubernetes) instead of running them here, one file a board."`
	Out    string `placeholder:"DIR" help:"Dataset to write into (default: the file's out, else datasets)."`
	Output string `short:"o" default:"." placeholder:"DIR" help:"Folder for the jobs of --emit (default: ${default})."`
	Board  string `placeholder:"NAME" help:"Only the runs on this board of the file."`
	Block  int    `default:"-1" placeholder:"N" help:"Only the N-th of the board's blocks, from 0 on: a job's share."`
}

// Help is printed under the flags.
func (*campaignCommand) Help() string {
	return `One run for each board, model, workload, size and repetition, in random order; what is committed already is left out, so the
same command goes on with a campaign that was stopped:

  name: a10s                       # runs are called a10s.BOARD-MODEL-WORKLOAD-SIZE-REPETITION
  boards: [auto]
  models:
    - model: meta-llama/Llama-3.1-8B-Instruct
      endpoint: http://127.0.0.1:8000/v1
      serve: {command: [vllm, serve, meta-llama/Llama-3.1-8B-Instruct]}
  sizes: [10, 100, 1000]
  repetitions: 3
  collect: {prompts: 20}           # any flag of tracer collect

docs/campaigns.md has every key.`
}

// Run carries the campaign out, or says what it would do.
func (c *campaignCommand) Run(t *terminal, l *layers) error {
	file, err := campaign.Read(c.File)
	if err != nil {
		return usage("%w", err)
	}
	if c.Out != "" {
		file.Into(c.Out)
	}
	if err := checkFile(file, l); err != nil {
		return err
	}
	blocks, err := c.chosen(file)
	if err != nil {
		return err
	}
	if c.Emit != "" && bucket.IsRemote(file.Out) { // the jobs reach the store, this host may not
		return c.emit(t, file)
	}
	ctx, stop := interruptible()
	measured, err := t.measuredOf(ctx, file)
	err = stopped(ctx, err)
	if stop(); err != nil {
		return err
	}
	if err := measured.fits(blocks, l); err != nil {
		return err
	}
	r := &campaigning{terminal: t, layers: l, file: file, path: c.File, blocks: blocks, measured: measured, over: map[string]float64{}}
	if c.Emit != "" {
		return c.emit(t, file)
	}
	if err := r.tellBoards(); err != nil {
		return err
	}
	if c.DryRun {
		return r.printPlan()
	}
	return r.run()
}

// chosen are the blocks that are asked for.
func (c *campaignCommand) chosen(file *campaign.File) ([]campaign.Block, error) {
	blocks := file.Blocks()
	if c.Board != "" {
		blocks = slices.DeleteFunc(blocks, func(b campaign.Block) bool { return b.Board.Name != c.Board })
		if len(blocks) == 0 {
			return nil, usage("--board %s: %s has no runs on a board of that name", c.Board, c.File)
		}
	}
	if c.Block == -1 {
		return blocks, nil
	}
	if c.Block < 0 || c.Block >= len(blocks) {
		return nil, usage("--block %d: there are %d blocks, counted from 0", c.Block, len(blocks))
	}
	return blocks[c.Block : c.Block+1], nil
}

// fits refuses a file that asks for other runs under the names of those that are there.
func (m *measured) fits(blocks []campaign.Block, l *layers) error {
	var found []error
	for _, b := range blocks {
		for i := range b.Cells {
			c := &b.Cells[i]
			theirs := m.options[m.file.RunID(c)]
			if theirs == nil {
				continue
			}
			_, ours, err := parseCollect(m.file.Arguments(c), l)
			if err != nil {
				return err
			}
			for _, name := range slices.Sorted(maps.Keys(ours)) {
				had, known := theirs[name]
				if known && had != ours[name] && !slices.Contains(mayChange, name) && (name != "model" || ours[name] != "") {
					found = append(found, fmt.Errorf("run %s in %s was measured with --%s %q, and the file asks for %q; give the campaign another name, or another out", m.file.RunID(c), m.file.Out, name, had, ours[name]))
				}
			}
		}
	}
	if len(found) > 1 {
		found = append(found[:1], fmt.Errorf("%d more are alike", len(found)-1))
	}
	if len(found) > 0 {
		return &codedError{exitConflict, errors.Join(found...)}
	}
	return nil
}

// logs is the folder for what runs and servers say.
func logs(file *campaign.File) string {
	switch {
	case file.Logs != "":
		return file.Logs
	case strings.Contains(file.Out, "://"):
		return file.Name + "-logs"
	}
	return filepath.Join(file.Out, "_tracer", "campaign", file.Name)
}
