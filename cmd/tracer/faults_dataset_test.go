package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sourcegraph/conc"
)

// What drives the faults of datasets.
const (
	byHand  = "a file changed by hand"
	byKill  = "kill -9"
	byRun   = "the simulated server"
	isAside = "; --repair sets it aside with its run, the other run stays"
)

var datasetFaults = []fault{
	{"a byte flipped", byHand, "verify ends with 1 and names the file" + isAside, damaged(func(t *testing.T, file string) {
		body, _ := os.ReadFile(file)
		body[len(body)/2] ^= 1
		write(t, file, body)
	}, "its contents are not those that were committed")},
	{"a file cut short", byHand, "the same", damaged(func(t *testing.T, file string) {
		body, _ := os.ReadFile(file)
		write(t, file, body[:len(body)/2])
	}, "bytes, ")},
	{"a file deleted", byHand, "verify ends with 1 and names the file; --repair sets what is left of its run aside", damaged(func(t *testing.T, file string) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}, "it is missing, but a manifest names it")},
	{"a manifest torn", byHand, "verify ends with 1 and names it; --repair sets it aside with its run", damaged(func(t *testing.T, file string) {
		dir, _, _ := strings.Cut(file, "/samples/")
		write(t, filepath.Join(dir, "_tracer", "commits", "bad-rehearsal.json"), []byte(`{"run_id": "ba`))
	}, "the manifest cannot be read")},
	{"a file that nobody committed", byHand, "verify ends with 1 and names it; --repair sets it aside, both runs stay", aStray},
	{"unfinished files of a tracer that is gone", byHand, "verify warns and ends with 0, with 1 under --strict; --repair sets them aside", leftovers},
	{"a dataset verified while a run is written", byRun, "no finding, at any time", verifiedMeanwhile},
	{"compaction killed at random instants", byKill, "DuckDB finds every row once, always; verify warns; the next compact finishes or undoes it", compactionKilled},
	{"more invalid requests than --max-invalid", byRun, "the run is committed; exit 3", tooManyInvalid},
}

func write(t *testing.T, file string, body []byte) {
	t.Helper()
	if err := os.WriteFile(file, body, 0o644); err != nil {
		t.Fatal(err)
	}
}

// tracer runs the program, which is to end with a code, and gives what it printed.
func tracer(t *testing.T, code int, args ...string) string {
	t.Helper()
	cmd := exec.Command(program(t), args...)
	out, _ := cmd.CombinedOutput() // the exit code is looked at next
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("tracer %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return string(out)
}

// twoRuns is a dataset of two runs, and one file of the one that is to be damaged.
func twoRuns(t *testing.T) (dir, file string) {
	dir = t.TempDir()
	rehearse(t, dir, "good", 0)
	rehearse(t, dir, "bad", 1)
	tracer(t, exitOK, "verify", "--strict", dir)
	found, _ := filepath.Glob(filepath.Join(dir, "samples/*/*/stage=decode/bad-*.parquet"))
	return dir, found[0]
}

func damaged(damage func(t *testing.T, file string), says string) func(t *testing.T) {
	return func(t *testing.T) {
		dir, file := twoRuns(t)
		damage(t, file)
		if out := tracer(t, exitFailure, "verify", dir); !strings.Contains(out, says) {
			t.Errorf("%q is not told:\n%s", says, out)
		}
		if out := tracer(t, exitOK, "verify", "--repair", dir); !strings.Contains(out, "set aside: ") || !strings.Contains(out, "1 runs in") {
			t.Errorf("repaired:\n%s", out)
		}
		tracer(t, exitOK, "verify", "--strict", dir)
	}
}

func aStray(t *testing.T) {
	dir, file := twoRuns(t)
	body, _ := os.ReadFile(file)
	write(t, filepath.Join(filepath.Dir(file), "copy.parquet"), body)
	if out := tracer(t, exitFailure, "verify", dir); !strings.Contains(out, "copy.parquet: no manifest names it, but readers find it") {
		t.Errorf("the stray is not told:\n%s", out)
	}
	tracer(t, exitOK, "verify", "--repair", dir)
	if out := tracer(t, exitOK, "verify", "--strict", dir); !strings.Contains(out, "2 runs in") {
		t.Errorf("repaired:\n%s", out)
	}
	aside, _ := filepath.Glob(filepath.Join(dir, "_tracer/aside/*/samples/*/*/stage=decode/copy.parquet"))
	if len(aside) != 1 {
		t.Fatalf("set aside: %v", aside)
	}
	if kept, _ := os.ReadFile(aside[0]); !bytes.Equal(kept, body) {
		t.Error("what was set aside is not what there was")
	}
}

func leftovers(t *testing.T) {
	dir, _ := twoRuns(t)
	if err := os.MkdirAll(filepath.Join(dir, "_tracer", "tmp", "gone-host"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "_tracer", "tmp", "gone-host", "x.part"), []byte("PAR1"))
	if out := tracer(t, exitOK, "verify", dir); !strings.Contains(out, "warning: _tracer/tmp/gone-host: unfinished files of a tracer that is gone") {
		t.Errorf("they are not told:\n%s", out)
	}
	tracer(t, exitFailure, "verify", "--strict", dir)
	tracer(t, exitOK, "verify", "--strict", "--repair", dir)
	if kept, _ := filepath.Glob(filepath.Join(dir, "_tracer/aside/*/_tracer/tmp/gone-host/x.part")); len(kept) != 1 {
		t.Errorf("set aside: %v", kept)
	}
}

func verifiedMeanwhile(t *testing.T) {
	dir, _ := twoRuns(t)
	cmd := exec.Command(program(t), collectArgs(dir, "live", "--gpu", "sim:H200", "--endpoint", "sim", "--sizes", "10", "--prompts", "2", "--idle", "500ms")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var waiter conc.WaitGroup
	defer waiter.Wait()
	done := make(chan error, 1)
	waiter.Go(func() { done <- cmd.Wait() })
	for looks := 1; ; looks++ {
		tracer(t, exitOK, "verify", "--strict", dir)
		select {
		case err := <-done:
			if out := tracer(t, exitOK, "verify", "--strict", dir); err != nil || looks < 3 || !strings.Contains(out, "3 runs in") {
				t.Errorf("after %d looks: %v\n%s", looks, err, out)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func tooManyInvalid(t *testing.T) {
	dir := t.TempDir()
	out := tracer(t, exitPartial, collectArgs(dir, "overlaps", "--gpu", "sim:H200", "--endpoint", "sim", "--sizes", "10", "--prompts", "2", "--concurrency", "2", "--max-invalid", "0", "--idle", "500ms")...)
	if !strings.Contains(out, "requests are not valid, more than --max-invalid 0") || !strings.Contains(out, "× overlap") {
		t.Errorf("it is not told:\n%s", out)
	}
	tracer(t, exitOK, "verify", "--strict", dir)
}
