package main

import (
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

var clockFaults = []fault{
	{"wall clock set", "a program whose wall clock steps", "rows keep the clock of the start; `clock_steps` says when and by how much; requests in flight are marked `clock_step`; exit 0", aSteppedClock},
	{"machine suspended", "a program whose boot clock steps", "a gap says `suspend` and for how long; requests in flight are marked `gap`; exit 0", aSuspendedHost},
	{"process stopped for a while", "SIGSTOP, SIGCONT", "a gap says `stalled`; no board is given up; requests in flight are marked `gap`; exit 0", aStoppedProcess},
}

// The test binary is these programs too: tracer on a host whose clocks jump a while after it began.
const (
	jumpAfter = 2500 * time.Millisecond
	jump      = 30 * time.Second
)

func stepped()   { disturbed(-jump, 0) }
func suspended() { disturbed(jump, jump) }

func disturbed(wall, boot time.Duration) {
	began := clock.Now()
	clock.Disturb(func(ns int64) (int64, int64) {
		if ns < began+int64(jumpAfter) {
			return 0, 0
		}
		return int64(wall), int64(boot)
	})
	main()
}

func inProcess(dir string) []string {
	return collectArgs(filepath.Join(dir, "data"), "faulted", "--gpu", "sim:"+benchKind, "--endpoint", "sim", "--workload", "decode", "--sizes", "100",
		"--prompts", "8", "--warmup", "0", "--idle", "500ms", "--pause", "0s")
}

// jumped is what a run of such a program left.
func jumped(t *testing.T, program string, says string) *bench {
	b := &bench{t: t, dir: t.TempDir()}
	out, err := exec.Command(programCalled(t, program), inProcess(b.dir)...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), says) {
		t.Fatalf("%s: %v, and it should say %q\n%s", program, err, says, out)
	}
	return b
}

func aSteppedClock(t *testing.T) {
	b := jumped(t, "tracer-stepped", "the wall clock stepped by -30.")
	run := b.rows("runs")[0]
	steps := list(t, run, "clock_steps")
	if len(steps) != 1 {
		t.Fatalf("clock_steps %v", steps)
	}
	step, err := schema.ParseClockStep(steps[0])
	if err != nil || math.Abs((step.Step+jump).Seconds()) > 0.01 {
		t.Fatalf("clock_steps %v, %v", steps, err)
	}
	if whole := run["clock_step_ns"].(int64); math.Abs(float64(whole)+float64(jump)) > 1e7 {
		t.Errorf("clock_step_ns %d", whole)
	}
	b.marked(schema.ReasonClockStep, func(start, end int64) bool { return start <= step.ToNS && end >= step.FromNS })
	if gaps := list(t, run, "gaps"); len(gaps) != 0 {
		t.Errorf("gaps %v", gaps)
	}
}

func aSuspendedHost(t *testing.T) {
	b := jumped(t, "tracer-suspended", "suspend for 30.0 s")
	run := b.rows("runs")[0]
	gaps := list(t, run, "gaps")
	if len(gaps) != 1 || len(list(t, run, "clock_steps")) != 0 {
		t.Fatalf("gaps %v, clock_steps %v", gaps, run["clock_steps"])
	}
	gap, err := schema.ParseGap(gaps[0])
	if err != nil || gap.Why != schema.GapSuspend || math.Abs((gap.Slept-jump).Seconds()) > 0.01 {
		t.Fatalf("gaps %v, %v", gaps, err)
	}
	b.markedIn(gap)
}

func aStoppedProcess(t *testing.T) {
	b := newBench(t, 1)
	const stopped = 2500 * time.Millisecond
	args := collectArgs(filepath.Join(b.dir, "data"), "faulted", "--endpoint", b.url, "--workload", "decode", "--sizes", "100", "--prompts", "6",
		"--warmup", "0", "--idle", "500ms", "--pause", "0s", "--driver-timeout", "1s")
	cmd, printed := b.started(sampling, args...)
	waitForTruth(t, b.truth, 1)
	clock.SleepUntil(clock.Now() + 5e8) // amid the next answer
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// The signal is sent before all threads have stopped.
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("%v, wait status %#x", err, status)
	}
	clock.SleepUntil(clock.Now() + int64(stopped))
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	b.ended(cmd, printed, exitOK, "stalled")
	gap := b.oneGap(0, schema.GapStalled)
	if length := time.Duration(gap.ToNS - gap.FromNS); length < stopped {
		t.Errorf("the gap is %v long", length)
	}
	b.markedIn(gap)
}
