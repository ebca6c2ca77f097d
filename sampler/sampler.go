package sampler

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

// longestSleep bounds the time to notice that the context ended.
const longestSleep = 50 * time.Millisecond

// longestNap is the longest period at which the reader sleeps with its processor, of which Go has GOMAXPROCS, kept: every one that
// auto takes. Where it lets go, Go's monitor thread polls every 20 µs until it has taken the processor away, and anew after each
// sleep: 2,400 times a second at 20 ms, over half of the whole process's CPU time.
const longestNap = 50 * time.Millisecond

// Sampler reads boards by a plan. It is built for one Run.
type Sampler struct {
	plan     Plan
	budget   float64
	patience time.Duration
	sink     Sink
	boards   []*boardState
	pace     pacer
	host     hostClock

	now       func() int64
	wait      func(untilNS int64)
	preempted func() bool  // the thread lost its core, since it was last asked
	watchNow  func() int64 // for the watchdog

	started  atomic.Bool
	ticks    atomic.Int64
	missed   atomic.Int64
	startNS  int64
	realTime bool
	cpu      time.Duration // of the threads that read, but for those that hang
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
	s := &Sampler{
		plan: plan, patience: DefaultPatience, sink: sink, host: hostClock{read: clock.ReadHost},
		now: clock.Now, wait: clock.SleepUntil, preempted: new(switches).preempted, watchNow: clock.Now,
	}
	if s.naps() {
		s.wait = clock.NapUntil
	}
	for _, d := range devices {
		s.boards = append(s.boards, newBoardState(d))
	}
	return s, nil
}

// Govern sets the share of wall time that the calls of one board may take: past it, that board is read less often than
// planned. Without it calls are watched only. Call it before Run.
func (s *Sampler) Govern(budget float64) { s.budget = budget }

// Wait sets how long a call may take before it is given up, in place of DefaultPatience. Call it before Run.
func (s *Sampler) Wait(patience time.Duration) { s.patience = patience }

// Run reads until the context ends, which is no error, or until every board is lost, which is one. It reads on a goroutine
// that is locked to its thread, and is its watchdog meanwhile: a call that does not come back costs its board, and a new
// goroutine goes on with the others. The devices belong to Run until it returns; one that was abandoned is never used again.
func (s *Sampler) Run(ctx context.Context) (Stats, error) {
	if s.started.Swap(true) {
		return Stats{}, errors.New("a sampler runs once")
	}
	s.begin()
	restore := s.standIn()
	defer restore()
	for {
		r := s.start(ctx)
		if hung := s.watch(r); !hung {
			return s.stats(), r.err
		}
		s.abandon(r)
	}
}

// loop takes slot after slot, until the context ends, every board is lost, or the reader was given up.
func (r *reader) loop(ctx context.Context) error {
	for r.sleep(ctx, r.pace.due()) {
		now := r.now()
		slots := r.pace.take(now)
		r.lateness.record(slots.lateNS)
		r.missed.Add(slots.missed())
		r.ticks.Add(1)
		if r.host.due(now) {
			r.woke(r.host.look())
		}
		switch alive, mine := r.readAll(slots); {
		case !mine:
			return nil
		case !alive:
			return fmt.Errorf("sampling: every board is lost: %w", r.lossErrors())
		}
	}
	return nil
}

// woke notes that the machine slept: there is a gap, however short it looks.
func (s *Sampler) woke(slept time.Duration) {
	if slept == 0 {
		return
	}
	for _, b := range s.boards {
		b.because(schema.GapSuspend)
		b.slept += slept
	}
}

func (s *Sampler) begin() {
	s.startNS = s.now()
	s.pace = pacer{startNS: s.startNS, periodNS: int64(s.plan.Power), sways: true}
	for _, b := range s.boards {
		b.governor = newGovernor(s.plan, s.budget, s.startNS)
		b.rowNS = s.startNS
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
		s.wait(min(untilNS, now+int64(longestSleep)))
	}
}

// readAll reads every board that is due and not lost, or due for another try. It reports whether any is left, and whether
// the sampler is still the reader's.
func (r *reader) readAll(slots taken) (alive, mine bool) {
	for i, b := range r.boards {
		due, own := b.governor.due(r.plan, slots.first, slots.last)
		b.planned += own
		if b.waiting(r.now) || own == 0 {
			alive = alive || !b.lost.Load()
			continue
		}
		answers, mine := r.read(int32(i), b, due)
		if !mine {
			return false, false
		}
		alive = alive || answers
	}
	return alive, true
}

func (r *reader) read(index int32, b *boardState, due Lane) (alive, mine bool) {
	x := &r.reading
	*x = schema.Reading{Board: index, StartNS: r.now()}
	r.enter(index, x.StartNS)
	err := b.device.Read(due, x)
	if !r.leave(x.StartNS) {
		return false, false
	}
	x.EndNS = r.now()
	if errors.Is(err, ErrReopened) { // no price of reading this board
		b.because(schema.GapReopened)
		return true, true
	}
	if b.governor.spend(r.callCost(b, x.EndNS-x.StartNS), x.EndNS) {
		b.periodNS.Store(b.governor.stride * b.governor.periodNS)
	}
	if err != nil {
		b.lose(x.EndNS, err)
		return false, true
	}
	b.found(x.EndNS)
	r.cost[due.slowest()].record(x.EndNS - x.StartNS)
	b.note(due, x)
	if r.sink.Push(x) {
		b.row(x.MidNS())
	} else {
		b.dropped.Add(1)
		b.full = true
	}
	return true, true
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
