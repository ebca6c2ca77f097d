package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// overheadRun is a trace whose sampling changes from block to block.
type overheadRun struct {
	*trace
	blocks []block
	marker marker
}

// marker marks each span with its block, and keeps it.
type marker struct {
	nebula.EventSink
	schema.OverheadBlock
	spans []*schema.Span
}

// Push hands an event on to the pipeline.
func (m *marker) Push(e *schema.SpanEvent) bool {
	for _, s := range []*schema.Span{e.Opening, e.Span} {
		if s != nil {
			s.Overhead = m.OverheadBlock
		}
	}
	taken := m.EventSink.Push(e)
	if taken && e.Span != nil {
		m.spans = append(m.spans, e.Span)
	}
	return taken
}

// measure sends the warm-up, then block after block, and works the result out for the runs table.
func (o *overheadRun) measure(ctx context.Context, stop context.CancelCauseFunc) (stats sampler.Stats, err error) {
	o.marker.EventSink = o.schedule.Sinks[0]
	o.schedule.Sinks[0] = &o.marker
	err = o.recorded(stop, func() error {
		defer o.showProgress()()
		o.schedule.Prompts = nil
		if err := o.ask(ctx); err != nil {
			return err
		}
		o.schedule.Warmup = nil
		for i := range o.blocks {
			of, err := o.send(ctx, stop, &o.blocks[i])
			stats = joined(stats, of)
			if err != nil {
				return err
			}
		}
		return nil
	})
	o.record.Overhead = o.result()
	return stats, err
}

// send sends one block. Sampling begins before its first request and ends after its last.
func (o *overheadRun) send(ctx context.Context, stop context.CancelCauseFunc, b *block) (stats sampler.Stats, err error) {
	o.marker.OverheadBlock = b.OverheadBlock
	o.schedule.Prompts = o.pointers(b.prompts)
	if b.Period == 0 {
		return stats, o.ask(ctx)
	}
	plan, err := sampler.PlanFor(o.boards.facts(), b.Period)
	if err != nil {
		return stats, err
	}
	return o.sampled(ctx, stop, plan, func() error { return o.ask(ctx) })
}

// result is the overhead at the plan's period.
func (o *overheadRun) result() schema.Overhead {
	var timed []analysis.Timed
	for _, s := range o.marker.spans {
		if s.Overhead.Round.OK && len(s.Invalid) == 0 {
			timed = append(timed, analysis.Timed{OverheadBlock: s.Overhead, Workload: s.Prompt.Workload, TTFT: s.TTFT(), TPOT: s.TPOT()})
		}
	}
	found := schema.Overhead{RunID: o.RunID, Period: o.plan.Power}
	for _, l := range analysis.CompareOverhead(timed) {
		if l.Period == o.plan.Power {
			found.TTFT, found.TPOT = l.TTFT.Effect, l.TPOT.Effect
		}
	}
	return found
}

// joined sums up the sampling of several blocks. Of quantiles, which cannot be joined, the worst block's stand.
func joined(a, b sampler.Stats) sampler.Stats {
	if len(b.Boards) == 0 {
		return a
	}
	if len(a.Boards) == 0 {
		return b
	}
	share := b.Elapsed.Seconds() / (a.Elapsed + b.Elapsed).Seconds()
	a.Elapsed += b.Elapsed
	a.Ticks, a.Missed, a.Readings, a.Dropped = a.Ticks+b.Ticks, a.Missed+b.Missed, a.Readings+b.Readings, a.Dropped+b.Dropped
	a.Hz = float64(a.Ticks) / a.Elapsed.Seconds()
	a.RealTime = a.RealTime && b.RealTime
	a.CPU += b.CPU
	a.Steps = append(a.Steps, b.Steps...)
	worse := func(x, y sampler.Quantiles) sampler.Quantiles {
		return sampler.Quantiles{Count: x.Count + y.Count, P50: max(x.P50, y.P50), P99: max(x.P99, y.P99), Max: max(x.Max, y.Max)}
	}
	a.Lateness = worse(a.Lateness, b.Lateness)
	for _, cost := range b.Cost {
		if i := slices.IndexFunc(a.Cost, func(c sampler.LaneCost) bool { return c.Lane == cost.Lane }); i >= 0 {
			a.Cost[i].Quantiles = worse(a.Cost[i].Quantiles, cost.Quantiles)
		} else {
			a.Cost = append(a.Cost, cost)
		}
	}
	for i := range a.Boards {
		x, y := &a.Boards[i], b.Boards[i]
		x.Readings, x.Dropped, x.PowerAbsent, x.Losses = x.Readings+y.Readings, x.Dropped+y.Dropped, x.PowerAbsent+y.PowerAbsent, x.Losses+y.Losses
		x.Planned += y.Planned
		x.BusyShare, x.BusiestShare = x.BusyShare+share*(y.BusyShare-x.BusyShare), max(x.BusiestShare, y.BusiestShare)
		x.Gaps = append(x.Gaps, y.Gaps...)
		x.LostFor, x.LostNow, x.LastError = x.LostFor+y.LostFor, y.LostNow, y.LastError
	}
	return a
}

// carryOverhead takes the latest result that fits over into this run's record.
func (t *trace) carryOverhead() {
	in := analysis.Setting{Host: t.record.Host, Model: t.record.Model, Server: t.record.Server, Period: t.plan.Power}
	for _, b := range t.boards.facts() {
		in.Driver, in.Boards = b.DriverVersion, append(in.Boards, b.UUID)
	}
	var err error
	if t.record.Overhead, err = (analysis.Dataset{Dir: t.Out}).LatestOverhead(in); err != nil {
		fmt.Fprintln(t.err, "note: what sampling costs is not carried over into runs:", err)
	}
}
