package sim

import (
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
)

// engine is the board's work, done by one goroutine: run. Time in it is the end of the work planned so far (doneNS), which
// follows from the model's timing alone. The goroutine plans the next piece a little before that instant, so that the board's
// power changes when the work does, however busy the machine is: a real board's does.
type engine struct {
	timing Timing
	power  Power
	drive  *drive
	room   int // tokens of keys and values

	arrivals chan *sequence
	closing  chan struct{} // closed to stop the engine
	stopped  chan struct{} // closed when it has

	waiting []*sequence // in order of arrival
	running []*sequence
	doneNS  int64
	timer   *time.Timer
}

// lead is how far ahead work is planned: longer than a busy machine lets a goroutine wait. Servers do the same, to keep
// their boards busy.
const lead = 5 * time.Millisecond

func newEngine(t Timing, p Power, room int, loads []Load) *engine {
	now := clock.Now()
	d := newDrive(loads, now, p.Idle())
	d.now = clock.Now
	d.occupy(usableMemory * p.board.MemoryGB * 1e9)
	return &engine{
		timing:   t,
		power:    p,
		drive:    d,
		room:     room,
		arrivals: make(chan *sequence),
		closing:  make(chan struct{}),
		stopped:  make(chan struct{}),
		doneNS:   now,
	}
}

// submit queues a sequence. It reports false when the engine has stopped.
func (e *engine) submit(s *sequence) bool {
	select {
	case e.arrivals <- s:
		return true
	case <-e.stopped:
		return false
	}
}

// run works until the engine is closed; it ends every sequence that is left, and leaves the board without a model.
func (e *engine) run() {
	e.timer = time.NewTimer(0)
	defer close(e.stopped)
	for e.work() {
	}
	e.timer.Stop()
	now := max(clock.Now(), e.doneNS)
	for _, s := range append(e.waiting, e.running...) {
		s.end(now)
	}
	e.drive.jump(now, e.power.Bare())
	e.drive.occupy(0)
}

// work does one piece: a prefill, a step, or waiting for a request. It reports false when the engine was closed.
func (e *engine) work() bool {
	e.dropCancelled()
	switch {
	case e.admits():
		return e.prefill()
	case len(e.running) > 0:
		return e.step()
	default:
		return e.idle()
	}
}

// dropCancelled ends the sequences whose clients went away. The board has worked on them until now.
func (e *engine) dropCancelled() {
	keep := func(all []*sequence) []*sequence {
		kept := all[:0]
		for _, s := range all {
			if s.cancelled.Load() {
				s.end(max(e.doneNS, s.arrivedNS))
			} else {
				kept = append(kept, s)
			}
		}
		clear(all[len(kept):])
		return kept
	}
	e.waiting, e.running = keep(e.waiting), keep(e.running)
}

// admits reports whether the sequence that has waited longest can run beside those that do.
func (e *engine) admits() bool {
	if len(e.waiting) == 0 || len(e.running) == mostSequences {
		return false
	}
	needed := e.waiting[0].reserved()
	for _, s := range e.running {
		needed += s.reserved()
	}
	return needed <= e.room
}

// prefill reads the prompt of the sequence that has waited longest, alone, and gives its first token.
func (e *engine) prefill() bool {
	s := e.waiting[0]
	s.prefillStartNS = max(e.doneNS, s.arrivedNS)
	e.drive.target(s.prefillStartNS, e.power.Prefill(s.prompt))
	if !e.until(s.prefillStartNS + int64(e.timing.Prefill(s.prompt))) {
		return false
	}
	e.waiting = e.waiting[1:]
	if s.give(e.doneNS) {
		s.end(e.doneNS)
	} else {
		e.running = append(e.running, s)
	}
	return true
}

// step gives each running sequence one token.
func (e *engine) step() bool {
	contexts := 0
	for _, s := range e.running {
		contexts += s.context()
	}
	e.drive.target(e.doneNS, e.power.Decode(len(e.running), contexts))
	if !e.until(e.doneNS + int64(e.timing.Step(len(e.running), contexts))) {
		return false
	}
	kept := e.running[:0]
	for _, s := range e.running {
		if s.give(e.doneNS) {
			s.end(e.doneNS)
		} else {
			kept = append(kept, s)
		}
	}
	clear(e.running[len(kept):])
	e.running = kept
	return true
}

// idle lets the board cool until a request comes.
func (e *engine) idle() bool {
	e.drive.target(e.doneNS, e.power.Idle())
	for len(e.waiting) == 0 {
		now := clock.Now()
		e.drive.advance(now + int64(lead))
		if !e.wait(now, e.drive.nextNS()) {
			return false
		}
	}
	e.doneNS = max(clock.Now(), e.doneNS, e.drive.lastNS)
	return true
}

// until works to an instant, which becomes doneNS, and takes in the requests that come before the next piece is planned.
func (e *engine) until(deadlineNS int64) bool {
	e.drive.advance(deadlineNS)
	for {
		now := clock.Now()
		if now >= deadlineNS-int64(lead) {
			break
		}
		if !e.wait(now, deadlineNS) {
			return false
		}
	}
	e.doneNS = deadlineNS
	return e.takeIn()
}

// wait sleeps until what comes at an instant has to be planned, or to the next request, whichever comes first.
func (e *engine) wait(nowNS, atNS int64) bool {
	var fire <-chan time.Time
	if atNS != never {
		e.timer.Reset(time.Duration(atNS-nowNS) - lead)
		fire = e.timer.C
	}
	select {
	case <-fire:
	case s := <-e.arrivals:
		e.waiting = append(e.waiting, s)
	case <-e.closing:
		return false
	}
	return true
}

// takeIn takes in what has come and does not wait: an engine that is behind its deadlines sleeps nowhere else.
func (e *engine) takeIn() bool {
	for {
		select {
		case s := <-e.arrivals:
			e.waiting = append(e.waiting, s)
		case <-e.closing:
			return false
		default:
			return true
		}
	}
}
