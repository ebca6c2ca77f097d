package pipeline

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

const began = int64(1e18) // later than the making of the simulated board

// measured is a run of 12 requests on a simulated A10, read every 20 ms: prefill of 150 ms at 140 W, decode of 800 ms at
// 90 W, and 200 ms between them at 45 W. change may spoil the run before it is collected.
func measured(t *testing.T, change func(c *Config, requests []*schema.Span, readings []schema.Reading)) (*Pipeline, *estimates, *sim.Board) {
	t.Helper()
	kind, err := catalog.BoardByName("A10")
	if err != nil {
		t.Fatal(err)
	}
	board := sim.NewBoard(kind, 0)
	prompt := &schema.Prompt{ID: "p", Workload: schema.WorkloadPrefill, TargetTokens: 500}
	var requests []*schema.Span
	at := began
	does := func(watts float64, d time.Duration) int64 {
		board.Set(at, watts, 1, 0.5)
		at += int64(d)
		return at
	}
	does(45, 3*time.Second)
	for i := range 12 {
		start := at
		first := does(140, 150*time.Millisecond)
		last := does(90, 800*time.Millisecond)
		does(45, 200*time.Millisecond+time.Duration(i)*7*time.Millisecond)
		requests = append(requests, &schema.Span{
			RequestID: fmt.Sprint("r", i), Prompt: prompt, LLM: "m", StartNS: start, EndNS: last,
			FirstTokenNS: schema.Some(first), LastTokenNS: schema.Some(last),
		})
	}
	var readings []schema.Reading
	for slot, t := 0, began; t < at; slot++ {
		lanes := sampler.LanePower
		if slot%50 == 0 {
			lanes |= sampler.LaneSlow
		}
		r := schema.Reading{StartNS: t, EndNS: t}
		_ = board.ReadAt(t, lanes, &r) // no fault was ordered
		readings = append(readings, r)
		t += 20e6 + int64(slot%40)*1e5 // out of step with the sensor
	}
	c := Config{Dir: t.TempDir(), Run: &schema.Run{ID: "r", Host: "h"}, Boards: []schema.Board{board.Board()}}
	if change != nil {
		change(&c, requests, readings)
	}
	c.Readings = ring.New[schema.Reading](1024)
	events := ring.New[schema.SpanEvent](64)
	c.Spans = []*ring.SPSC[schema.SpanEvent]{events}
	p, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range requests {
		events.Push(&schema.SpanEvent{Span: s})
	}
	for i := range readings {
		if !c.Readings.Push(&readings[i]) {
			t.Fatal("the ring is full")
		}
	}
	if err := p.step(math.MaxInt64, true, nil); err != nil {
		t.Fatal(err)
	}
	p.judge(make([]schema.Sampling, len(p.Boards)))
	e := p.estimate()
	p.charge(e)
	return p, e, board
}

func TestRequestsGetTheEnergyOfTheirStages(t *testing.T) {
	p, e, board := measured(t, nil)
	for _, r := range p.requests {
		for what, c := range map[string]struct {
			got      schema.Energy
			from, to int64
		}{
			"prefill": {r.PrefillEnergy, r.StartNS, r.FirstTokenNS.V},
			"decode":  {r.DecodeEnergy, r.FirstTokenNS.V, r.LastTokenNS.V},
			"request": {r.Energy, r.StartNS, r.LastTokenNS.V},
		} {
			truth, _ := board.EnergyJ(c.from, c.to)
			if !c.got.J.OK || math.Abs(c.got.J.V/truth-1) > 0.02 {
				t.Errorf("%s: %s of %v J, truth %v", r.RequestID, what, c.got.J, truth)
			}
			if !(c.got.Lo.V < c.got.J.V && c.got.J.V < c.got.Hi.V) {
				t.Errorf("%s: %s in [%v, %v] about %v", r.RequestID, what, c.got.Lo.V, c.got.Hi.V, c.got.J.V)
			}
		}
		if sum := r.PrefillEnergy.J.V + r.DecodeEnergy.J.V; math.Abs(sum-r.Energy.J.V) > 1e-9*sum {
			t.Errorf("%s: stages add up to %v J, the request is %v", r.RequestID, sum, r.Energy.J.V)
		}
		if r.EnergyMethod != energyMethod || r.DecodeEnergy.Updates.V < 6 || r.DecodeEnergy.Coverage.V < 0.99 || r.DecodeEnergy.Resolved != schema.Some(true) {
			t.Errorf("%s: method %q, decode %+v", r.RequestID, r.EnergyMethod, r.DecodeEnergy)
		}
	}
	a := p.account(e, 0)
	total, _ := board.EnergyJ(e.stretches[0].from, e.stretches[len(e.stretches)-1].to)
	var sum float64
	for _, j := range a.Stages {
		sum += j
	}
	if math.Abs(sum/total-1) > 0.005 {
		t.Errorf("stages add up to %v J, the run was %v", sum, total)
	}
	if !a.ClosurePct.OK || math.Abs(a.ClosurePct.V) > 1 || len(a.Reasons) != 0 {
		t.Errorf("closure %+v", a)
	}
}

func TestFoldsHoldTheValidRequestsOfASize(t *testing.T) {
	p, e, board := measured(t, func(_ *Config, requests []*schema.Span, _ []schema.Reading) {
		requests[0].Warmup = true
		requests[1].Invalid = []string{schema.ReasonPrefixCacheHit}
	})
	folds := p.folds(e)
	if len(folds) != 2 || folds[0].Stage != schema.StageDecode || folds[1].Stage != schema.StagePrefill {
		t.Fatalf("folds %+v", folds)
	}
	var truth float64
	for _, r := range p.requests[2:] {
		j, _ := board.EnergyJ(r.StartNS, r.FirstTokenNS.V)
		truth += j / 10
	}
	f := folds[1]
	if f.Requests != 10 || f.Resolved < 3 || f.Updates < 10 || math.Abs(f.DurationS-0.15) > 1e-6 || math.Abs(f.Energy.J.V/truth-1) > 0.01 {
		t.Errorf("prefill folded to %+v, truth %v J", f, truth)
	}
	if n := len(f.CurveW); n == 0 || math.Abs(f.CurveW[n/2]-140) > 3 || math.Abs(f.CurveStepS*float64(n)-0.15) > 1e-6 {
		t.Errorf("curve of %v s steps: %v", f.CurveStepS, f.CurveW)
	}
}

func TestEnergiesThatCannotBeToldAreNull(t *testing.T) {
	for name, change := range map[string]func(c *Config, requests []*schema.Span, readings []schema.Reading){
		"a running mean": func(c *Config, _ []*schema.Span, _ []schema.Reading) {
			c.Boards[0].Power.Window, c.Boards[0].Power.Average = time.Second, true
		},
		"no power": func(_ *Config, _ []*schema.Span, readings []schema.Reading) {
			for i := range readings {
				readings[i].PowerInstantW = schema.Opt[float32]{}
			}
		},
		"overlap": func(_ *Config, requests []*schema.Span, _ []schema.Reading) {
			for i := range requests[:len(requests)-1] {
				requests[i].EndNS = requests[i+1].StartNS + 1
			}
		},
		"failed": func(_ *Config, requests []*schema.Span, _ []schema.Reading) {
			for _, r := range requests {
				r.ErrorType = "http_500"
			}
		},
	} {
		p, _, _ := measured(t, change)
		for _, r := range p.requests {
			if r.PrefillEnergy.J.OK || r.DecodeEnergy.J.OK || r.Energy.J.OK || r.EnergyMethod != "" {
				t.Errorf("%s: %s has %+v by %q", name, r.RequestID, r.Energy, r.EnergyMethod)
			}
		}
	}
}

func TestTheCounterIsHeldAgainstTheStages(t *testing.T) {
	counter := func(readings []schema.Reading, at func(i int, j float64) float64) {
		for i := range readings {
			if readings[i].EnergyTotalJ.OK {
				readings[i].EnergyTotalJ.V = at(i, readings[i].EnergyTotalJ.V)
			}
		}
	}
	for name, c := range map[string]struct {
		change  func(c *Config, _ []*schema.Span, readings []schema.Reading)
		closure bool
		reasons []string
	}{
		"a counter of another opinion": {
			func(_ *Config, _ []*schema.Span, readings []schema.Reading) {
				counter(readings, func(_ int, j float64) float64 { return 1.2 * j })
			}, true, []string{schema.ReasonClosure},
		},
		"a driver loaded anew": {
			func(_ *Config, _ []*schema.Span, readings []schema.Reading) {
				counter(readings, func(i int, j float64) float64 {
					if i > len(readings)/2 {
						return j - 1e5
					}
					return j
				})
			}, false, nil,
		},
		"a module's power": {
			func(c *Config, _ []*schema.Span, _ []schema.Reading) {
				c.Boards[0].PowerScope = schema.PowerScopeModule
			},
			false, nil,
		},
	} {
		p, e, _ := measured(t, c.change)
		if a := p.account(e, 0); a.ClosurePct.OK != c.closure || !slices.Equal(a.Reasons, c.reasons) {
			t.Errorf("%s: closure %+v, reasons %v", name, a.ClosurePct, a.Reasons)
		}
	}
}

func TestAnUncertainGainWidensEveryInterval(t *testing.T) {
	narrow, _, _ := measured(t, nil)
	wide, _, _ := measured(t, func(c *Config, _ []*schema.Span, _ []schema.Reading) { c.Boards[0].Power.GainError = 0.06 })
	for i := range narrow.requests {
		n, w := narrow.requests[i].Energy, wide.requests[i].Energy
		if n.J != w.J || w.Hi.V-w.J.V < 0.06*w.J.V || n.Hi.V-n.J.V > 0.02*n.J.V {
			t.Errorf("request %d: %+v and %+v", i, n, w)
		}
	}
}

func TestTheTokensOfAPromptAreOfTheStretchThatBeginsWithItsRequest(t *testing.T) {
	for name, c := range map[string]struct {
		span schema.Span
		want int
	}{
		"counted by the server": {schema.Span{TextTokens: 40, InputTokens: schema.Some[int32](50)}, 50},
		"counted by the run":    {schema.Span{TextTokens: 40}, 40},
		"begun later":           {schema.Span{TextTokens: 40, PrefillStartNS: schema.Some[int64](150)}, 0},
	} {
		s := c.span
		s.RequestID, s.Prompt, s.StartNS, s.EndNS = "r", &schema.Prompt{ID: "p"}, 100, 300
		s.FirstTokenNS, s.LastTokenNS = schema.Some[int64](200), schema.Some[int64](300)
		for _, stretch := range stretches([]schema.Request{{Span: s}}, 0, 400) {
			want := 0
			if stretch.label.stage == schema.StagePrefill {
				want = c.want
			}
			if got := stretch.tokens(); got != want {
				t.Errorf("%s: the stretch from %d to %d of %s has %d tokens, want %d", name, stretch.from, stretch.to, stretch.label.stage, got, want)
			}
		}
	}
}

func TestAPrefillsBeginningIsToldWhereTheServerTimedIt(t *testing.T) {
	prompt := &schema.Prompt{ID: "p"}
	for name, c := range map[string]struct {
		prefillStart schema.Opt[int64]
		told         bool
	}{
		"timed":                          {schema.Some[int64](150), true},
		"timed to have begun as it came": {schema.Some[int64](100), false},
		"not timed":                      {schema.Opt[int64]{}, false},
	} {
		request := schema.Request{Span: schema.Span{
			RequestID: "r", Prompt: prompt, StartNS: 100, EndNS: 300, PrefillStartNS: c.prefillStart,
			FirstTokenNS: schema.Some[int64](200), LastTokenNS: schema.Some[int64](300),
		}}
		for _, s := range stretches([]schema.Request{request}, 0, 400) {
			if want := c.told && s.label.stage == schema.StagePrefill; s.told() != want {
				t.Errorf("%s: the stretch from %d to %d of %s is told: %v", name, s.from, s.to, s.label.stage, s.told())
			}
		}
	}
}
