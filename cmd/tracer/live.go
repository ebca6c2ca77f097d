package main

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/schema"
)

const (
	historyStep = int64(500 * time.Millisecond) // of a board's history of power
	historyLong = 240                           // steps that are kept
	recently    = int64(time.Minute)
)

// liveRun is what a run in progress has journalled so far.
type liveRun struct {
	from   *journal.Follower
	boards []liveBoard
	now    int64          // CLOCK_MONOTONIC at the last journalled look
	begun  int64          // the first reading or request
	first  int64          // start of the first request that was no warm-up
	open   map[int]int64  // since when, by worker
	answer map[int]int64  // since when those decode that do
	spans  []*schema.Span // of the last minute, and the last
	total  int            // requests that the run will send, as far as that is known
	done   int
	failed int
	warmed int
	in     int64 // tokens, of all requests that succeeded
	out    int64
	end    *journal.End

	rows []schema.Reading // scratch
}

// liveBoard is what a board said last.
type liveBoard struct {
	power, limit   schema.Opt[float32]
	gpu, celsius   schema.Opt[int32]
	memory         schema.Opt[int64]
	history        []float64 // mean power by step, the last still growing
	step           int64
	stepW, stepped float64
}

func follow(path string) (*liveRun, error) {
	from, err := journal.Follow(path)
	if err != nil {
		return nil, err
	}
	l := &liveRun{from: from, boards: make([]liveBoard, len(from.Header.Boards)), open: map[int]int64{}, answer: map[int]int64{}}
	if job := from.Header.Job; job != nil {
		l.total = len(job.Prompts)
		if repeat, err := strconv.Atoi(job.Options["repeat"]); err == nil {
			l.total *= repeat
		}
	}
	for i, b := range from.Header.Boards {
		l.boards[i].limit = b.PowerLimitW
	}
	return l, nil
}

// read takes in what was journalled since.
func (l *liveRun) read() error {
	for {
		e, rows, err := l.from.Next(l.rows)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		l.rows = rows
		switch {
		case e.End != nil:
			l.end = e.End
		case e.Span != nil:
			delete(l.open, e.Worker)
			delete(l.answer, e.Worker)
			l.close(e.Span)
		case e.OpenNS != 0:
			l.open[e.Worker] = e.OpenNS
			delete(l.answer, e.Worker)
			l.see(e.OpenNS)
		case e.FirstTokenNS != 0:
			l.answer[e.Worker] = e.FirstTokenNS
			l.see(e.FirstTokenNS)
		default:
			l.see(e.Look.NS)
			for i := range rows {
				l.boards[rows[i].Board].add(&rows[i])
			}
		}
	}
}

func (l *liveRun) see(ns int64) {
	if l.begun == 0 {
		l.begun = ns
	}
	l.now = max(l.now, ns)
}

func (l *liveRun) close(s *schema.Span) {
	l.see(s.EndNS)
	l.spans = append(slices.DeleteFunc(l.spans, func(old *schema.Span) bool { return old.EndNS < l.now-recently }), s)
	switch {
	case s.Warmup:
		l.warmed++
		return
	case s.ErrorType != "":
		l.failed++
	default:
		l.done++
		l.in += int64(s.InputTokens.V)
		l.out += int64(s.OutputTokens.V)
	}
	if l.first == 0 {
		l.first = s.StartNS
	}
}

func (b *liveBoard) add(r *schema.Reading) {
	keep(&b.power, r.PowerInstantW)
	keep(&b.limit, r.PowerLimitW)
	keep(&b.gpu, r.GPUUtilPct)
	keep(&b.celsius, r.TemperatureC)
	keep(&b.memory, r.MemoryUsedB)
	if !r.PowerInstantW.OK {
		b.power = r.PowerInstantW // a reading that failed says so at once: it is tried in every row
		return
	}
	if step := r.EndNS / historyStep; step != b.step {
		b.step, b.stepW, b.stepped = step, 0, 0
		b.history = append(b.history, 0)
		b.history = b.history[max(0, len(b.history)-historyLong):]
	}
	b.stepW += float64(r.PowerInstantW.V)
	b.stepped++
	b.history[len(b.history)-1] = b.stepW / b.stepped
}

func keep[T any](at *schema.Opt[T], v schema.Opt[T]) {
	if v.OK {
		*at = v
	}
}

// remaining estimates what is left from the pace so far; false where there is nothing to tell it by.
func (l *liveRun) remaining() (time.Duration, bool) {
	over := l.done + l.failed
	if over < 3 || l.total <= over {
		return 0, false
	}
	return time.Duration(float64(l.now-l.first) / float64(over) * float64(l.total-over)).Round(time.Second), true
}

// shares are how much of the last minute the answers that are over spent in prefill and in decode, in %.
func (l *liveRun) shares() (prefill, decode float64) {
	since := max(l.now-recently, l.begun)
	within := func(from, to int64) float64 { return float64(max(0, to-max(from, since))) }
	for _, s := range l.spans {
		if !s.FirstTokenNS.OK {
			continue
		}
		start := s.StartNS
		if s.PrefillStartNS.OK {
			start = s.PrefillStartNS.V
		}
		prefill += within(start, s.FirstTokenNS.V)
		if s.LastTokenNS.OK {
			decode += within(s.FirstTokenNS.V, s.LastTokenNS.V)
		}
	}
	whole := float64(max(1, l.now-since))
	return 100 * prefill / whole, 100 * decode / whole
}

// last is the last request that is over.
func (l *liveRun) last() *schema.Span {
	if len(l.spans) == 0 {
		return nil
	}
	return l.spans[len(l.spans)-1]
}
