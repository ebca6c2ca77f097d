// Package rehearsal records runs that never were, through the pipeline as real ones go, in no time: boards with a power
// sensor and a counter under a load that is told. What reads datasets is tested with them.
package rehearsal

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/schema"
)

// Run is what is recorded: each board is read every Period while Requests prompts, of both workloads in turn, are answered.
type Run struct {
	ID       string
	Boards   int
	Requests int
	Period   time.Duration
	Start    time.Duration // on CLOCK_MONOTONIC
	Overlap  bool          // each second request begins before the one before it is over
	Failures bool          // one request is refused, one breaks off, one is answered from a cache
	Troubles bool          // in request 4 the first board is lost for a while, in 6 clocks are held down, in 8 the wall clock steps
	Stuck    bool          // the power sensors stand still from the third request on
	Busy     bool          // somebody else works on the boards before the first request
}

const (
	ms      = int64(time.Millisecond)
	refresh = 100 * ms // of the power sensor
	window  = 25 * ms
	model   = "meta-llama/Llama-3.1-8B"
	tail    = 800 * ms // idle, at the end
)

// level is the boards' power from an instant on.
type level struct {
	fromNS int64
	watts  float64
	joules float64 // until then
}

type load struct {
	*Run
	rng     *rand.Rand
	run     *schema.Run
	prompts []schema.Prompt
	spans   []schema.Span
	levels  []level
	nowNS   int64
}

// Record writes the run into a dataset.
func Record(dir string, r Run) error {
	l := &load{Run: &r, rng: rand.New(rand.NewPCG(uint64(len(r.ID)), uint64(r.Start))), prompts: corpus(), nowNS: int64(r.Start)}
	l.run = &schema.Run{
		ID: r.ID, Host: "rehearsal", TracerVersion: "rehearsal", CorpusID: schema.CorpusID(l.prompts), Tokenizer: "sim:" + model, Template: schema.Some(int32(3)),
		Simulated: true, Model: model, Server: "sim", Endpoint: "http://127.0.0.1:8000/v1", Concurrency: 1, Kernel: "none", Status: schema.StatusComplete,
		Start: pair(l.nowNS), Clock: clock.Anchor(),
	}
	l.play()
	l.run.End = pair(l.nowNS)
	return l.record(dir)
}

func pair(ns int64) clock.Pair {
	return clock.Pair{MonotonicNS: ns, WallNS: clock.Anchor().Wall(ns).UnixNano()}
}

func corpus() (prompts []schema.Prompt) {
	for i := range 8 {
		p := schema.Prompt{
			Workload: schema.WorkloadPrefill, TargetTokens: 500, TextTokens: 500, MaxTokens: 16, Tokenizer: "sim:" + model, Source: "builtin",
			Text: fmt.Sprintf("A long text, number %d. Summarize in 1 word.", i),
		}
		if i%2 == 1 {
			p.Workload, p.TargetTokens, p.TextTokens, p.MaxTokens, p.ExactLength = schema.WorkloadDecode, 100, 9, 100, true
			p.Text = fmt.Sprintf("Generate a 100 word story about element %d", i)
		}
		p.ID = fmt.Sprintf("%s-%05d-%04d", p.Workload, p.TargetTokens, i/2)
		sum := sha256.Sum256([]byte(p.Text))
		p.SHA256 = hex.EncodeToString(sum[:])
		prompts = append(prompts, p)
	}
	return prompts
}

// play sends the prompts and notes what the boards draw.
func (l *load) play() {
	l.draw(60)
	l.nowNS += 2000 * ms
	for i := range l.Requests {
		l.ask(i)
		l.nowNS += 150*ms + l.rng.Int64N(100*ms)
	}
	l.nowNS += tail
}

// draw changes the boards' power.
func (l *load) draw(watts float64) {
	next := level{fromNS: l.nowNS, watts: watts}
	if n := len(l.levels); n > 0 {
		next.joules = l.at(l.nowNS)
	}
	l.levels = append(l.levels, next)
}

// at is the energy until an instant after the last level's beginning.
func (l *load) at(ns int64) float64 {
	last := l.levels[len(l.levels)-1]
	return last.joules + last.watts*float64(ns-last.fromNS)/1e9
}

func (l *load) ask(i int) {
	p := &l.prompts[i%len(l.prompts)]
	s := schema.Span{
		RequestID: fmt.Sprintf("%s-%06d", l.ID, i+1), Prompt: p, LLM: model, Model: model, Endpoint: l.run.Endpoint, Server: "sim", Warmup: i == 0, Attempt: 1, Concurrency: 1,
		TextTokens: p.TextTokens, InputTokens: schema.Some(p.TextTokens + 3), OutputTokensRequested: schema.Some(p.MaxTokens), OutputTokens: schema.Some(int32(2)),
		TokenCountSource: "usage", FinishReason: "stop", HTTPStatus: schema.Some(int32(200)), StartNS: l.nowNS,
	}
	prefill, decode := 300*ms+l.rng.Int64N(50*ms), 60*ms
	if p.Workload == schema.WorkloadDecode {
		prefill, decode = 40*ms, 900*ms+l.rng.Int64N(200*ms)
		s.OutputTokens = schema.Some(p.MaxTokens)
	}
	l.draw(250)
	l.nowNS += prefill
	s.FirstTokenNS = schema.Some(l.nowNS)
	l.draw(180)
	l.nowNS += decode
	s.LastTokenNS = schema.Some(l.nowNS)
	l.draw(60)
	l.nowNS += 2 * ms
	s.EndNS = l.nowNS
	if l.Failures {
		l.spoil(&s, i)
	}
	if l.Overlap && i%2 == 1 {
		s.StartNS -= 400 * ms
	}
	s.Invalid = s.Reasons(schema.Asked{Template: l.run.Template, Exactly: p.ExactLength})
	l.spans = append(l.spans, s)
}

func (l *load) spoil(s *schema.Span, i int) {
	switch i {
	case 3:
		s.ErrorType, s.GivenUp, s.OutputTokens = schema.ErrorStreamBroken, true, schema.Opt[int32]{}
	case 4:
		s.ErrorType, s.HTTPStatus, s.InputTokens, s.OutputTokens = "http_500", schema.Some(int32(500)), schema.Opt[int32]{}, schema.Opt[int32]{}
		s.FirstTokenNS, s.LastTokenNS = schema.Opt[int64]{}, schema.Opt[int64]{}
	case 5:
		s.CachedInputTokens = schema.Some(int32(4))
	}
}

func (l *load) record(dir string) error {
	readings, spans := ring.New[schema.Reading](1<<16), ring.New[schema.SpanEvent](len(l.spans)+1)
	boards := make([]schema.Board, l.Boards)
	for i := range boards {
		boards[i] = schema.Board{
			Index: int32(i), UUID: fmt.Sprintf("GPU-%08x-rehearsal", 7-i), Name: "sim-A10", Architecture: "ampere", Simulated: true, PowerScope: schema.PowerScopeGPU,
			Power: schema.Sensor{Period: time.Duration(refresh), Window: time.Duration(window), Provenance: "rehearsal"},
		}
	}
	p, err := pipeline.Open(pipeline.Config{
		Dir: dir, Run: l.run, Boards: boards, Prompts: l.prompts, Readings: readings, Spans: []*ring.SPSC[schema.SpanEvent]{spans},
	})
	if err != nil {
		return err
	}
	for i := range l.spans {
		spans.Push(&schema.SpanEvent{Span: &l.spans[i]})
	}
	var collector conc.WaitGroup
	done := make(chan struct{})
	var failed error
	collector.Go(func() { failed = p.Collect(done, func(error) {}) })
	sampling := l.read(boards, readings)
	for i := range sampling {
		if l.Troubles {
			sampling[i].ClockSteps = []schema.ClockStep{{FromNS: l.spans[7].StartNS + 100*ms, ToNS: l.spans[7].StartNS + 110*ms, Step: time.Second}}
		}
	}
	close(done)
	collector.Wait()
	if failed != nil {
		return failed
	}
	_, err = p.Commit(sampling, "rehearsal")
	return err
}

// during is the request that is in flight at an instant, by its number from 0; -1 where none is.
func (l *load) during(ns int64) int {
	return slices.IndexFunc(l.spans, func(s schema.Span) bool { return s.StartNS <= ns && ns < s.EndNS })
}

// read reads the boards, one after the other in each slot.
func (l *load) read(boards []schema.Board, to *ring.SPSC[schema.Reading]) []schema.Sampling {
	sampling := make([]schema.Sampling, len(boards))
	shown := make([]float32, len(boards))
	at := 0 // the level that holds
	between := func(ns int64) float64 {
		k := at
		for k > 0 && l.levels[k].fromNS > ns {
			k--
		}
		return l.levels[k].joules + l.levels[k].watts*float64(ns-l.levels[k].fromNS)/1e9
	}
	slot, lost := 0, schema.Gap{Why: schema.GapLost}
	for ns := int64(l.Start) + 200*ms; ns < l.nowNS; ns += int64(l.Period) + l.rng.Int64N(int64(l.Period)/25+1) - int64(l.Period)/50 {
		for at+1 < len(l.levels) && l.levels[at+1].fromNS <= ns {
			at++
		}
		busy := int32(0) // before the first request
		if at > 0 || l.Busy {
			busy = 50
		}
		in := -1
		if l.Troubles {
			in = l.during(ns)
		}
		for i := range boards {
			own := ns + int64(i)*1000
			if i == 0 && in == 3 && ns > l.spans[in].StartNS+200*ms && ns < l.spans[in].StartNS+500*ms {
				continue
			}
			r := schema.Reading{Board: int32(i), StartNS: own, EndNS: own + 400, GPUUtilPct: schema.Some(busy), SMClockMHz: schema.Some(int32(1410))}
			update := own - own%refresh - int64(i)*7*ms
			w := float32((between(update)-between(update-window))/float64(window)*1e9) + float32(i)
			if l.Stuck && len(l.spans) > 2 && own > l.spans[2].StartNS {
				w = shown[i]
			}
			r.PowerInstantW, r.PowerIsNew = schema.Some(w), schema.Opt[bool]{V: w != shown[i], OK: slot > 0}
			shown[i] = w
			if slot%20 == 0 {
				r.EnergyTotalJ, r.TemperatureC = schema.Some(1000+between(own)+float64(i)*float64(own-int64(l.Start))/1e9), schema.Some(int32(50))
			}
			if slot%10 == 0 {
				r.Throttle = schema.Some(int64(0))
				if in == 5 {
					r.Throttle.V = 0x8
				}
			}
			if in == 3 && i == 0 {
				if ns <= l.spans[in].StartNS+200*ms {
					lost.FromNS = r.MidNS()
				} else if lost.ToNS == 0 {
					lost.ToNS = r.MidNS()
					sampling[i].Gaps = append(sampling[i].Gaps, lost)
				}
			}
			for !to.Push(&r) { //nolint:revive // the collector empties the ring every 20 ms
			}
			sampling[i].Readings++
		}
		slot++
	}
	return sampling
}
