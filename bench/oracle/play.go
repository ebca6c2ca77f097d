package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	nebula "github.com/llm-tracer/tracer/nebula/sim"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/sampler/sim/load"
	"github.com/llm-tracer/tracer/schema"
)

// origin is later than the making of any simulated board: loads play in a time of their own.
const origin = int64(1e18)

// board is a board of the catalog. Where the catalog has none with such a sensor, the sensor is another's.
type board struct {
	name, kind     string
	period, window time.Duration // 0: the catalog's
}

var boards = []board{
	{name: "A100-40 (100/25)", kind: "A100-40"},
	{name: "H100-SXM (100/25)", kind: "H100-SXM"},
	{name: "A10 (100/100)", kind: "A10"},
	{name: "A100-40 with V100's sensor (20/10)", kind: "A100-40", period: 20 * time.Millisecond, window: 10 * time.Millisecond},
}

// on puts a load on the board; the sensor's phase, the load and the readings' lateness follow from the seed.
func (b *board) on(seed uint64) (*load.Load, error) {
	r := rand.New(rand.NewPCG(seed, 1))
	spec, err := load.Spec(b.kind, int(seed), r)
	if err != nil {
		return nil, err
	}
	if b.period > 0 {
		s := spec.Sensors[sim.PowerInstant]
		s.Period, s.Window, s.Phase = b.period, b.window, s.Phase%b.period
		spec.Sensors[sim.PowerInstant] = s
	}
	script, err := sim.New(spec)
	if err != nil {
		return nil, err
	}
	return load.On(script.Boards()[0], r, origin), nil
}

// asked is a question of the study: some stages whose energy is estimated together.
type asked struct {
	what   string // its row
	stages []int
}

// alike is by how much the levels of one kind differ, evenly, to either side.
const alike = 0.01

// conversations is requests of which no two are alike, prefills of 60 to 400 ms; and what their levels are drawn from.
func conversations(l *load.Load) (questions []asked, of func(int) drawn) {
	l.Conversations(60, 60, 400)
	limit := l.Board().Spec().PowerLimitW
	for _, i := range l.Requests() {
		questions = append(questions, asked{"prefill, 60 to 400 ms", []int{i}}, asked{"request, 60 to 400 ms", []int{i, i + 1}})
	}
	return questions, func(stage int) drawn {
		switch l.Stages[stage].Stage {
		case schema.StagePrefill:
			return even(0.75*limit, 0.98*limit)
		case schema.StageDecode:
			return even(0.5*limit, 0.65*limit)
		case schema.StageIdle, schema.StageMixed:
		}
		return drawn{sd: never, group: 1}
	}
}

// never is as good as no scatter at all, in W.
const never = 1e-3

func even(lo, hi float64) drawn { return drawn{mean: (lo + hi) / 2, sd: (hi - lo) / math.Sqrt(12)} }

// sizes are the tokens of a prompt or of an answer.
var sizes = []int{10, 100, 1000, 10_000}

// Requests of each size: answers of 10,000 tokens take minutes.
func repetitions(size int) int {
	if size == 10_000 {
		return 4
	}
	return 12
}

const (
	instructionTokens = 12 // "Summarize in 1 word." and its template
	storyTokens       = 20 // a prompt that asks for a story
	wordTokens        = 2
)

// bySize is what collect does: prompts of each size that are answered with a word, and short ones that are answered with
// a text of each size, by the timing and the powers of the simulated server.
func bySize(l *load.Load) (questions []asked, of func(int) drawn, err error) {
	b, err := catalog.BoardByName(l.Board().Spec().Name[len("sim-"):])
	if err != nil {
		return nil, nil, err
	}
	m, err := catalog.ModelByName(catalog.DefaultModel)
	if err != nil {
		return nil, nil, err
	}
	timing, power := nebula.NewTiming(b, m), nebula.NewPower(b, m)
	idle, kinds := power.Idle().PowerW, 0
	l.Does(idle, 2000, schema.StageIdle, 0)
	for _, decode := range []bool{false, true} {
		for _, size := range sizes {
			prompt, answer := size+instructionTokens, wordTokens
			stage, workload := 0, "prefill of %d tokens"
			if decode {
				prompt, answer = storyTokens, size
				stage, workload = 1, "decode of %d tokens"
			}
			ask, tell := power.Prefill(prompt).PowerW, power.Decode(1, prompt+answer/2).PowerW
			prefill := timing.Prefill(prompt)
			answering := timing.Request(prompt, answer) - prefill
			for range repetitions(size) {
				l.Does(ask*l.Between(1-alike, 1+alike), prefill.Seconds()*1e3, schema.StagePrefill, kinds+1)
				l.Does(tell*l.Between(1-alike, 1+alike), answering.Seconds()*1e3, schema.StageDecode, kinds+2)
				l.Does(idle, l.Between(150, 250), schema.StageIdle, 0)
				first := len(l.Stages) - 3
				questions = append(questions, asked{fmt.Sprintf(workload, size), []int{first + stage}}, asked{fmt.Sprintf("request, "+workload, size), []int{first, first + 1}})
			}
			kinds += 2
		}
	}
	limit := l.Board().Spec().PowerLimitW
	return questions, func(stage int) drawn {
		kind := l.Stages[stage].Kind
		if kind == 0 {
			return drawn{sd: never, group: 1}
		}
		return drawn{sd: 0.7 * limit * alike / math.Sqrt(3), group: kind + 1}
	}, nil
}
