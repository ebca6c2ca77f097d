// Command big writes a dataset of as many sample rows as wanted, for measuring what reads it: runs of simulated boards that
// play in virtual time and are written by the pipeline itself, so that labels, energies, encodings, files and manifests are
// those of real traces. make big calls it.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/sampler/sim/load"
	"github.com/llm-tracer/tracer/schema"
)

// perRun is how many rows a run has: 42 minutes at 5 ms. A run is held in memory until it is written.
const perRun = 500_000

// generatedSHA256 is that of "generated", the text of every prompt.
var generatedSHA256 = fmt.Sprintf("%x", sha256.Sum256([]byte("generated")))

var (
	boards = []string{"A10", "A100-80", "H100-SXM"}
	sizes  = []int32{10, 50, 100, 500, 1000}
)

func main() {
	rows := flag.Int("rows", 1_000_000, "sample rows to write")
	out := flag.String("out", "", "dataset to write into")
	period := flag.Duration("period", 5*time.Millisecond, "between readings")
	first := flag.Int("first", 0, "number of the first run: a later call goes on with another")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := write(ctx, *out, *rows, *first, *period)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "big:", err)
		os.Exit(1)
	}
}

// write writes runs, board by board in turn, one after another in time.
func write(ctx context.Context, out string, rows, n int, period time.Duration) error {
	if out == "" || rows < 1 || n < 0 || period < time.Millisecond {
		return fmt.Errorf("give -out DIR, -rows of 1 or more, -period of 1ms or more")
	}
	from := clock.Now() + int64(time.Second)
	for ; rows > 0 && ctx.Err() == nil; n++ {
		r, err := newRun(n, from, min(rows, perRun), period)
		if err != nil {
			return err
		}
		if err := r.publish(out); err != nil {
			return fmt.Errorf("run %d: %w", n, err)
		}
		rows, from = rows-r.taken, r.end()
		if n%10 == 0 {
			fmt.Fprintf(os.Stderr, "big: %d rows left\n", rows)
		}
	}
	return ctx.Err()
}

// run is one board under one model server, from an instant on.
type run struct {
	id       string
	from, at int64 // CLOCK_MONOTONIC, ns: its beginning, and the next reading
	period   time.Duration
	board    *sim.Board
	catalog  catalog.Board
	load     *load.Load
	prompts  []schema.Prompt
	readings *ring.SPSC[schema.Reading]
	spans    *ring.SPSC[schema.SpanEvent]
	taken    int
	asked    int
	shown    float32 // the power sensor's value
}

func newRun(n int, from int64, rows int, period time.Duration) (*run, error) {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	kind := boards[n%len(boards)]
	spec, err := load.Spec(kind, n, rng)
	if err != nil {
		return nil, err
	}
	spec.CallCost = 0 // the calls' time is virtual too
	script, err := sim.New(spec)
	if err != nil {
		return nil, err
	}
	r := &run{
		id: fmt.Sprintf("big-%05d", n), from: from, at: from, period: period, board: script.Boards()[0],
		readings: ring.New[schema.Reading](perRun), spans: ring.New[schema.SpanEvent](1 << 14),
	}
	if r.catalog, err = catalog.BoardByName(kind); err != nil {
		return nil, err
	}
	for _, w := range []schema.Workload{schema.WorkloadPrefill, schema.WorkloadDecode} {
		for _, size := range sizes {
			r.prompts = append(r.prompts, schema.Prompt{ID: fmt.Sprintf("%s-%05d-0000", w, size), Workload: w, TargetTokens: size, Text: "generated", SHA256: generatedSHA256, Source: "builtin"})
		}
	}
	r.load = load.On(r.board, rng, from)
	r.load.Grain = 0.01 * spec.PowerLimitW
	r.load.Does(1.3*spec.IdleW, 5000, schema.StageIdle, 0)
	for r.taken < rows {
		r.ask(&r.prompts[r.asked%len(r.prompts)])
		if err := r.read(rows); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// ask plays one request: a prefill bound by arithmetic, a decode bound by memory, a pause.
func (r *run) ask(p *schema.Prompt) {
	in, out := p.TargetTokens, int32(2)
	if p.Workload == schema.WorkloadDecode {
		in, out = 17, p.TargetTokens
	}
	const params = 8.03e9 // Meta-Llama-3-8B, bf16
	prefill := 25 + float64(in)*2*params/(r.catalog.BF16TFLOPs*1e12*0.4)*1e3
	decode := float64(out-1) * 2 * params / (r.catalog.BandwidthGBs * 1e9 * 0.65) * 1e3
	_, start := r.load.Span()
	limit := r.catalog.TDPW
	r.load.Does(limit*r.load.Between(0.86, 0.90), prefill*r.load.Between(0.98, 1.02), schema.StagePrefill, 1)
	_, first := r.load.Span()
	r.load.Does(limit*r.load.Between(0.54, 0.58), decode*r.load.Between(0.98, 1.02), schema.StageDecode, 2)
	_, last := r.load.Span()
	r.load.Does(1.3*r.catalog.IdleW, r.load.Between(100, 300), schema.StageIdle, 0)
	r.asked++
	r.spans.Push(&schema.SpanEvent{Span: &schema.Span{
		RequestID: fmt.Sprintf("%s-%06d", r.id, r.asked), Prompt: p, LLM: catalog.DefaultModel, Server: "sim", Endpoint: "sim", Attempt: 1, Concurrency: 1,
		StartNS: start, FirstTokenNS: schema.Some(first), LastTokenNS: schema.Some(last), EndNS: last,
		TextTokens: in, InputTokens: schema.Some(in), OutputTokensRequested: schema.Some(out), OutputTokens: schema.Some(out), TokenCountSource: "usage",
		FinishReason: "length", HTTPStatus: schema.Some(int32(200)),
	}})
}

// read takes the readings up to where the load has been played.
func (r *run) read(rows int) error {
	slow, utilization := int(time.Second/r.period), max(1, int(100*time.Millisecond/r.period))
	for _, end := r.load.Span(); r.at < end && r.taken < rows; r.taken++ {
		lanes := sampler.LanePower
		if r.taken%utilization == 0 {
			lanes |= sampler.LaneUtilization
		}
		if r.taken%slow == 0 {
			lanes |= sampler.LaneSlow
		}
		reading := schema.Reading{StartNS: r.at, EndNS: r.at + 2000 + r.load.Rand.Int64N(3000)}
		if err := r.board.ReadAt(r.at, lanes, &reading); err != nil {
			return err
		}
		reading.PowerIsNew = schema.Some(reading.PowerInstantW.V != r.shown)
		r.shown = reading.PowerInstantW.V
		r.readings.Push(&reading)
		r.at += int64(r.period) + r.load.Rand.Int64N(100_000) - 50_000
	}
	return nil
}

// end is when the run is over: the last request was sent, whether or not its rows were still wanted.
func (r *run) end() int64 {
	_, played := r.load.Span()
	return max(r.at, played)
}

// publish writes the run, as collect does.
func (r *run) publish(out string) error {
	pair := func(ns int64) clock.Pair {
		return clock.Pair{MonotonicNS: ns, WallNS: clock.Anchor().Wall(ns).UnixNano()}
	}
	facts := r.board.Board()
	p, err := pipeline.Open(pipeline.Config{
		Dir: out, Boards: []schema.Board{facts}, Prompts: r.prompts, Readings: r.readings, Spans: []*ring.SPSC[schema.SpanEvent]{r.spans},
		Run: &schema.Run{
			ID: r.id, Host: "generated", Command: "scripts/big", CorpusID: schema.CorpusID(r.prompts), Simulated: true, Model: catalog.DefaultModel, Server: "sim", Endpoint: "sim",
			Concurrency: 1, PeriodAsked: r.period, Status: schema.StatusComplete, Clock: clock.Anchor(), Start: pair(r.from), End: pair(r.end()),
			Requests: int32(r.asked), Succeeded: int32(r.asked),
		},
	})
	if err != nil {
		return err
	}
	done := make(chan struct{})
	close(done)
	if err := p.Collect(done, func(error) {}); err != nil {
		return err
	}
	_, err = p.Commit([]schema.Sampling{{PowerPeriod: r.period, AchievedHz: 1 / r.period.Seconds(), Readings: int64(r.taken), IdlePowerW: schema.Some(1.3 * r.catalog.IdleW)}}, cmp.Or(os.Getenv("VERSION"), "generated"))
	return err
}
