package sampler

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

// longestSleep bounds the time to notice that the context ended.
const longestSleep = 50 * time.Millisecond

// Sampler reads boards by a plan. It is built for one Run.
type Sampler struct {
	plan    Plan
	budget  float64
	sink    Sink
	boards  []*boardState
	reading schema.Reading

	now        func() int64
	sleepUntil func(monotonicNS int64)
	preempted  func() bool // the thread lost its core, since it was last asked

	started  atomic.Bool
	ticks    atomic.Int64
	missed   atomic.Int64
	startNS  int64
	realTime bool
	cpu      time.Duration // of the thread, at the start
	lateness histogram
	cost     [lanes]histogram // by the slowest lane of the reading
}

// New makes a sampler that reads devices, in this order, by plan into sink.
func New(devices []Device, plan Plan, sink Sink) (*Sampler, error) {
	if len(devices) == 0 {
		return nil, errors.New("no boards to sample")
	}
	if err := plan.check(); err != nil {
		return nil, err
	}
	s := &Sampler{plan: plan, sink: sink, now: clock.Now, sleepUntil: clock.SleepUntil, preempted: new(switches).preempted}
	for _, d := range devices {
		s.boards = append(s.boards, newBoardState(d))
	}
	return s, nil
}

// Govern sets the share of wall time that the calls of one board may take: past it, that board is read less often than
// planned. Without it calls are watched only. Call it before Run.
func (s *Sampler) Govern(budget float64) { s.budget = budget }

// Run reads until the context ends, which is no error, or until every board is lost, which is one. It does all its work
// on the caller's goroutine, locked to its thread meanwhile: whoever starts that goroutine owns it. The devices belong to
// Run until it returns.
func (s *Sampler) Run(ctx context.Context) (Stats, error) {
	if s.started.Swap(true) {
		return Stats{}, errors.New("a sampler runs once")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	realTime, restore := punctual()
	s.realTime = realTime
	defer restore()

	s.begin()
	pace := pacer{startNS: s.startNS, periodNS: int64(s.plan.Power), sways: true}
	for s.sleep(ctx, pace.due()) {
		slots := pace.take(s.now())
		s.lateness.record(slots.lateNS)
		s.missed.Add(slots.missed())
		s.ticks.Add(1)
		if alive := s.readAll(slots); !alive {
			return s.stats(), fmt.Errorf("sampling: every board is lost: %w", s.lossErrors())
		}
	}
	return s.stats(), nil
}

func (s *Sampler) begin() {
	s.startNS, s.cpu = s.now(), threadCPU()
	for _, b := range s.boards {
		b.governor = newGovernor(s.plan, s.budget, s.startNS)
		b.periodNS.Store(int64(s.plan.Power))
	}
}

// sleep waits for an instant and reports whether it came before the context's end.
func (s *Sampler) sleep(ctx context.Context, untilNS int64) bool {
	for {
		if ctx.Err() != nil {
			return false
		}
		now := s.now()
		if now >= untilNS {
			return true
		}
		s.sleepUntil(min(untilNS, now+int64(longestSleep)))
	}
}

// readAll reads every board that is due and not lost, or due for another try, and reports whether any is left.
func (s *Sampler) readAll(slots taken) (alive bool) {
	for i, b := range s.boards {
		due, own := b.governor.due(s.plan, slots.first, slots.last)
		b.planned += own
		switch {
		case b.waiting(s.now):
		case own == 0:
			alive = alive || !b.lost.Load()
		case s.read(int32(i), b, due):
			alive = true
		}
	}
	return alive
}

func (s *Sampler) read(index int32, b *boardState, due Lane) (alive bool) {
	r := &s.reading
	*r = schema.Reading{Board: index, StartNS: s.now()}
	err := b.device.Read(due, r)
	r.EndNS = s.now()
	if b.governor.spend(s.callCost(b, r.EndNS-r.StartNS), r.EndNS) {
		b.periodNS.Store(b.governor.stride * b.governor.periodNS)
	}
	if err != nil {
		b.lose(r.EndNS, err)
		return false
	}
	b.found(r.EndNS)
	s.cost[due.slowest()].record(r.EndNS - r.StartNS)
	b.note(due, r)
	if !s.sink.Push(r) {
		b.dropped.Add(1)
	}
	return true
}

// longCall is longer than most calls, and shorter than a thread is off its core when another gets it.
const longCall = 250 * time.Microsecond

// callCost is what a reading cost the driver. A thread that lost its core meanwhile took no more of it: there the board's
// last undisturbed cost stands in. On two cores with a load average of 8, being off the core looked like calls of 10 ms.
func (s *Sampler) callCost(b *boardState, ns int64) int64 {
	if ns > int64(longCall) && s.preempted() {
		return b.costNS
	}
	b.costNS = ns
	return ns
}

func (s *Sampler) lossErrors() error {
	errs := make([]error, len(s.boards))
	for i, b := range s.boards {
		errs[i] = b.loss
	}
	return errors.Join(errs...)
}
