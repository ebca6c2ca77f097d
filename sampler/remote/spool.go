package remote

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

const (
	spoolAge  = 200 * time.Millisecond // at which readings go to the log
	spoolRows = 4096                   // or so many
)

// spool is one sampling on the host: its readings in a log, and how far they were sent on this connection.
type spool struct {
	number   int
	log      Log
	queue    Queue // nil where its keeper was killed
	cancel   context.CancelFunc
	ended    atomic.Pointer[finished] // by the sampler
	pending  []schema.Reading
	logged   int64
	loggedNS int64
	finished *finished // with nothing left in the queue
	failed   error     // why the log takes no more

	cursor Cursor
	at     int64 // of the next reading that the cursor gives
	skip   int64 // readings that are there already
	told   bool  // finished was sent
}

// sample begins.
func (l *spool) sample(within context.Context, owner *conc.WaitGroup, devices []sampler.Device, s *start, driver time.Duration) error {
	reads, err := sampler.New(devices, s.Plan, l.queue)
	if err != nil {
		return err
	}
	if s.Budget > 0 {
		reads.Govern(s.Budget)
	}
	if driver > 0 {
		reads.Wait(driver)
	}
	ctx, cancel := context.WithCancel(within)
	l.cancel, l.loggedNS = cancel, clock.Now()
	owner.Go(func() {
		stats, lost := reads.Run(ctx)
		f := finished{Run: l.number, Stats: stats, Errors: make([]string, len(stats.Boards))}
		for i := range stats.Boards {
			if err := stats.Boards[i].LastError; err != nil {
				f.Errors[i], stats.Boards[i].LastError = err.Error(), nil
			}
		}
		if lost != nil {
			f.Lost = lost.Error()
		}
		l.ended.Store(&f)
	})
	return nil
}

func (l *spool) stop() {
	if l.cancel != nil {
		l.cancel()
	}
}

// drain takes what the sampler has read into the log.
func (l *spool) drain(batch *[]schema.Reading) {
	if l.queue == nil || l.finished != nil {
		return
	}
	ended := l.ended.Load() // before the queue is looked at
	if cap(*batch) < spoolRows {
		*batch = make([]schema.Reading, spoolRows)
	}
	for {
		n := l.queue.Pop((*batch)[:spoolRows])
		l.pending = append(l.pending, (*batch)[:n]...)
		if n < spoolRows {
			break
		}
	}
	if now := clock.Now(); len(l.pending) > 0 && (ended != nil || len(l.pending) >= spoolRows || now-l.loggedNS >= int64(spoolAge)) {
		l.loggedNS = now
		l.keep()
	}
	if ended != nil {
		ended.Readings = l.logged
		if l.failed != nil {
			ended.Lost = "its readings cannot be kept: " + l.failed.Error()
		}
		l.finished = ended
	}
}

// keep logs what is pending. A log that cannot be written any more ends the sampling.
func (l *spool) keep() {
	for len(l.pending) > 0 && l.failed == nil {
		n := min(len(l.pending), spoolRows)
		if l.failed = l.log.Append(l.pending[:n]); l.failed != nil {
			l.stop()
			return
		}
		l.logged += int64(n)
		l.pending = append(l.pending[:0], l.pending[n:]...)
	}
}

// rewind begins to send anew, without the readings that are there.
func (l *spool) rewind(have int64) { l.cursor, l.at, l.skip, l.told = l.log.Rows(), 0, have, false }

// send sends a batch, or that there is no more. It reports whether more may follow at once.
func (l *spool) send(p *peer, batch *[]schema.Reading) (more bool, err error) {
	rows, err := l.cursor.Next(*batch)
	if err != nil && l.queue != nil {
		return false, err
	}
	if err != nil { // where its keeper was killed in the middle of a batch
		rows = nil
	}
	if cap(rows) > cap(*batch) {
		*batch = rows[:cap(rows)]
	}
	if len(rows) == 0 {
		l.tell(p)
		return false, nil
	}
	first := l.at
	l.at += int64(len(rows))
	if l.at <= l.skip {
		return true, nil
	}
	rows, first = rows[max(0, l.skip-first):], max(first, l.skip)
	payload, err := p.encoder.Encode(rows)
	if err != nil {
		return false, err
	}
	m := numbers(kindReadings, int64(l.number), first)
	m.payload = append(m.payload, payload...)
	p.send(m)
	return true, nil
}

// tell says that the sampling is over, once.
func (l *spool) tell(p *peer) {
	if l.finished == nil || l.told {
		return
	}
	if l.finished.Dead {
		l.finished.Readings = l.at
	}
	l.told = true
	p.send(words(kindFinished, l.finished))
}
