package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary is also the program: testscript and the tests that need a process of their own run it as tracer.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tracer": main, "tracer-stepped": stepped, "tracer-suspended": suspended, "tracer-delay": delayed})
}

func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("LD_LIBRARY_PATH", "") // no driver here, nor its fake
			tokenizers, err := filepath.Abs("../../internal/tokens/testdata")
			e.Setenv("TOKENIZERS", tokenizers)
			sample, sampleErr := filepath.Abs("../../datasets/sample")
			e.Setenv("SAMPLE", sample)
			return errors.Join(err, sampleErr)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits CODE PROGRAM ARG… runs a program that must end with that code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// program is the test binary under the name tracer, for exec.Command.
func program(t *testing.T) string { return programCalled(t, "tracer") }

func programCalled(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name) // testscript.Main put it on the path
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func environ(extra ...string) []string { return append(os.Environ(), extra...) }

func TestNamesOfFilesMoveNoCursor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"_tracer/commits/e\x1b[31mvil.json", "_tracer/journal/e\x1b[31mvil.journal", "runs/e\x1b[31mvil.parquet"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), []byte("garbage"))
	}
	for _, args := range [][]string{{"verify", dir}, {"summary", dir}, {"recover", "--out", dir}, {"recover", "--out", dir, "e\x1b[31mvil"}, {"collect", "--e\x1b[31mvil"}} {
		cmd := exec.Command(program(t), args...)
		out, _ := cmd.CombinedOutput() // how it ends is others' to test
		if said := string(out); strings.ContainsRune(said, '\x1b') || !strings.Contains(said, `e\x1b[31mvil`) {
			t.Errorf("%q says %q", args, said)
		}
	}
}

// What the machine forbids is the environment's, whatever it was that tracer was about to do.
func TestWhatTheMachineForbidsIsTheEnvironments(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want int
	}{
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, exitEnvironment},
		{usage("-o x: %w", &fs.PathError{Op: "mkdir", Path: "x", Err: syscall.EROFS}), exitEnvironment},
		{fmt.Errorf("verifying x: %w", syscall.EROFS), exitEnvironment},
		{usage("-o x: %w", &fs.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}), exitUsage},
		{&codedError{exitPartial, fmt.Errorf("some of it: %w", syscall.ENOSPC)}, exitPartial},
		{errors.New("else"), exitFailure},
	} {
		if got := exitCode(tc.err); got != tc.want {
			t.Errorf("%v: %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestAnInterruptedCorpusOfNoModelLeavesNothing(t *testing.T) {
	c := prompts{}
	if err := c.interrupted(); exitCode(err) != exitFailure || !strings.Contains(err.Error(), "nothing was written") {
		t.Error(err)
	}
}
