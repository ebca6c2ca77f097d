package pipeline

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/schema"
)

const (
	// drainEvery is how often the rings are emptied. A ring must hold what arrives in between, and in a slow write. Waking for
	// it costs more than what is done then.
	drainEvery = 100 * time.Millisecond
	// A batch of readings goes to the journal when it is so old or so large; with the fsync that follows it, under a second
	// of readings is at risk. Smaller batches cost more: an Arrow message takes 300 bytes beside its rows.
	batchAge  = 500 * time.Millisecond
	batchRows = 4096
	// slowSync is from where on the user is told of a slow disk.
	slowSync = time.Second
)

// ErrDisk says that the run had to stop because its files cannot be written.
var ErrDisk = errors.New("the dataset cannot be written")

// recorder carries what the rings hold into the journal.
type recorder struct {
	pending  []schema.Reading // not in the journal yet
	looked   int64            // every request announced before it is in the journal
	flushed  int64            // when readings last went to the journal, or an fsync was asked for
	unsynced bool             // requests went there since
	ringPeak float64          // most of the readings' ring that was ever full
	crowded  bool             // the user knows
	age      time.Duration    // at which a batch goes to the journal
	full     error            // the disk was, and what was set aside is in use
	syncs    syncer
}

// sum writes down how the recording went.
func (r *recorder) sum(run *schema.Run) {
	run.RingPeak, run.JournalSyncMax = schema.Some(r.ringPeak), time.Duration(r.syncs.longest.Load())
}

// syncer fsyncs the journal beside the pipeline, which goes on meanwhile.
type syncer struct {
	wanted  chan struct{}
	since   atomic.Int64 // of the fsync under way; 0 when there is none
	longest atomic.Int64 // ns
	failed  atomic.Pointer[error]
	told    bool
}

// run syncs whenever that is wanted, until nobody can want it any more.
func (s *syncer) run(j *journal.Journal) {
	for range s.wanted {
		began := clock.Now()
		s.since.Store(began)
		if err := j.Sync(); err != nil {
			s.failed.Store(&err)
		}
		s.since.Store(0)
		s.longest.Store(max(s.longest.Load(), clock.Now()-began))
	}
}

// want asks for an fsync; one that is asked for already will do.
func (s *syncer) want() {
	select {
	case s.wanted <- struct{}{}:
	default:
	}
}

// slow says, once, for how long the disk has taken or is taking.
func (s *syncer) slow(now int64) (time.Duration, bool) {
	took := time.Duration(s.longest.Load())
	if since := s.since.Load(); since != 0 {
		took = max(took, time.Duration(now-since))
	}
	if took < slowSync || s.told {
		return 0, false
	}
	s.told = true
	return took, true
}

// Collect drains the rings into the journal until done is closed, which is to happen after every producer has stopped, and
// labels what it can meanwhile. When the disk is full, or fails, it calls stop with the reason and goes on with what can
// still be written. It returns early when that is nothing, and the journal is then left for Recover.
func (p *Pipeline) Collect(done <-chan struct{}, stop func(error)) error {
	p.record.syncs.wanted = make(chan struct{}, 1)
	var syncing conc.WaitGroup
	syncing.Go(func() { p.record.syncs.run(p.journal) })
	defer syncing.Wait()
	defer close(p.record.syncs.wanted)
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for {
		last := false
		select {
		case <-tick.C:
		case <-done:
			last = true
		}
		p.watch()
		if err := p.step(clock.Now(), last, stop); err != nil || last {
			return err
		}
	}
}

// watch tells the user early of a disk that is too slow.
func (p *Pipeline) watch() {
	r := &p.record
	if r.ringPeak = max(r.ringPeak, float64(p.Readings.Len())/float64(p.Readings.Cap())); r.ringPeak > 0.5 && !r.crowded {
		r.crowded = true
		p.note(fmt.Sprintf("the disk, or this machine, is too slow: the readings' ring was %.0f %% full; readings are dropped when it overflows", 100*r.ringPeak))
	}
	if took, slow := r.syncs.slow(clock.Now()); slow {
		p.note(fmt.Sprintf("the disk is slow: an fsync of the journal took %v; a crash can cost as much of the run", took.Round(time.Millisecond)))
	}
}

// step takes what the rings hold into the journal and labels what is ready. now must be read before the rings are.
func (p *Pipeline) step(now int64, last bool, stop func(error)) error {
	r := &p.record
	hadRoom := r.full == nil
	err := p.drain(now, last)
	if failed := r.syncs.failed.Load(); err == nil && failed != nil {
		err = *failed
	}
	if err != nil {
		return err
	}
	if hadRoom && r.full != nil {
		stop(fmt.Errorf("%w: %w", ErrDisk, r.full))
	}
	if p.broken == nil {
		return p.labelReady(now, last, stop)
	}
	return nil
}

// labelReady labels what is ready. Where the parts cannot be written the run is to stop, and Commit makes them anew.
func (p *Pipeline) labelReady(now int64, last bool, stop func(error)) error {
	horizon := int64(math.MaxInt64)
	if !last {
		horizon = p.horizon(now)
	}
	if err := p.label(p.journal.Size(), horizon); err != nil {
		p.broken = err
		stop(fmt.Errorf("%w: %w", ErrDisk, err))
		p.discard()
		return p.out.Fresh() // makes room, too
	}
	return nil
}

// drain empties the rings.
func (p *Pipeline) drain(now int64, last bool) error {
	r := &p.record
	if r.pending == nil {
		r.pending = make([]schema.Reading, 0, batchRows)
	}
	for _, readings := range append(slices.Clip(p.Remote), p.Readings) {
		if err := p.empty(readings); err != nil {
			return err
		}
	}
	if err := p.takeSpans(); err != nil {
		return err
	}
	r.looked = now
	switch due := last || clock.Now()-r.flushed >= int64(r.age-drainEvery/2); { // the drain nearest to that age
	case due && len(r.pending) > 0:
		return p.flush()
	case due && r.unsynced: // no board is read
		p.sync()
	}
	return nil
}

// empty empties one ring.
func (p *Pipeline) empty(readings *ring.SPSC[schema.Reading]) error {
	r := &p.record
	for {
		free := r.pending[len(r.pending):cap(r.pending)]
		n := readings.Pop(free)
		if r.pending = r.pending[:len(r.pending)+n]; n < len(free) {
			return nil
		}
		if err := p.flush(); err != nil {
			return err
		}
	}
}

// flush appends the pending readings.
func (p *Pipeline) flush() error {
	r := &p.record
	look := journal.Look{NS: r.looked, Clock: clock.Read()}
	if err := p.persist(func() error { return p.journal.Readings(look, r.pending) }); err != nil {
		return err
	}
	r.pending = r.pending[:0]
	p.sync()
	return nil
}

// sync asks for an fsync of the journal.
func (p *Pipeline) sync() {
	r := &p.record
	r.flushed, r.unsynced = clock.Now(), false
	r.syncs.want()
}

// takeSpans appends which workers have a request open, and what closed.
func (p *Pipeline) takeSpans() error {
	var events [16]schema.SpanEvent
	for worker, spans := range p.Spans {
		for {
			n := spans.Pop(events[:])
			if n == 0 {
				break
			}
			for _, e := range events[:n] {
				if err := p.take(worker, e); err != nil {
					return err
				}
			}
			p.record.unsynced = true
		}
	}
	return nil
}

func (p *Pipeline) take(worker int, e schema.SpanEvent) error {
	if e.FirstTokenNS != 0 {
		return p.persist(func() error { return p.journal.Answering(worker, e.FirstTokenNS) })
	}
	if e.Span == nil {
		p.open[worker] = e.OpenNS
		return p.persist(func() error { return p.journal.Opened(worker, e.OpenNS, e.Opening) })
	}
	p.closed(worker, e.Span)
	return p.persist(func() error { return p.journal.Closed(worker, e.Span) })
}

// persist appends to the journal. When the disk is full it falls back on the room that was set aside.
func (p *Pipeline) persist(appending func() error) error {
	err := appending()
	if p.record.full != nil || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	p.record.full = err
	if err := p.out.Release(); err != nil {
		return err
	}
	return appending()
}
