package sampler

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/llm-tracer/tracer/schema"
)

// DefaultPatience is how long a call into the driver may take before it is given up. Calls that wait for the driver's lock
// were seen to take seconds (MangoHud, issue 2104); a driver whose board does not answer gives up a request of its own after
// 45 s, and then makes the next (NVIDIA open-gpu-kernel-modules, issue 446), or never returns (gpu-monitoring-tools, issue
// 46). No board is read meanwhile.
const DefaultPatience = 10 * time.Second

// ErrHung says that a call into the driver did not come back.
var ErrHung = errors.New("the driver does not come back from a call")

// Abandoner is a Device that shares something with other boards, as NVML's share their library.
type Abandoner interface {
	// Abandon says that the call under way will not be waited for, and the board never be used again. It may be called
	// while that call runs; the other boards can be used from then on.
	Abandon()
}

// Within makes calls into a driver that may never come back. Past the limit it returns ErrHung and leaves the goroutine
// behind, which nothing can stop: call must share nothing that is used again.
func Within[T any](limit time.Duration, call func() (T, error)) (T, error) {
	var (
		caller conc.WaitGroup // waited for only once done is closed
		value  T
		err    error
	)
	done := make(chan struct{})
	caller.Go(func() {
		defer close(done)
		value, err = call()
	})
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		caller.Wait()
		return value, err
	case <-timer.C:
		var none T
		return none, fmt.Errorf("%w: no answer in %v", ErrHung, limit)
	}
}

// reader is the goroutine that reads the boards, until a call hangs: then the watchdog takes the sampler away from it and
// gives it to a new one. Whichever of the two moves call first has the sampler.
type reader struct {
	*Sampler

	owner   conc.WaitGroup // waited for only once ended is closed: a call may hang for ever
	ended   chan struct{}
	err     error          // how it ended
	reading schema.Reading // a call that hangs writes into its own
	board   atomic.Int32   // that is being read
	call    atomic.Int64   // when that began; 0 between calls, abandoned for ever
}

const abandoned = -1

// start lets a reader loose on a goroutine of its own.
func (s *Sampler) start(ctx context.Context) *reader {
	r := &reader{Sampler: s, ended: make(chan struct{})}
	r.owner.Go(func() {
		defer close(r.ended)
		r.err = r.run(ctx)
	})
	return r
}

// run reads on a thread of its own. Once abandoned it touches nothing that is the sampler's.
func (r *reader) run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	realTime, restore := punctual()
	defer restore()
	r.realTime = realTime
	began := threadCPU()
	err := r.loop(ctx)
	if r.call.Load() != abandoned {
		r.cpu += threadCPU() - began
	}
	return err
}

// enter notes that a call begins.
func (r *reader) enter(board int32, nowNS int64) {
	r.board.Store(board)
	r.call.Store(nowNS)
}

// leave notes that it is over, and reports whether the sampler is still the reader's.
func (r *reader) leave(enteredNS int64) bool { return r.call.CompareAndSwap(enteredNS, 0) }

// watch waits for a reader to end, or for a call of its to hang.
func (s *Sampler) watch(r *reader) (hung bool) {
	looks := time.NewTicker(s.patience / watchdogLooks)
	defer looks.Stop()
	dog := watchdog{patience: s.patience}
	for {
		select {
		case <-r.ended:
			r.owner.Wait() // a panic of the reader's goes on here
			return false
		case <-looks.C:
			since := r.call.Load()
			if dog.overdue(since, s.watchNow()) && r.call.CompareAndSwap(since, abandoned) {
				return true
			}
		}
	}
}

// watchdogLooks is how often the watchdog looks before it loses its patience.
const watchdogLooks = 50

// watchdog times the call under way. Between two looks it counts no more than two of its own periods: a process that was
// stopped, or a machine that was suspended, had no time to answer in.
type watchdog struct {
	patience time.Duration

	sinceNS, lookedNS int64
	waited            time.Duration
}

// overdue looks at the call that began at sinceNS, or at none where that is not positive.
func (w *watchdog) overdue(sinceNS, nowNS int64) bool {
	passed := min(time.Duration(nowNS-w.lookedNS), 2*w.patience/watchdogLooks)
	w.lookedNS = nowNS
	if sinceNS <= 0 || sinceNS != w.sinceNS {
		w.sinceNS, w.waited = sinceNS, 0
		return false
	}
	w.waited += passed
	return w.waited > w.patience
}

// abandon counts the board that a reader hangs in as lost for the rest of the run.
func (s *Sampler) abandon(r *reader) {
	b := s.boards[r.board.Load()]
	b.lose(s.now(), fmt.Errorf("reading %s: %w: %w: no answer in %v", b.uuid, ErrBoardLost, ErrHung, s.patience))
	b.retryNS = math.MaxInt64
	if d, ok := b.device.(Abandoner); ok {
		d.Abandon()
	}
}
