package pipeline

import (
	"errors"
	"io"
	"math"
	"slices"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// Recovered is what came of a run that broke off.
type Recovered struct {
	Manifest   store.Manifest
	Run        schema.Run
	Whole      bool                   // nothing is lost: the run had ended, and only its publication had not
	Damage     []*journal.DamageError // what of the journal could not be read
	Kept       string                 // where the journal was set aside, because it is damaged inside
	Unlabelled int64                  // readings left out: taken while a request was in flight of which no end is known
	InFlight   int                    // requests of which no end is known
}

// Recover publishes what the journal of a run holds and removes it. It may break off at any instant, and be done again. It
// is journal.ErrLive where the run, or another recovery of it, is going on, and journal.ErrNoLocks where that cannot be
// told, unless unlocked says that it is not. tracer is who publishes.
func Recover(dir, name, tracer string, unlocked bool) (r Recovered, err error) {
	j, err := journal.Open(journal.Path(dir, name), &store.Recycler{}, unlocked)
	if err != nil {
		return r, err
	}
	out := store.Run{Root: dir, Name: name}
	if out.Committed() { // only the journal was not removed any more
		r.Whole, r.Run = true, j.Header.Run
		return r, errors.Join(out.Clear(), j.Remove())
	}
	m, begun, err := out.Finish()
	if err == nil && begun {
		return Recovered{Manifest: m, Run: j.Header.Run, Whole: m.Status != schema.StatusRecovered}, j.Remove()
	}
	if err == nil {
		err = out.Uncommitted()
	}
	if err == nil {
		r, err = republish(j, out, tracer)
	}
	if err != nil {
		return r, errors.Join(err, j.Close())
	}
	if slices.ContainsFunc(r.Damage, func(d *journal.DamageError) bool { return d.Inside }) {
		r.Kept, err = j.SetAside()
		return r, err
	}
	return r, j.Remove()
}

func republish(j *journal.Journal, out store.Run, tracer string) (r Recovered, err error) {
	h := j.Header
	p := &Pipeline{Config: Config{Dir: out.Root, Run: &h.Run, Boards: h.Boards, Planned: h.Sampling, Job: h.Job}, out: out, journal: j}
	end, err := p.replay()
	if err != nil {
		return r, err
	}
	sampling := end.sampling
	r.Whole, r.Damage = sampling != nil && len(end.damage) == 0, end.damage
	switch {
	case r.Whole:
	case sampling != nil:
		r.InFlight, r.Unlabelled = len(end.cut), p.mendEnd(sampling, &end)
	default:
		r.InFlight = len(end.cut) + len(end.inFlight)
		if sampling, r.Unlabelled, err = p.brokenOff(end); err != nil {
			return r, err
		}
	}
	r.Manifest, err = p.publish(sampling, tracer)
	r.Run = h.Run
	return r, err
}

// ending is what a replay came to.
type ending struct {
	at       int64             // in the journal
	sampling []schema.Sampling // nil where the run broke off
	look     journal.Look      // the last
	steps    []schema.ClockStep
	damage   []*journal.DamageError
	cut      []*schema.Span       // requests whose end is lost
	horizon  int64                // up to where readings are labelled
	inFlight map[int]*schema.Span // by worker
}

// unread is how much of the journal could not be read.
func (e *ending) unread() (bytes int64) {
	for _, d := range e.damage {
		bytes += d.Bytes
	}
	return bytes
}

// replay labels all that the journal holds, from nothing.
func (p *Pipeline) replay() (e ending, err error) {
	if err := p.out.Fresh(); err != nil {
		return e, err
	}
	p.derive(p.journal.Header.Workers)
	events, err := p.journal.Replay()
	if err != nil {
		return e, err
	}
	e.inFlight = map[int]*schema.Span{}
	for err == nil {
		err = p.follow(events, &e)
	}
	if !errors.Is(err, io.EOF) {
		return e, err
	}
	e.horizon = p.horizon(e.look.NS)
	if e.sampling != nil {
		e.horizon = math.MaxInt64
	}
	e.at = events.At()
	return e, p.label(e.at, e.horizon)
}

// follow takes one frame.
func (p *Pipeline) follow(events *journal.Replay, end *ending) error {
	e, err := events.Next()
	d, isDamage := errors.AsType[*journal.DamageError](err)
	switch {
	case isDamage && d.Inside:
		end.damage = append(end.damage, d)
		return p.passDamage(events, end)
	case isDamage:
		end.damage = append(end.damage, d)
		return io.EOF
	case err != nil:
		return err
	case e.Span != nil:
		delete(end.inFlight, e.Worker)
		p.closed(e.Worker, e.Span)
	case e.OpenNS != 0:
		p.open[e.Worker] = e.OpenNS
		if e.Opening != nil {
			e.Opening.StartNS = e.OpenNS
			end.inFlight[e.Worker] = e.Opening
		}
	case e.FirstTokenNS != 0: // for who watches
	case e.End != nil:
		*p.Run, end.sampling = e.End.Run, e.End.Sampling
	default:
		end.looked(e.Look, p.Run.Start)
		return p.label(events.At(), p.horizon(e.Look.NS))
	}
	return nil
}

// looked takes a look of the pipeline's at the clocks, which shows what the wall clock did since the last. A suspended
// machine cannot be told from a step there.
func (e *ending) looked(at journal.Look, start clock.Pair) {
	last := e.look.Clock
	if e.look.NS == 0 {
		last = start
	}
	passed := at.Clock.MonotonicNS - last.MonotonicNS
	if step := time.Duration(at.Clock.WallNS - last.WallNS - passed); step.Abs() > schema.LeastClockStep {
		e.steps = append(e.steps, schema.ClockStep{FromNS: last.MonotonicNS, ToNS: at.Clock.MonotonicNS, Step: step})
	}
	e.look = at
}

// brokenOff fills in what is known of a run that could not say how it ended, and counts the readings that nobody can label.
func (p *Pipeline) brokenOff(end ending) (sampling []schema.Sampling, unlabelled int64, err error) {
	left, lastNS, err := p.leftOut(end.at, end.horizon)
	if err != nil {
		return nil, 0, err
	}
	run := p.Run
	run.Status, run.JournalCut = schema.StatusRecovered, schema.Some(end.unread())
	p.endRun(end)
	took := time.Duration(run.End.MonotonicNS - run.Start.MonotonicNS).Seconds()
	blocks := slices.ContainsFunc(p.requests, func(r schema.Request) bool { return r.Overhead.Round.OK }) // of tracer overhead, some without readings
	for i, s := range p.Planned {
		unlabelled += left[i]
		left[i] += p.between[i]
		s.Unknown, s.Readings, s.Unlabelled = true, p.labelled[i]+left[i], left[i]
		s.ClockSteps = end.steps
		s.Gaps = p.conducts[i].holes.atEnd(end.horizon, lastNS[i], run.End.MonotonicNS, s.PowerPeriod, blocks, p.damaged)
		if took > 0 {
			s.AchievedHz = float64(s.Readings) / took
		}
		sampling = append(sampling, s)
	}
	return sampling, unlabelled, nil
}

// leftOut are the readings of the journal that were not labelled: by board, how many, and when the last of them was taken. Those
// of another host, which come late, stand among later ones of this: they can still be labelled.
func (p *Pipeline) leftOut(before, horizon int64) (left, lastNS []int64, err error) {
	left, lastNS = make([]int64, len(p.Boards)), make([]int64, len(p.Boards))
	for len(p.batch) > 0 {
		for i := range p.batch[p.next:] {
			r := &p.batch[p.next+i]
			if r.MidNS() < horizon {
				if err := p.file(r); err != nil {
					return nil, nil, err
				}
				continue
			}
			left[r.Board]++
			lastNS[r.Board] = r.MidNS()
		}
		p.next = 0
		if p.batch, err = p.rows.Next(before, p.batch); err != nil {
			return nil, nil, err
		}
	}
	return left, lastNS, nil
}

// endRun ends a run that broke off where its journal does, and the requests in flight with it.
func (p *Pipeline) endRun(end ending) {
	run := p.Run
	run.End = run.Start
	if end.look.NS != 0 {
		run.End = end.look.Clock
	}
	last := run.End.MonotonicNS
	for i := range p.requests {
		last = max(last, p.requests[i].EndNS)
	}
	for _, s := range end.inFlight {
		last = max(last, s.StartNS)
	}
	for _, s := range end.cut {
		last = max(last, s.StartNS)
	}
	run.End.WallNS += last - run.End.MonotonicNS
	run.End.MonotonicNS = last
	p.interrupt(end.cut)
	for _, s := range end.inFlight {
		s.EndNS, s.ErrorType, s.GivenUp = last, schema.ErrorInterrupted, true
		s.Invalid = s.Reasons(schema.Asked{})
		p.requests = append(p.requests, p.request(s))
	}
}

// discard gives up the parts that were being written.
func (p *Pipeline) discard() {
	for _, part := range p.parts {
		part.Discard()
	}
}
