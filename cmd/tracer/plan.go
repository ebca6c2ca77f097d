package main

import (
	"fmt"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	servesim "github.com/llm-tracer/tracer/nebula/sim"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

const (
	// What an unknown server is assumed to do, for the plan's duration only: an 8B model on an A10-class board.
	assumedBoard = "A10"
	// bytesPerRow is what a sample takes in Parquet with room to spare (make bench measures about 7).
	bytesPerRow = 12
	// A file's footer and schema, and a prompt's text, compressed.
	bytesPerFile  = 16 << 10
	bytesPerToken = 3
)

// runPlan is what collect would do.
type runPlan struct {
	Requests    int           `json:"requests"`
	Warmup      int           `json:"warmup_requests"`
	InputTokens int64         `json:"input_tokens"`
	MaxOutput   int64         `json:"max_output_tokens"`
	Boards      []string      `json:"boards"`
	Sampling    string        `json:"sampling"`
	Expected    time.Duration `json:"expected_ns"`
	Assumption  string        `json:"expected_assumes"`
	Rows        int64         `json:"rows"`
	DiskBytes   int64         `json:"disk_bytes"`
	FreeBytes   int64         `json:"free_bytes,omitempty"`
	RunID       string        `json:"run_id"`
	Dataset     string        `json:"dataset"`
}

func (c *collect) printPlan(t *terminal, b *boards, plan sampler.Plan, prompts, warmup []schema.Prompt) error {
	p, err := c.planned(b, plan.String(), 1/plan.Power.Seconds(), prompts, warmup)
	if err != nil {
		return err
	}
	return p.print(t, c.JSON)
}

// planned reckons with so many readings of each board a second.
func (c *collect) planned(b *boards, sampling string, hz float64, prompts, warmup []schema.Prompt) (runPlan, error) {
	p := runPlan{Requests: len(prompts), Warmup: len(warmup), Sampling: sampling, RunID: c.RunID, Dataset: c.Out}
	for _, f := range b.facts() {
		p.Boards = append(p.Boards, fmt.Sprintf("%d %s %s", f.Index, f.Name, f.UUID))
	}
	timing, assumption, err := c.timing(b)
	if err != nil {
		return p, err
	}
	p.Assumption = assumption
	for _, list := range [][]schema.Prompt{warmup, prompts} {
		for i := range list {
			p.InputTokens += int64(list[i].TextTokens)
			p.MaxOutput += int64(list[i].MaxTokens)
			out := int(list[i].MaxTokens)
			if list[i].Workload == schema.WorkloadPrefill {
				out = 2 // one word
			}
			p.Expected += timing.Request(int(list[i].TextTokens), out)
		}
	}
	p.Expected += time.Duration(p.Requests+p.Warmup) * c.Pause
	p.Expected = (c.Idle + settle + p.Expected/time.Duration(c.Concurrency)).Round(time.Second)
	p.Rows = int64(p.Expected.Seconds()*hz) * int64(len(p.Boards))
	p.DiskBytes = p.Rows*bytesPerRow + p.InputTokens*bytesPerToken + int64(3*len(p.Boards)+3)*bytesPerFile
	if c.Calibrate != calibrateOff && b.calibrations == nil && len(b.devices) > 0 {
		p.Expected += calibrationLength(c.Calibrate) + rested // without rows
	}
	if free, err := freeBytes(existing(c.Out)); err == nil {
		p.FreeBytes = free
	}
	return p, nil
}

func (p *runPlan) print(t *terminal, asJSON bool) error {
	if asJSON {
		return t.json(p)
	}
	fmt.Fprintf(t.out, "run        %s into %s\n", p.RunID, p.Dataset)
	for _, b := range p.Boards {
		fmt.Fprintf(t.out, "board      %s\n", b)
	}
	fmt.Fprintf(t.out, "requests   %d and %d for warm-up: %d tokens in, up to %d out\n", p.Requests, p.Warmup, p.InputTokens, p.MaxOutput)
	fmt.Fprintf(t.out, "sampling   %s\n", p.Sampling)
	fmt.Fprintf(t.out, "time       about %v (%s)\n", p.Expected, p.Assumption)
	_, err := fmt.Fprintf(t.out, "disk       about %.1f MB for %d rows; %.1f GB free there\n", float64(p.DiskBytes)/1e6, p.Rows, float64(p.FreeBytes)/1e9)
	return err
}

// timing is what the expected time is reckoned with.
func (c *collect) timing(b *boards) (servesim.Timing, string, error) {
	kind, name := b.kind, c.Model
	if b.simulated == nil {
		kind, _ = catalog.BoardByName(assumedBoard)
		name = ""
	}
	if name == "" {
		name = catalog.DefaultModel
	}
	model, err := catalog.ModelByName(name)
	if err != nil {
		return servesim.Timing{}, "", usage("--model: %w", err)
	}
	if b.simulated != nil {
		return servesim.NewTiming(kind, model), "the simulated server's own timing", nil
	}
	return servesim.NewTiming(kind, model), fmt.Sprintf("if the server is as fast as %s on one %s", model.Name, kind.Name), nil
}
