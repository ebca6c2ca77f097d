package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/nebula/corpus"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// The periods that are compared beside the plan's: those of most tools (nvidia-smi's users take 100 ms, or 10).
const (
	slowPeriod = 100 * time.Millisecond
	fastPeriod = 10 * time.Millisecond
)

type overhead struct {
	target
	Blocks     int `default:"10" placeholder:"N" help:"Blocks at each period; each is a round of the comparison (default: ${default})."`
	Requests   int `default:"5" placeholder:"N" help:"Requests of each workload in a block (default: ${default})."`
	PromptSize int `name:"prompt-size" default:"500" placeholder:"N" help:"Tokens of a prefill prompt, for the time to first token (default: ${default})."`
	Size       int `default:"64" placeholder:"N" help:"Tokens of a decode answer, for the time per output token (default: ${default})."`
}

// Help is printed under the flags.
func (*overhead) Help() string {
	return `What sampling costs the server that you are about to trace, before the trace:

  tracer overhead --endpoint http://127.0.0.1:8000/v1 --out datasets

Each round sends one block of requests without sampling, one every 100 ms, one at the plan's period and one every 10 ms, in
random order. Traces of the same host, boards, driver, server and model carry the result for the plan's period in runs.`
}

// Run measures the overhead.
func (o *overhead) Run(t *terminal, l *layers) error {
	if err := within(
		bound{"--blocks", o.Blocks, analysis.LeastRounds + 1, 1000, ""},
		bound{"--requests", o.Requests, 2, 1000, ""},
		seconds("--silence", o.Silence, 1, 86_400),
		seconds("--patience", o.Patience, 1, 86_400),
	); err != nil {
		return err
	}
	if err := onlyHere("overhead", o.GPU); err != nil {
		return err
	}
	boards, period, profile, err := o.prepare(t)
	if err != nil {
		return err
	}
	defer boards.close()
	(&collect{target: o.target, Calibrate: calibrateAuto}).recall(t, boards)
	return o.compare(t, l, boards, period, profile)
}

func (o *overhead) compare(t *terminal, l *layers, boards *boards, period time.Duration, profile nebula.Profile) error {
	plan, err := sampler.PlanFor(boards.facts(), period)
	if err != nil {
		return usage("--period %s: %w", o.Period, err)
	}
	periods := comparedPeriods(plan.Power)
	prompts, warmup, err := o.corpus(len(periods))
	if err != nil {
		return err
	}
	blocks := o.shuffle(prompts, periods)
	c := &collect{target: o.target, Calibrate: calibrateOff, Concurrency: 1} // what is kept holds; nothing governs
	if o.DryRun {
		return o.printPlan(t, c, boards, periods, prompts, warmup)
	}
	trace := &trace{
		collect: c, terminal: t, layers: l, boards: boards, plan: plan, period: period, profile: profile, truth: o.truthPath(),
		requests: requests{corpus: slices.Concat(warmup, prompts), prompts: prompts, warmup: warmup},
		rhythm:   o.sampling(periods), release: func() {},
	}
	defer func() { trace.release() }()
	run := &overheadRun{trace: trace, blocks: blocks}
	manifest, err := trace.run(run.measure)
	if manifest == nil {
		return err
	}
	return errors.Join(err, o.report(t, trace, manifest))
}

// comparedPeriods begins with 0, no sampling, and goes from the longest to the shortest.
func comparedPeriods(planned time.Duration) []time.Duration {
	periods := []time.Duration{slowPeriod, planned, fastPeriod}
	slices.SortFunc(periods, func(a, b time.Duration) int { return int(b - a) })
	return append([]time.Duration{0}, slices.Compact(periods)...)
}

// corpus makes as many prompts as the blocks take, and a block's worth for the warm-up: all texts differ, or a prefix
// cache would answer. The prompts of a block are interleaved; all blocks of a round alike.
func (o *overhead) corpus(periods int) (prompts, warmup []schema.Prompt, err error) {
	perSize := o.Requests * (o.Blocks*periods + 1)
	seed := uint64(o.Seed)
	prefill, err := corpus.Build(context.Background(), corpus.Spec{Workloads: []schema.Workload{schema.WorkloadPrefill}, Sizes: []int{o.PromptSize}, PerSize: perSize, Seed: seed}, tokens.Default(), nil)
	if err != nil {
		return nil, nil, usage("--prompt-size: %w", err)
	}
	decode, err := corpus.Build(context.Background(), corpus.Spec{Workloads: []schema.Workload{schema.WorkloadDecode}, Sizes: []int{o.Size}, PerSize: perSize, Seed: seed, ExactLength: true}, tokens.Default(), nil)
	if err != nil {
		return nil, nil, usage("--size: %w", err)
	}
	for from := 0; from < perSize; from += o.Requests {
		round := uint64(from / o.Requests / periods)
		both := slices.Concat(prefill[from:from+o.Requests], decode[from:from+o.Requests])
		prompts = append(prompts, corpus.Order(both, seed+round)...)
	}
	blocks := len(prompts) - 2*o.Requests
	return prompts[:blocks], prompts[blocks:], nil
}

// block is a stretch of requests under one condition.
type block struct {
	schema.OverheadBlock
	prompts []schema.Prompt
}

// shuffle deals the prompts out to the blocks: every round holds each period once, in random order, so that heat and
// other users favour none.
func (o *overhead) shuffle(prompts []schema.Prompt, periods []time.Duration) []block {
	var blocks []block
	rng := rand.New(rand.NewPCG(uint64(o.Seed), 4))
	for round := range o.Blocks {
		for _, i := range rng.Perm(len(periods)) {
			b := block{prompts: prompts[:2*o.Requests]}
			b.Round, b.Period = schema.Some(int32(round+1)), periods[i]
			blocks, prompts = append(blocks, b), prompts[2*o.Requests:]
		}
	}
	return blocks
}

// sampling says how the boards are read.
func (o *overhead) sampling(periods []time.Duration) string {
	var all []string
	for _, p := range periods[1:] {
		all = append(all, p.String())
	}
	return fmt.Sprintf("%d rounds of blocks with power read never and every %s", o.Blocks, strings.Join(all, ", "))
}

func (o *overhead) printPlan(t *terminal, c *collect, b *boards, periods []time.Duration, prompts, warmup []schema.Prompt) error {
	hz := 0.0
	for _, p := range periods[1:] {
		hz += 1 / p.Seconds() / float64(len(periods))
	}
	p, err := c.planned(b, o.sampling(periods), hz, prompts, warmup)
	if err != nil {
		return err
	}
	return p.print(t, o.JSON)
}

// report prints what was found, read back from the files just published.
func (o *overhead) report(t *terminal, tr *trace, m *store.Manifest) error {
	lines, err := analysis.Dataset{Dir: o.Out}.Overhead(m.RunID)
	if err != nil {
		return fmt.Errorf("reading run %s back: %w", m.RunID, err)
	}
	if o.JSON {
		return t.json(struct {
			RunID     string                  `json:"run_id"`
			Simulated bool                    `json:"simulated"`
			Status    schema.Status           `json:"status"`
			Dataset   string                  `json:"dataset"`
			Files     []store.File            `json:"files"`
			Planned   time.Duration           `json:"period_planned_ns"`
			Periods   []analysis.OverheadLine `json:"periods"`
		}{m.RunID, tr.record.Simulated, m.Status, o.Out, m.Files, tr.plan.Power, lines})
	}
	tr.printHead(m)
	if err := analysis.PrintOverhead(t.out, lines, tr.plan.Power); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, `
change: of the mean latency, against the block of the same round without sampling; Student's t over the rounds.
An interval that holds 0 found no effect; one beyond the interval's ends is unlikely.
`)
	return err
}
