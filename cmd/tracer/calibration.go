package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// The ways to calibrate.
const (
	calibrateAuto   = "auto"   // periods and costs; windows from the table
	calibrateActive = "active" // averaging windows too
	calibrateOff    = "off"
)

const (
	// activeLength holds some 30 requests and pauses: half as many again as a window of a quarter of the period needs.
	activeLength = 10 * time.Second
	// rested is how long after the last request the boards are left alone: a running average forgets in 1 s.
	rested = time.Second
)

// calibrationLength is how long the boards are observed in a mode.
func calibrationLength(mode string) time.Duration {
	if mode == calibrateActive {
		return activeLength
	}
	return sampler.CalibrationLength
}

// calibrate has a server work on the boards, where there is one, and finds out meanwhile how their sensors behave.
func (b *boards) calibrate(ctx context.Context, client *nebula.Client, mode string) ([]schema.Calibration, error) {
	readers := make([]sampler.FieldReader, len(b.devices))
	for i, d := range b.devices {
		readers[i] = d.(sampler.FieldReader) // NVML's boards and simulated ones are
	}
	load := "whatever ran on it"
	var wave *squareWave
	if client != nil {
		load = "decode requests with pauses, by tracer"
		wave = &squareWave{client: client, averages: mode == calibrateActive}
		if err := wave.warm(ctx); err != nil {
			return nil, fmt.Errorf("making load: %w", err)
		}
	}
	stop, end := context.WithCancel(ctx)
	defer end()
	var owner conc.WaitGroup
	if wave != nil {
		owner.Go(func() { wave.run(stop) })
	}
	observed, err := sampler.Observe(ctx, readers, calibrationLength(mode), b.patience)
	end()
	owner.Wait()
	if err != nil {
		return nil, err
	}
	var work []sampler.Work
	if wave != nil {
		if wave.failed != nil {
			return nil, fmt.Errorf("making load: %w", wave.failed)
		}
		if err := wait(ctx, rested); err != nil {
			return nil, err
		}
		if mode == calibrateActive {
			work = wave.work
		}
	}
	found := make([]schema.Calibration, len(observed))
	for i := range observed {
		found[i] = observed[i].Calibration(work)
		found[i].AtUnixMS, found[i].Load = time.Now().UnixMilli(), load
	}
	return found, nil
}

// parseBudget reads --budget: a share of wall time, in per cent.
func parseBudget(text string) (float64, error) {
	percent, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !strings.HasSuffix(text, "%") || percent < 0.01 || percent > 100 {
		return 0, usage("--budget %s: give a share of the time between 0.01%% and 100%% such as 0.5%%", text)
	}
	return percent / 100, nil
}

// recall takes what the dataset knows of the boards into their facts. What it cannot read is measured anew.
func (c *collect) recall(t *terminal, b *boards) {
	if c.Calibrate == calibrateOff {
		return
	}
	var err error
	if b.calibrations, err = b.kept(c.Out, c.Calibrate); err != nil {
		fmt.Fprintf(t.err, "calibration: %v\n", err)
	}
}

// calibrate measures the boards' sensors where the dataset does not know them, and plans again. Boards that cannot be
// calibrated keep the table's numbers, which is told.
func (t *trace) calibrate(ctx context.Context) (err error) {
	if t.Calibrate != calibrateOff && t.boards.calibrations == nil && len(t.boards.devices) > 0 {
		fmt.Fprintf(t.err, "calibrating the sensors: %v under a load of short requests\n", calibrationLength(t.Calibrate))
		found, failure := t.boards.calibrate(ctx, t.client, t.Calibrate)
		if failure == nil {
			t.boards.calibrations = found
			failure = t.boards.keep(t.Out, t.Calibrate, found)
		}
		if errors.Is(failure, sampler.ErrHung) {
			return hung(failure)
		}
		if failure != nil {
			fmt.Fprintf(t.err, "calibration: %v\n", failure)
		}
	}
	facts := t.boards.facts()
	for _, b := range facts {
		if t.Calibrate != calibrateOff {
			fmt.Fprintf(t.err, "board %s: %s\n", whereabouts(&b), sensorLine(b))
		}
	}
	if t.plan, err = sampler.PlanFor(facts, t.period); err != nil {
		return err
	}
	t.tellPeriod(facts)
	return nil
}

// sensorLine says what is held of a board's power sensor.
func sensorLine(b schema.Board) string {
	s, c := b.Power, b.Calibration.PowerInstant
	how := "not calibrated"
	switch {
	case s.PeriodConfidence.OK:
		how = fmt.Sprintf("R %.3f, %d changes", c.Confidence, c.Changes)
	case c.Reads > 0:
		how = fmt.Sprintf("period not found in %d changes", c.Changes)
	}
	return fmt.Sprintf("instant power has a new value every %s (%s), a mean over %s (%s)", milliseconds(s.Period), how, window(s), s.Provenance)
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.4g ms", float64(d)/1e6) }

func window(s schema.Sensor) string {
	switch {
	case s.Window == 0:
		return "an unknown time"
	case s.WindowError > 0:
		return fmt.Sprintf("%s ± %s", milliseconds(s.Window), milliseconds(s.WindowError))
	}
	return milliseconds(s.Window)
}

// tellPeriod says what a period that was asked for buys.
func (t *trace) tellPeriod(facts []schema.Board) {
	auto, err := sampler.PlanFor(facts, 0)
	if t.period == 0 || err != nil {
		return
	}
	for _, b := range facts {
		switch times := float64(b.Power.Period) / float64(t.period); {
		case times > 1.05*float64(b.Power.Period)/float64(auto.Power):
			fmt.Fprintf(t.err, "--period %v: board %d's power sensor has a new value every %s: %v reads each %.0f times; auto would read every %v\n",
				t.period, b.Index, milliseconds(b.Power.Period), t.period, times, auto.Power)
		case times < 1.5: // at the sensor's own period the two keep step for long, and now and then slip by one
			fmt.Fprintf(t.err, "--period %v: board %d's power sensor has a new value every %s: not every one is read; auto would read every %v\n",
				t.period, b.Index, milliseconds(b.Power.Period), auto.Power)
		}
	}
}

// tellCalls says what the governor did, or what it would have done.
func (t *trace) tellCalls() {
	boards := t.boards.facts()
	for i, s := range t.sampling { // none of a run that was rescued
		b := &boards[i]
		for _, c := range s.PeriodChanges {
			fmt.Fprintf(t.out, "governor: board %d read every %v instead of %v from %.1f s on: its calls took %.2g %% of the time, budget %s\n",
				b.Index, c.To, c.From, float64(c.AtNS-t.record.Start.MonotonicNS)/1e9, 100*c.Share, t.Budget)
		}
		if s.Budget == 0 && s.CallPeak > t.budget {
			fmt.Fprintf(t.out, "board %d: its calls took up to %.2g %% of the time, over the budget of %s; with --period auto it would be read less often\n", b.Index, 100*s.CallPeak, t.Budget)
		}
	}
}
