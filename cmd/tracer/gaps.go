package main

import (
	"fmt"
	"time"

	"github.com/llm-tracer/tracer/sampler"
)

// tellFaults says where boards have no rows, and what else their numbers lack. Of a run that could not go on recording
// only runs tells.
func (t *trace) tellFaults() {
	if len(t.sampling) == 0 {
		return
	}
	const most = 5
	since := func(ns int64) float64 { return float64(ns-t.record.Start.MonotonicNS) / 1e9 }
	for i, b := range t.boards.facts() {
		gaps := t.sampling[i].Gaps
		for _, g := range gaps[:min(len(gaps), most)] {
			slept := ""
			if g.Slept > 0 {
				slept = fmt.Sprintf(" for %.1f s", g.Slept.Seconds())
			}
			fmt.Fprintf(t.out, "gap: board %s has no readings from %.1f to %.1f s: %s%s\n", whereabouts(&b), since(g.FromNS), since(g.ToNS), g.Why, slept)
		}
		if n := len(gaps) - most; n > 0 {
			fmt.Fprintf(t.out, "gap: board %d has %d more, see runs.gaps\n", b.Index, n)
		}
		if n := t.pipeline.CounterResets(i); n > 0 {
			fmt.Fprintf(t.out, "board %d: its energy counter went back %d times, as after a reload of the driver; there is no closure\n", b.Index, n)
		}
	}
	for _, c := range t.sampling[0].ClockSteps {
		fmt.Fprintf(t.out, "the wall clock stepped by %+.3f s at %.1f s; timestamps go on by the clock as it was\n", c.Step.Seconds(), since(c.ToNS))
	}
}

// judgeBoard tells what a board failed at. A sensor that never answered is a property of the board, and one that failed
// now and then a property of sensors: these are said, the rest makes the data partial.
func (t *trace) judgeBoard(b sampler.BoardStats) {
	if b.Losses == 0 && b.PowerAbsent == 0 {
		return
	}
	what := fmt.Sprintf("board %s: stopped answering %d times, for %v in all; instant power absent in %d of %d readings",
		b.UUID, b.Losses, b.LostFor.Round(time.Millisecond), b.PowerAbsent, b.Readings)
	if b.LastError != nil {
		what += "; " + b.LastError.Error()
	}
	if b.Losses > 0 || b.PowerAbsent > b.Readings/100 && b.PowerAbsent < b.Readings {
		t.faults = append(t.faults, what)
		return
	}
	fmt.Fprintln(t.err, what)
}
