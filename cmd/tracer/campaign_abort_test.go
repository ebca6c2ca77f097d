package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// appeared waits for a file, and gives what stands in it.
func appeared(t *testing.T, path string, said *os.File, words string) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), words) {
			return string(text)
		}
		if time.Now().After(deadline) {
			screen, _ := os.ReadFile(said.Name())
			t.Fatalf("%q does not stand in %s\n%s", words, path, screen)
		}
	}
}

// interruptedTwice ends a campaign by two Ctrl-C, the second after it has said what the first does.
func interruptedTwice(t *testing.T, s *started, screen *os.File) {
	t.Helper()
	_ = s.Process.Signal(os.Interrupt)
	_ = s.Process.Signal(os.Interrupt) // one and the same
	appeared(t, screen.Name(), screen, "again to abort")
	time.Sleep(2 * sameStop)
	_ = s.Process.Signal(os.Interrupt)
	_ = s.Wait() // the code tells
	text, err := os.ReadFile(screen.Name())
	if err != nil {
		t.Fatal(err)
	}
	holds(t, s.ProcessState.ExitCode(), string(text), exitFailure, `tracer: aborted; tracer campaign \S+ publishes what the run under way had measured, and goes on`)
}

func screenOf(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "screen"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// A server that takes its time to end, and a run that hangs, keep nobody waiting who presses Ctrl-C again; nothing is lost.
func TestACampaignEndsAtOnceBySecondInterrupt(t *testing.T) {
	t.Parallel()
	pid, screen := filepath.Join(t.TempDir(), "pid"), screenOf(t)
	stubborn, _ := campaignFile(t, fmt.Sprintf(`name: stubborn
out: %%s
boards: ["0"]
models: [{name: m, endpoint: "http://127.0.0.1:1/v1", serve: {command: "trap '' TERM; echo $$ done >%s; while :; do sleep 1; done", stop: 1h}}]
workloads: [decode]
sizes: [10]
`, pid))
	s := &started{exec.Command(program(t), "campaign", stubborn), nil}
	s.Env, s.Stdout, s.Stderr = environ(), screen, screen
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Process.Kill() })
	server, _, _ := strings.Cut(appeared(t, pid, screen, "done"), " ")
	interruptedTwice(t, s, screen)
	n, err := strconv.Atoi(server)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); alive(n); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server is still there")
		}
	}

	file, dir := campaignFile(t, twoBoards)
	cells := planned(t, file)
	screen = screenOf(t)
	s = startUntil(t, dir, cells[0], 6_000, of(t, []string{"campaign", file}), screen)
	runs := children(t, s.Process.Pid)
	for _, run := range runs {
		_ = syscall.Kill(run, syscall.SIGSTOP)
	}
	interruptedTwice(t, s, screen)
	for _, run := range runs {
		_ = syscall.Kill(run, syscall.SIGCONT)
	}
	ends(t, exitOK, []string{"campaign", file}, `campaign two is complete`)
	for _, cell := range cells {
		for what, times := range sendings(t, dir, cell) {
			if times != 1 {
				t.Errorf("%s: %s was answered %d times", cell, what, times)
			}
		}
	}
	ends(t, exitOK, []string{"verify", "--strict", dir}, `0 errors, 0 warnings`)
}

// alive says whether a process is there and not merely waited for.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
