package nebula

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
)

var (
	errIdle     = errors.New("silent for too long")
	errDeadline = errors.New("not done in time")
)

// watchdog cancels a request that has been silent for too long. Any byte is life, a keep-alive comment of a server that
// queues included; what a server sends while it dies ends the stream soon enough by itself. A touch costs one atomic
// store: the timer looks at it only when it fires.
type watchdog struct {
	limit  time.Duration
	cancel context.CancelCauseFunc
	lastNS atomic.Int64

	mu    sync.Mutex // guards timer, which may fire before it is assigned
	timer *time.Timer
}

func startWatchdog(limit time.Duration, cancel context.CancelCauseFunc) *watchdog {
	w := &watchdog{limit: limit, cancel: cancel}
	w.lastNS.Store(clock.Now())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(limit, w.look)
	return w
}

func (w *watchdog) touch(atNS int64) { w.lastNS.Store(atNS) }

func (w *watchdog) look() {
	silent := time.Duration(clock.Now() - w.lastNS.Load())
	if silent >= w.limit {
		w.cancel(errIdle)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Reset(w.limit - silent)
}

// stop ends the watch; a timer that has fired already may still cancel, which by then is harmless.
func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}
