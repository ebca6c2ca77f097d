package main

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/llm-tracer/tracer/pipeline/journal"
)

func stoppedBefore(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		dir := inMemory(t)
		cmd := exec.Command(program(t), append(shortRun(dir, "one"), "--calibrate", "auto")...)
		cmd.Env = environ()
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			said.WriteString(lines.Text() + "\n")
			if strings.HasPrefix(lines.Text(), "calibrating ") {
				_ = cmd.Process.Signal(sig)
			}
		}
		_ = cmd.Wait() // the code tells
		holds(t, cmd.ProcessState.ExitCode(), said.String(), exitFailure, `stopping before the run begins`, `stopped before the run began; nothing of it was written`)
		if left, err := journal.Names(dir); err != nil || len(left)+len(manifests(t, dir)) > 0 {
			t.Errorf("%v: %v, %v", sig, left, err)
		}
	}
}
