package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/llm-tracer/tracer/schema"
)

// collecting starts a simulated run and waits until it sends.
func collecting(t *testing.T, dir string, flags ...string) *exec.Cmd {
	t.Helper()
	args := append([]string{"collect", "--gpu", "sim:H200", "--endpoint", "sim", "--sizes", "100", "--calibrate", "off", "--idle", "300ms", "--out", dir}, flags...)
	run := exec.CommandContext(t.Context(), program(t), args...)
	said, words := io.Pipe()
	run.Stderr = words
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "requests to") {
			go func() { _, _ = io.Copy(io.Discard, said) }()
			return run
		}
	}
	t.Fatal("the run does not begin")
	return nil
}

// screen is what a program has written on a pseudo-terminal.
type screen struct {
	terminal *os.File
	mu       sync.Mutex
	written  bytes.Buffer
	more     chan struct{}
}

func onTerminal(t *testing.T, cmd *exec.Cmd) *screen {
	t.Helper()
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	s := &screen{terminal: terminal, more: make(chan struct{}, 1)}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := terminal.Read(buf)
			s.mu.Lock()
			s.written.Write(buf[:n])
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written.String()
}

// shows waits until a text has been written.
func (s *screen) shows(t *testing.T, want string) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for !strings.Contains(s.text(), want) {
		select {
		case <-s.more:
		case <-limit:
			t.Fatalf("%q does not come; the terminal shows\n%q", want, s.text())
		}
	}
}

func TestWatchShowsARunInProgress(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := collecting(t, dir, "--prompts", "6", "--run-id", "seen")

	watch := exec.CommandContext(t.Context(), program(t), "watch", dir)
	watch.Env = environ("TERM=xterm-256color", "NO_COLOR=1")
	s := onTerminal(t, watch)
	for _, want := range []string{"seen", "SIMULATED", "sim-H200", "of 12 requests done", "in flight: 1 in decode for ", "tokens/s"} {
		s.shows(t, want)
	}
	if strings.Contains(s.text(), warning) {
		t.Error("NO_COLOR is set, and there is colour")
	}
	if err := pty.Setsize(s.terminal, &pty.Winsize{Rows: 24, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	s.shows(t, "…") // lines are cut
	if _, err := s.terminal.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("q: %v", err)
	}

	plain, err := exec.CommandContext(t.Context(), program(t), "watch", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, plain)
	}
	if err := run.Wait(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(string(plain), "of 12 requests done") || !strings.Contains(string(plain), "run seen is over: tracer summary") || bytes.Contains(plain, []byte("\x1b")) {
		t.Errorf("without a terminal it prints\n%s", plain)
	}
}

// A prefill of 10,000 tokens takes twice as long as it is between two looks.
func TestWatchTellsPrefillFromDecode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := collecting(t, dir, "--workload", "prefill", "--sizes", "10000", "--prompts", "2")
	watch := exec.CommandContext(t.Context(), program(t), "watch", dir)
	onTerminal(t, watch).shows(t, "in flight: 1 in prefill or queue for ")
	if err := errors.Join(run.Wait(), watch.Wait()); err != nil {
		t.Error(err)
	}
}

func TestWatchSaysThatThereIsNothingToWatch(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), program(t), "watch", dir).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitUsage || !bytes.Contains(out, []byte("no run is in progress in "+dir)) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestWatchTellsARunThatBrokeOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := collecting(t, dir, "--prompts", "9")
	watch := exec.CommandContext(t.Context(), program(t), "watch", dir)
	s := onTerminal(t, watch)
	s.shows(t, "in flight")
	_ = run.Process.Kill()
	_ = run.Wait()
	s.shows(t, "has broken off: tracer recover")
	if err := watch.Wait(); err != nil {
		t.Error(err)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "_tracer", "journal", "*")); len(found) != 1 {
		t.Errorf("the journal is gone: %v", found)
	}
}

func TestNamesOfOthersCannotDriveTheTerminal(t *testing.T) {
	hostile := "\x1b]0;title\x07\x1b[2Jmodel\u202e\r\n"
	s := &schema.Span{Prompt: &schema.Prompt{Workload: schema.WorkloadDecode, TargetTokens: 10}, ErrorType: hostile}
	if got := answer(s); strings.ContainsAny(got, "\x1b\x07\r\n") {
		t.Errorf("%q", got)
	}
}

func TestSparklinesReachFromNothingToTheTop(t *testing.T) {
	if got := sparkline([]float64{0, 50, 99, 100, 1000, -1}, 100); got != "▁▅███▁" {
		t.Errorf("%s", got)
	}
}
