package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/nebula/corpus"
	"github.com/llm-tracer/tracer/schema"
)

// mostRepeats is how many repetitions of each prompt --min-stage-updates may add: past it a stage is too short for the
// sensor to be worth the wait.
const mostRepeats = 50

// size is what prompts are grouped by.
type size struct {
	workload schema.Workload
	tokens   int32
}

// tally is how long the stages of each size were that its prompts are there for: prefill of prefill prompts, decode of
// decode prompts.
type tally struct {
	mu   sync.Mutex
	of   map[size]time.Duration
	sent map[size]int
}

func (t *tally) note(s *schema.Span) {
	from, to := s.PrefillStartNS, s.FirstTokenNS
	if !from.OK {
		from = schema.Some(s.StartNS)
	}
	if s.Prompt.Workload == schema.WorkloadDecode {
		from, to = s.FirstTokenNS, s.LastTokenNS
	}
	if s.Warmup || s.ErrorType != "" || !from.OK || !to.OK {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of, t.sent = map[size]time.Duration{}, map[size]int{}
	}
	k := size{s.Prompt.Workload, s.Prompt.TargetTokens}
	t.of[k] += time.Duration(to.V - from.V)
	t.sent[k]++
}

// tallied is a sink that the tally looks over the shoulder of.
type tallied struct {
	nebula.EventSink
	tally *tally
}

// Push hands an event on.
func (s *tallied) Push(e *schema.SpanEvent) bool {
	if !s.EventSink.Push(e) {
		return false
	}
	if e.Span != nil {
		s.tally.note(e.Span)
	}
	return true
}

// repeat sends prompts again until the slowest power sensor has had the asked number of new values in each size's stage.
func (t *trace) repeat(ctx context.Context) error {
	if t.MinUpdates == 0 {
		return nil
	}
	var period time.Duration
	for _, b := range t.boards.facts() {
		period = max(period, b.Power.Period)
	}
	var more []schema.Prompt
	for _, k := range t.sizes() {
		again, err := t.again(ctx, k, period)
		if err != nil {
			return err
		}
		more = append(more, again...)
	}
	if len(more) == 0 {
		return nil
	}
	fmt.Fprintf(t.err, "%d more requests for %d new values of the power sensor in each size's stage\n", len(more), t.MinUpdates)
	if t.Order == "interleaved" {
		more = corpus.Order(more, uint64(t.Seed))
	}
	t.schedule.Warmup, t.schedule.Prompts = nil, t.pointers(more)
	return t.ask(ctx)
}

func (t *trace) sizes() (all []size) {
	for i := range t.corpus {
		if k := (size{t.corpus[i].Workload, t.corpus[i].TargetTokens}); !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	return all
}

// again is the repetitions that one size lacks: all its prompts so often, or as often as is sensible.
func (t *trace) again(ctx context.Context, k size, period time.Duration) ([]schema.Prompt, error) {
	t.tally.mu.Lock()
	spent, sent := t.tally.of[k], t.tally.sent[k]
	t.tally.mu.Unlock()
	missing := time.Duration(t.MinUpdates)*period - spent
	if missing <= 0 {
		return nil, nil
	}
	var prompts []schema.Prompt
	for i := range t.corpus {
		if k == (size{t.corpus[i].Workload, t.corpus[i].TargetTokens}) {
			prompts = append(prompts, t.corpus[i])
		}
	}
	times := math.Inf(1)
	if spent > 0 {
		times = math.Ceil(float64(missing) / (float64(spent) / float64(sent)) / float64(len(prompts)))
	}
	if times > mostRepeats {
		fmt.Fprintf(t.err, "%s at %d tokens: %d stages of %v together hold %d values of a sensor that has one every %v; %d are not to be had with %d times the prompts, so their energy keeps a wide interval\n",
			k.workload, k.tokens, sent, spent.Round(time.Millisecond), spent/period, period, t.MinUpdates, mostRepeats)
		times = mostRepeats
	}
	s := t.sending
	s.Sent, s.Repeat = max(t.Repeat, t.resumed.repeated(k)), int(times)
	return s.Prepare(ctx, prompts)
}
