package pipeline

import (
	"cmp"
	"errors"
	"io"
	"math"
	"slices"

	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/schema"
)

// hole is a stretch of a run that its journal is damaged over: what was read there is gone, or has a stage that nobody
// knows. No reading within is given a label.
type hole struct{ fromNS, toNS int64 }

// damaged are a journal's holes, in order.
type damaged []hole

func (d damaged) cover(ns int64) bool {
	return slices.ContainsFunc(d, func(h hole) bool { return h.fromNS <= ns && ns <= h.toNS })
}

// between says whether a hole lies between two readings that follow one another.
func (d damaged) between(fromNS, toNS int64) bool {
	return slices.ContainsFunc(d, func(h hole) bool { return h.fromNS < toNS && h.toNS > fromNS })
}

// passDamage goes on behind damage inside the journal. What was lost there was announced after the last look before it, and
// was over by the first look behind it, so that only between the two nothing is known of any worker. A worker's next frame
// tells the rest: where another request follows the one that was in flight, that one's end is lost, and its stages with it.
// It may have taken until then.
func (p *Pipeline) passDamage(events *journal.Replay, end *ending) error {
	behind, err := p.survey(events.Ahead())
	if err != nil {
		return err
	}
	h := hole{max(end.look.NS, p.Run.Start.MonotonicNS), behind.toNS}
	for w, openNS := range p.open {
		next, heard := behind.next[w]
		began := end.inFlight[w]
		switch {
		case openNS != 0 && (!heard && !behind.ended || heard && next.Span != nil && began != nil && next.Span.RequestID == began.RequestID):
			// It is in flight still.
		case openNS != 0:
			h.fromNS = min(h.fromNS, openNS)
			if began != nil {
				began.EndNS = min(behind.toNS, opening(next, behind.toNS))
				end.cut = append(end.cut, began)
			}
			delete(end.inFlight, w)
			p.open[w] = 0
		}
		if p.open[w] == 0 && (heard && next.Span != nil || !heard && !behind.ended) {
			p.open[w] = max(h.fromNS, 1) // it may have a request open, whose opening is lost
		}
	}
	p.damaged = append(p.damaged, h)
	return nil
}

// opening is when the request of a worker's frame opened.
func opening(e journal.Event, otherwise int64) int64 {
	switch {
	case e.Span != nil:
		return e.Span.StartNS
	case e.OpenNS != 0:
		return e.OpenNS
	}
	return otherwise
}

// survey is what stands behind damage.
type survey struct {
	toNS  int64                 // the first look
	next  map[int]journal.Event // each worker's next frame, where there is one
	ended bool                  // the run came to its end
}

// survey reads ahead until each worker has been heard of. More damage on the way counts as part of this.
func (p *Pipeline) survey(ahead *journal.Replay) (survey, error) {
	s := survey{toNS: math.MaxInt64, next: map[int]journal.Event{}}
	last := int64(0)
	for len(s.next) < len(p.open) || s.toNS == math.MaxInt64 {
		e, err := ahead.Next()
		d, isDamage := errors.AsType[*journal.DamageError](err)
		switch _, heard := s.next[e.Worker]; {
		case isDamage && d.Inside:
			s.toNS = math.MaxInt64
		case isDamage, errors.Is(err, io.EOF):
			s.toNS = min(s.toNS, cmp.Or(last, s.toNS))
			return s, nil
		case err != nil:
			return s, err
		case e.End != nil:
			s.ended, last = true, e.End.Run.End.MonotonicNS
		case e.Span != nil || e.OpenNS != 0:
			if !heard {
				s.next[e.Worker] = e
			}
		case e.FirstTokenNS != 0:
		default:
			s.toNS = min(s.toNS, max(e.Look.NS, e.Look.Clock.MonotonicNS))
		}
	}
	return s, nil
}

// interrupt makes rows of requests whose end is not known, at the latest that of the run.
func (p *Pipeline) interrupt(spans []*schema.Span) {
	for _, s := range spans {
		s.EndNS, s.ErrorType = min(s.EndNS, p.Run.End.MonotonicNS), schema.ErrorInterrupted
		s.Invalid = s.Reasons(schema.Asked{})
		p.requests = append(p.requests, p.request(s))
	}
}

// mendEnd says of a run that came to its end what the damage in its journal took.
func (p *Pipeline) mendEnd(sampling []schema.Sampling, end *ending) (unlabelled int64) {
	p.Run.Status, p.Run.JournalCut = schema.StatusRecovered, schema.Some(end.unread())
	p.interrupt(end.cut)
	for i := range sampling {
		s := &sampling[i]
		s.Unlabelled = s.Readings - s.Dropped - p.labelled[i]
		unlabelled += s.Unlabelled
		p.conducts[i].holes.across(p.Run.End.MonotonicNS, p.damaged)
	}
	return unlabelled
}

// tellHoles adds each board's holes to its gaps.
func (p *Pipeline) tellHoles(sampling []schema.Sampling) {
	for i := range sampling {
		s := &sampling[i]
		s.Gaps = slices.SortedStableFunc(slices.Values(slices.Concat(s.Gaps, p.conducts[i].holes.damaged)), func(a, b schema.Gap) int { return cmp.Compare(a.FromNS, b.FromNS) })
	}
}
