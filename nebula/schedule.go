package nebula

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/sourcegraph/conc/pool"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

// EventSink takes a worker's events. Push copies the event and never blocks; it reports false when there is no room, and
// the worker then tries again: spans are not dropped.
type EventSink interface {
	Push(e *schema.SpanEvent) bool
}

// Schedule is which prompts are sent, and how. It may be run again, with other prompts, once Run has returned: request ids
// and counts go on.
type Schedule struct {
	RunID   string
	Warmup  []*schema.Prompt // sent and answered before the first of Prompts
	Prompts []*schema.Prompt
	Sinks   []EventSink // one for each worker: as many requests are in flight at once

	Gap          time.Duration // between a worker's requests, on the mean: half of it to one and a half, by chance; default none
	AfterAbandon time.Duration // after a request given up before its end; default schema.GivenUpSettle
	MaxFailures  int           // in a row, for each worker, before the run stops; default 5
	Patience     time.Duration // how long a server may be unreachable or overloaded before the run stops; default 5 min

	next     atomic.Int64 // of the prompts being sent
	sequence atomic.Int64 // of request ids
	breaker  breaker
	counters counters
}

type counters struct{ total, done, failed, inFlight, retries, input, output atomic.Int64 }

// Progress is how far a schedule has come.
type Progress struct {
	Total, Done, Failed, InFlight int64 // prompts, warm-ups included; Done includes Failed
	Retries                       int64
	InputTokens, OutputTokens     int64 // as far as the server counts

	Waiting time.Duration // for a server that is unreachable or overloaded
}

// Progress may be asked at any time.
func (s *Schedule) Progress() Progress {
	n := &s.counters
	return Progress{
		Total: n.total.Load(), Done: n.done.Load(), Failed: n.failed.Load(), InFlight: n.inFlight.Load(),
		Retries: n.retries.Load(), InputTokens: n.input.Load(), OutputTokens: n.output.Load(),
		Waiting: s.breaker.waiting(),
	}
}

// Run sends all prompts and returns when the last span has been handed over. Failed requests are rows, not errors: it
// returns an error when ctx ends, when there is no usable server (a *StopError), or when a sink takes nothing any more.
// While the server is unreachable or overloaded no prompt is given up: each in flight is asked again, later each time.
// When ctx ends, requests in flight are cancelled and their spans still handed over.
func (s *Schedule) Run(ctx context.Context, c *Client) error {
	if len(s.Sinks) == 0 {
		return errors.New("sending prompts: no sinks; give one for each worker")
	}
	setDefault(&s.AfterAbandon, schema.GivenUpSettle)
	setDefault(&s.MaxFailures, 5)
	setDefault(&s.Patience, DefaultPatience)
	s.counters.total.Add(int64(len(s.Warmup) + len(s.Prompts)))
	for _, batch := range []struct {
		prompts []*schema.Prompt
		warmup  bool
	}{{s.Warmup, true}, {s.Prompts, false}} {
		if err := s.send(ctx, c, batch.prompts, batch.warmup); err != nil {
			return err
		}
		if ctx.Err() != nil {
			p := s.Progress()
			return fmt.Errorf("sending prompts: stopped after %d of %d: %w", p.Done, p.Total, context.Cause(ctx))
		}
	}
	return nil
}

func (s *Schedule) send(ctx context.Context, c *Client, prompts []*schema.Prompt, warmup bool) error {
	s.next.Store(0)
	workers := pool.New().WithContext(ctx).WithCancelOnError().WithFirstError()
	for _, sink := range s.Sinks {
		w := &worker{s: s, c: c, sink: sink, warmup: warmup}
		workers.Go(func(ctx context.Context) error { return w.work(ctx, prompts) })
	}
	return workers.Wait()
}

// worker sends one request at a time. Its sink is its own: rings have one producer.
type worker struct {
	s      *Schedule
	c      *Client
	sink   EventSink
	warmup bool
	err    error // why the worker must stop
}

func (w *worker) work(ctx context.Context, prompts []*schema.Prompt) error {
	for ctx.Err() == nil {
		i := w.s.next.Add(1) - 1
		if i >= int64(len(prompts)) {
			return nil
		}
		reply := w.ask(ctx, prompts[i])
		if w.err != nil {
			return w.err
		}
		gap := time.Duration((0.5 + rand.Float64()) * float64(w.s.Gap))
		if reply.Span.GivenUp {
			gap = max(gap, w.s.AfterAbandon)
		}
		pause(ctx, gap)
	}
	return nil
}

// ask sends one prompt, with retries, and counts it.
func (w *worker) ask(ctx context.Context, p *schema.Prompt) *Reply {
	n := &w.s.counters
	n.inFlight.Add(1)
	defer n.inFlight.Add(-1)
	call := Call{
		RequestID:   fmt.Sprintf("%s-%06d", w.s.RunID, w.s.sequence.Add(1)),
		Concurrency: int32(len(w.s.Sinks)),
		Warmup:      w.warmup,
	}
	began := time.Now()
	reply := w.c.Ask(ctx, p, call, func(call Call) *Reply { return w.attempt(ctx, p, call, began) })
	span := reply.Span
	n.done.Add(1)
	if span.ErrorType != "" {
		n.failed.Add(1)
	}
	n.retries.Add(int64(span.Attempt - 1))
	n.input.Add(int64(span.InputTokens.V))
	n.output.Add(int64(span.OutputTokens.V))
	return reply
}

// attempt tells the pipeline that a request opens before the request exists, and hands its span over afterwards. The
// prompt was first sent when it began.
func (w *worker) attempt(ctx context.Context, p *schema.Prompt, call Call, began time.Time) *Reply {
	if w.err = w.push(ctx, &schema.SpanEvent{OpenNS: clock.Now(), Opening: w.c.opening(p, call)}); w.err != nil {
		return &Reply{Span: w.c.newSpan(p, call)} // never opened: there is no row to lose
	}
	call.heard = func(ns int64) { w.sink.Push(&schema.SpanEvent{FirstTokenNS: ns}) } // for who watches: a full ring may lose it
	reply := w.c.Send(ctx, p, call)
	w.err = w.push(ctx, &schema.SpanEvent{Span: reply.Span})
	if w.err == nil {
		w.err = w.s.breaker.weigh(reply, time.Since(began), w.s.MaxFailures*len(w.s.Sinks), w.s.Patience)
	}
	if w.err != nil {
		reply.Retry = RetryNever
	} else if reply.Retry != RetryNever && reply.Span.GivenUp {
		pause(ctx, w.s.AfterAbandon)
	}
	return reply
}

// Pushing to a full ring is tried again so often, and given up so long after the run was stopped.
const (
	pushAgain  = time.Millisecond
	pushGiveUp = 10 * time.Second
)

// push hands an event over, however long that takes: a ring has no wake-up for its producer. Only when the run has been
// stopped and still nobody makes room does it give up, and says so.
func (w *worker) push(ctx context.Context, e *schema.SpanEvent) error {
	var waited time.Duration // since the run was stopped
	for !w.sink.Push(e) {
		if ctx.Err() != nil {
			waited += pushAgain
		}
		if waited > pushGiveUp {
			return fmt.Errorf("handing over a request's span: nobody took it for %v after the run was stopped", pushGiveUp)
		}
		_ = pause(context.WithoutCancel(ctx), pushAgain)
	}
	return nil
}
