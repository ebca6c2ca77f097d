package main

import (
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/llm-tracer/tracer/pipeline/store"
)

// killedWhilePublishing kills a run between its last file and its manifest. Its files are strays to readers, but recover needs them where they are.
func killedWhilePublishing(t *testing.T) {
	dir := inMemory(t)
	manifest := filepath.Join(dir, store.Commits, store.RunName("one", hostname())+".json")
	args := traced(t, "renameat2:signal=KILL", shortRun(dir, "one"))
	args = slices.DeleteFunc(args, func(a string) bool { return a == "--seccomp-bpf" }) // under it strace sends no signals
	runUntilKilled(t, slices.Insert(args, 1, "-P", manifest))
	if placed, _ := filepath.Glob(filepath.Join(dir, "samples/*/*/*/one-*.parquet")); len(placed) == 0 || len(manifests(t, dir)) > 0 {
		t.Fatalf("in place are %v, and %d manifests", placed, len(manifests(t, dir)))
	}
	const warning = "warning: _tracer/journal/one-.*: the journal of a run that broke off; it is not published; publish what it holds: tracer recover"
	ends(t, exitOK, []string{"verify", dir}, warning)
	holds(t, exitFailure, tracer(t, exitFailure, "verify", "--strict", dir), exitFailure, warning)
	if out := tracer(t, exitOK, "verify", "--repair", dir); strings.Contains(out, "set aside") {
		t.Errorf("what the recovery needs was moved:\n%s", out)
	}
	ends(t, exitOK, []string{"recover", "--out", dir}, "run one is published, complete: .* and 12 requests; nothing is lost")
	tracer(t, exitOK, "verify", "--strict", dir)
	committed(t, dir, "one")
}

// A run can be gone on with after its files were joined with others', and so can its continuation; the datasets are sound.
func TestARunIsGoneOnWithAfterACompaction(t *testing.T) {
	t.Parallel()
	dir := inMemory(t)
	ends(t, exitOK, shortRun(dir, "other"))
	for range 2 {
		run := "one"
		args := of(t, longRun(dir, run))
		if len(manifests(t, dir)) > 1 {
			run, args = "one.2", of(t, []string{"collect", "--resume", "one", "--out", dir})
		}
		s := start(t, dir, run, args)
		_ = s.Process.Kill()
		s.ends(t, -1)
		ends(t, exitOK, []string{"recover", "--out", dir}, "run "+run+" is published, recovered")
		before := sendings(t, dir, "one")
		tracer(t, exitOK, "compact", dir)
		if joined, _ := filepath.Glob(filepath.Join(dir, "requests/*/*/compact-*.parquet")); len(joined) != 1 {
			t.Fatalf("joined are %v", joined)
		}
		if after := sendings(t, dir, "one"); len(before) == 0 || !maps.Equal(after, before) {
			t.Errorf("%v were sent, after the compaction %v", before, after)
		}
		tracer(t, exitOK, "verify", "--strict", dir)
	}
	s := start(t, dir, "one.3", of(t, []string{"collect", "--resume", "one", "--out", dir}))
	_ = s.Process.Signal(syscall.SIGINT)
	s.ends(t, exitInterrupted)
	tracer(t, exitOK, "verify", "--strict", dir)
	for sent, n := range sendings(t, dir, "one") {
		if n != 1 {
			t.Errorf("%s was answered %d times", sent, n)
		}
	}
}

func runUntilKilled(t *testing.T, args []string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = environ()
	out, err := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		t.Fatalf("it was not killed: %v\n%s", err, out)
	}
}
