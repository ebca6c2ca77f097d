package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

// driverFaults are those of the driver and its library.
var driverFaults = []fault{
	{"driver reloaded", onFake, "the library is opened anew and all boards go on; gaps say `reopened`; the counter's reset is told, closure left out; exit 0", aReloadedDriver},
	{"library and driver of different versions, at start", onFake, "an error with its mend; exit 4", aMismatchAtStart},
	{"library and driver of different versions, in mid-run", onFake, "the boards are lost; what was measured is committed; exit 3", aMismatchInMidRun},
	{"library without a function", "the fake of libnvidia-ml, built without it", "its columns are NULL; `tracer doctor` names it; exit 0", aMissingFunction},
	{"library without a function that nothing works without", "the fake of libnvidia-ml, built without it", "an error that names it; exit 4", aMissingNecessity},
	{"a call about one board hangs", onFake, "after --driver-timeout that board is lost; another thread reads the others; the program ends without waiting; exit 3", aHangingBoard},
	{"every call hangs", onFake, "the run stops, and what was measured is committed; exit 3", aHangingDriver},
	{"opening the library hangs", onFake, "an error with its mend; exit 4", aHangAtStart},
	{"a call hangs during calibration", onFake, "an error that names the board; exit 4", aHangInCalibration},
	{"a call hangs under `tracer doctor`", onFake, "told; the other checks go on; exit 4", aHangUnderDoctor},
	{"closing the library hangs", onFake, "the run is committed; the program ends; exit 0", aHangAtTheEnd},
}

func aReloadedDriver(t *testing.T) {
	b := newBench(t, 2)
	b.collect(func() {
		from := clock.Now() + 1.5e9
		for board := range 2 {
			b.fault(board, sim.Fault{Twist: sim.Stale, Return: uninitialized, FromNS: from})
			b.fault(board, sim.Fault{Twist: sim.Restarts, Function: sim.FieldValues, Field: energyField, FromNS: from})
		}
	}, exitOK, []string{"reopened", "counter went back"})
	reopened := 0
	for board := range 2 {
		run, rows := b.run(board), b.samples(board)
		if run["energy_counter_resets"] != int64(1) || run["energy_closure_pct"] != nil || run["board_lost"] != false {
			t.Errorf("board %d: energy_counter_resets %v, energy_closure_pct %v, board_lost %v", board, run["energy_counter_resets"], run["energy_closure_pct"], run["board_lost"])
		}
		for _, g := range b.gaps(board) {
			if g.Why == schema.GapReopened && instantOf(rows[len(rows)-1]) > g.ToNS {
				reopened++
			}
		}
	}
	if reopened != 1 { // the board that noticed; the other found its handle renewed
		t.Errorf("%d gaps by reopening", reopened)
	}
}

func aMismatchAtStart(t *testing.T) {
	b := newBench(t, 1)
	b.script.SetInitReturn(versionMismatch)
	cmd, printed := b.started("", collectArgs(b.dir, "faulted", "--endpoint", b.url)...)
	b.ended(cmd, printed, exitEnvironment, "reboot, or reload the driver")
}

func aMismatchInMidRun(t *testing.T) {
	b := newBench(t, 2)
	b.collect(func() {
		waitForTruth(t, b.truth, 2)
		b.script.SetInitReturn(versionMismatch)
		for board := range 2 {
			b.fault(board, sim.Fault{Return: versionMismatch})
		}
	}, exitPartial, []string{"every board is lost", "versions differ"})
	b.oneGap(0, schema.GapLost)
	b.oneGap(1, schema.GapLost)
}

// fakeWithout builds the fake without one function.
func fakeWithout(t *testing.T, function string) (dir string) {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc to build the fake libnvidia-ml with")
	}
	include, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml/pkg/nvml").Output()
	if err != nil {
		t.Fatalf("finding nvml.h: %v", err)
	}
	sources, err := filepath.Glob("../../sampler/nvml/fake/*.c")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	args := append([]string{
		"-std=gnu11", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-fvisibility=hidden", "-D" + function + "=absent",
		"-I" + strings.TrimSpace(string(include)), "-o", filepath.Join(dir, "libnvidia-ml.so.1"),
	}, sources...)
	if out, err := exec.Command(gcc, append(args, "-lm", "-lpthread")...).CombinedOutput(); err != nil {
		t.Fatalf("building the fake without %s: %v\n%s", function, err, out)
	}
	return dir
}

func aMissingFunction(t *testing.T) {
	b := newBench(t, 1)
	b.library = fakeWithout(t, "nvmlDeviceGetFieldValues")
	b.collect(func() {}, exitOK, []string{"tells no power"})
	rows := b.samples(0)
	if present(rows, "power_instant_w") != 0 || present(rows, "energy_total_j") != 0 || present(rows, "gpu_utilization_pct") == 0 {
		t.Error("power is not NULL, or utilisation is")
	}
	cmd, printed := b.started("", "doctor", "--endpoint", b.url, "--out", b.dir)
	_ = cmd.Wait() // its code is that of all its checks, of which a busy machine's clock is one
	if want := "nvmlDeviceGetFieldValues is not in this driver"; !strings.Contains(printed.String(), want) {
		t.Errorf("doctor does not say %q:\n%s", want, printed)
	}
}

func aMissingNecessity(t *testing.T) {
	b := newBench(t, 1)
	b.library = fakeWithout(t, "nvmlDeviceGetUUID")
	cmd, printed := b.started("", collectArgs(b.dir, "faulted", "--endpoint", b.url)...)
	b.ended(cmd, printed, exitEnvironment, "nvmlDeviceGetUUID is missing")
}

func aHangingBoard(t *testing.T) {
	b := newBench(t, 2)
	b.collect(func() {
		b.fault(1, sim.Fault{Function: sim.FieldValues, Extra: forGood, FromNS: clock.Now() + 5e8})
	}, exitPartial, []string{"stopped answering 1 times", "does not come back"}, "--idle", "2s")
	gap, rows := b.oneGap(1, schema.GapHang), b.samples(0)
	if last := instantOf(rows[len(rows)-1]); last < gap.FromNS+3e9 {
		t.Errorf("board 0 was read until %d, and the other hung from %d", last, gap.FromNS)
	}
	stalled := b.oneGap(0, schema.GapStalled) // for as long as the call had patience
	if stalled.FromNS < gap.FromNS-1e8 || stalled.ToNS > gap.ToNS {
		t.Errorf("board 0 stalled from %d to %d, the other hung from %d to %d", stalled.FromNS, stalled.ToNS, gap.FromNS, gap.ToNS)
	}
	b.markedIn(gap)
}

func aHangingDriver(t *testing.T) {
	b := newBench(t, 2)
	b.collect(func() {
		waitForTruth(t, b.truth, 1)
		for board := range 2 {
			b.fault(board, sim.Fault{Extra: forGood})
		}
	}, exitPartial, []string{"every board is lost", "does not come back"}, "--prompts", "20")
	b.oneGap(0, schema.GapHang)
	b.oneGap(1, schema.GapHang)
}

func aHangAtStart(t *testing.T) {
	b := newBench(t, 1)
	b.script.SetInitCost(forGood)
	cmd, printed := b.started("", collectArgs(b.dir, "faulted", "--endpoint", b.url, "--driver-timeout", "1s")...)
	b.ended(cmd, printed, exitEnvironment, "does not come back", "no answer in 3s")
}

func aHangInCalibration(t *testing.T) {
	b := newBench(t, 2)
	cmd, printed := b.started("calibrating", collectArgs(b.dir, "faulted", "--endpoint", b.url, "--calibrate", "auto", "--driver-timeout", "1s")...)
	b.fault(1, sim.Fault{Function: sim.FieldValues, Extra: forGood})
	b.ended(cmd, printed, exitEnvironment, "calibrating "+b.script.Boards()[1].Spec().UUID, "does not come back")
}

func aHangUnderDoctor(t *testing.T) {
	b := newBench(t, 1)
	cmd, printed := b.started("ok    board", "doctor", "--endpoint", b.url, "--out", b.dir, "--driver-timeout", "1s")
	b.fault(0, sim.Fault{Function: sim.FieldValues, Extra: forGood})
	b.ended(cmd, printed, exitEnvironment, "FAIL  sensors", "does not come back", "ok    endpoint")
}

func aHangAtTheEnd(t *testing.T) {
	b := newBench(t, 1)
	b.script.SetShutdownCost(forGood)
	b.collect(func() {}, exitOK, nil)
	if len(b.rows("runs")) != 1 {
		t.Error("the run is not there")
	}
}
