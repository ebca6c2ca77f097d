package main

import (
	"slices"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

// onFake is what drives the faults of boards: the library that go-nvml opens, with faults in its script.
const onFake = "the fake of libnvidia-ml"

// Codes that the fake answers with.
const (
	uninitialized   = 1
	gpuIsLost       = 15
	resetRequired   = 16
	versionMismatch = 18
	unknownError    = 999
)

const (
	powerField  = 186
	energyField = 83
	forGood     = time.Hour
)

var boardFaults = slices.Concat([]fault{
	{"board lost", onFake, "the other boards go on; the run is committed; a gap up to its end; exit 3", aLostBoard},
	{"board lost for a while", onFake, "it is tried again and goes on; a gap, and requests in it are marked `gap`; exit 3", aBoardThatComesBack},
	{"board asks for a reset", onFake, "as a lost board; the gap says `reset`; exit 3", aBoardToBeReset},
	{"instant power fails for good", onFake, "NULL from then on, and counted; everything else is read; exit 3", aFieldThatFails},
	{"utilisation fails", onFake, "NULL there; everything else is read; exit 0", aCallThatFails},
	{"one field becomes slow", onFake, "the governor reads that board less often, and says so; exit 0", aSlowField},
	{"power sensor stands still", onFake, "told as `power_stuck`; no energies from then on; exit 0", aStuckSensor},
	{"power is 0 W for a moment", onFake, "NULL there, and counted; never 0 W; exit 0", zerosInPassing},
	{"board slows down for heat", onFake, "requests are marked `throttled` and say the bits; exit 0", aHotBoard},
	{"somebody else works on the board", onFake, "requests are marked `foreign_load`; exit 0", foreignLoad},
}, driverFaults)

func aLostBoard(t *testing.T) {
	b := newBench(t, 2)
	b.collect(func() {
		b.fault(1, sim.Fault{Function: sim.FieldValues, Return: gpuIsLost, FromNS: clock.Now() + 1.5e9})
	}, exitPartial, []string{"stopped answering 1 times", "gap: board 1"})
	gap, last := b.oneGap(1, schema.GapLost), b.samples(0)
	if end := instantOf(last[len(last)-1]); gap.ToNS < end {
		t.Errorf("the gap ends at %d, before the other board's last row at %d", gap.ToNS, end)
	}
	b.markedIn(gap)
	if run := b.run(1); run["board_lost"] != true || len(b.gaps(0)) != 0 {
		t.Errorf("board_lost is %v, the other board's gaps are %v", run["board_lost"], b.gaps(0))
	}
}

func aBoardThatComesBack(t *testing.T) {
	b := newBench(t, 2)
	b.collect(func() {
		from := clock.Now() + 1.5e9
		b.fault(1, sim.Fault{Function: sim.FieldValues, Return: gpuIsLost, FromNS: from, ToNS: from + 3e8})
	}, exitPartial, []string{"stopped answering 1 times"})
	gap, rows := b.oneGap(1, schema.GapLost), b.samples(1)
	if last := instantOf(rows[len(rows)-1]); last <= gap.ToNS {
		t.Errorf("no row after the gap, which ends at %d: the last is at %d", gap.ToNS, last)
	}
	b.markedIn(gap)
}

func aBoardToBeReset(t *testing.T) {
	b := newBench(t, 2)
	b.collect(func() {
		b.fault(1, sim.Fault{Function: sim.FieldValues, Return: resetRequired, FromNS: clock.Now() + 1.5e9})
	}, exitPartial, []string{"stopped answering"})
	b.markedIn(b.oneGap(1, schema.GapReset))
}

// present counts the rows in which a column has a value.
func present(rows []map[string]any, column string) (n int) {
	for _, r := range rows {
		if r[column] != nil {
			n++
		}
	}
	return n
}

func aFieldThatFails(t *testing.T) {
	b := newBench(t, 1)
	var from int64
	b.collect(func() {
		from = clock.Now() + 1.5e9
		b.fault(0, sim.Fault{Function: sim.FieldValues, Field: powerField, Return: unknownError, FromNS: from})
	}, exitPartial, []string{"instant power absent in"})
	rows := b.samples(0)
	before := slices.IndexFunc(rows, func(r map[string]any) bool { return instantOf(r) > from })
	if with := present(rows, "power_instant_w"); with > before || with < before-1 {
		t.Errorf("%d rows with power, %d before it failed", with, before)
	}
	if after := rows[before:]; present(after, "energy_total_j") == 0 || present(after, "gpu_utilization_pct") == 0 || present(after, "sm_active_ratio") == 0 {
		t.Error("other columns are NULL too")
	}
	if absent := b.run(0)["readings_without_power"]; absent != int64(len(rows)-present(rows, "power_instant_w")) {
		t.Errorf("readings_without_power is %v", absent)
	}
}

func aCallThatFails(t *testing.T) {
	b := newBench(t, 1)
	b.fault(0, sim.Fault{Function: sim.UtilizationRates, Return: unknownError})
	b.collect(func() {}, exitOK, nil)
	rows := b.samples(0)
	if n := present(rows, "gpu_utilization_pct"); n != 0 {
		t.Errorf("%d rows have utilisation", n)
	}
	if present(rows, "power_instant_w") != len(rows) || present(rows, "power_average_w") == 0 || present(rows, "sm_clock_mhz") == 0 {
		t.Error("other columns are NULL too")
	}
}

func aSlowField(t *testing.T) {
	b := newBench(t, 1)
	b.collect(func() {
		b.fault(0, sim.Fault{Function: sim.FieldValues, Field: powerField, Extra: 30 * time.Millisecond, FromNS: clock.Now() + 5e8})
	}, exitOK, []string{"governor: board 0 read every"})
	if len(list(t, b.run(0), "period_changes")) == 0 || len(b.gaps(0)) != 0 {
		t.Error("the governor changed nothing, or there is a gap")
	}
}

// The sensor stands still while the board idles, and goes on showing that when requests come.
func aStuckSensor(t *testing.T) {
	b := newBench(t, 1)
	b.collect(func() {
		b.fault(0, sim.Fault{Twist: sim.Freezes, Function: sim.FieldValues, Field: powerField, FromNS: clock.Now() + 2e8})
	}, exitOK, []string{"NOT VALID", schema.ReasonStuck}, "--idle", "2s")
	if run := b.run(0); run["valid"] != false || !slices.Contains(list(t, run, "invalid_reasons"), schema.ReasonStuck) || run["decode_energy_j"] != nil {
		t.Errorf("invalid_reasons %v, decode_energy_j %v", run["invalid_reasons"], run["decode_energy_j"])
	}
	if n := present(b.rows("requests"), "decode_energy_j"); n != 0 {
		t.Errorf("%d requests have an energy", n)
	}
}

func zerosInPassing(t *testing.T) {
	b := newBench(t, 1)
	b.collect(func() {
		from := clock.Now() + 1.5e9
		b.fault(0, sim.Fault{Twist: sim.Zero, Function: sim.FieldValues, Field: powerField, FromNS: from, ToNS: from + 25e6})
	}, exitOK, []string{"instant power absent in"}, "--period", "10ms")
	for _, r := range b.samples(0) {
		if r["power_instant_w"] == float32(0) {
			t.Fatal("a row has 0 W")
		}
	}
	if absent := b.run(0)["readings_without_power"].(int64); absent < 1 || absent > 3 {
		t.Errorf("readings_without_power is %d", absent)
	}
	if n := present(b.rows("requests"), "decode_energy_j"); n != 4 {
		t.Errorf("%d of 4 requests have an energy", n)
	}
}

func aHotBoard(t *testing.T) {
	const thermal = 0x40 // nvmlClocksEventReasonHwThermalSlowdown
	b := newBench(t, 1)
	b.collect(func() {
		waitForTruth(t, b.truth, 3)
		b.script.Boards()[0].HoldDown(clock.Now(), thermal)
	}, exitOK, nil, "--prompts", "6")
	var lastCool, hot int64
	for _, r := range b.samples(0) {
		reasons, read := r["throttle_reasons"].(int64)
		switch {
		case read && reasons&thermal != 0:
			hot = instantOf(r)
		case read && hot == 0:
			lastCool = instantOf(r)
		}
	}
	b.marked(schema.ReasonThrottled, func(_, end int64) bool { return end > lastCool })
	for _, r := range b.rows("requests") {
		throttled := slices.Contains(list(t, r, "invalid_reasons"), schema.ReasonThrottled)
		if bits := r["throttle_reasons"].(int64); bits&thermal != 0 != throttled {
			t.Errorf("throttle_reasons %#x, throttled %v", bits, throttled)
		}
	}
}

func foreignLoad(t *testing.T) {
	b := newBench(t, 1)
	board := b.script.Boards()[0]
	b.collect(func() {
		clock.SleepUntil(clock.Now() + 4e8) // the question about the chat template has died away
		board.Set(clock.Now(), 3*board.Spec().IdleW, 0.6, 0.3)
	}, exitOK, nil, "--idle", "2s")
	b.marked(schema.ReasonForeignLoad, func(int64, int64) bool { return true })
}
