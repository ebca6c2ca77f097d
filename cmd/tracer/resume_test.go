package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
)

// What stands in the way of going on with a run is named, with its mend, and nothing is published before.
func TestResumingSaysWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	dir := inMemory(t)
	resume := func(run string, more ...string) []string {
		return append([]string{"collect", "--resume", run, "--out", dir}, more...)
	}
	s := start(t, dir, "one", of(t, shortRun(dir, "one", "--repeat", "4")))
	_ = s.Process.Kill()
	s.ends(t, -1)
	ends(t, exitUsage, resume("one", "--dry-run"), `it broke off, and is not published yet: tracer recover --out \S+ one first`)
	ends(t, exitUsage, resume("one", "--sizes", "10"), `leave it out`)
	ends(t, exitUsage, resume("one", "--model", "other"), `--model other: run one was started with`)
	header := journal.Peek(dir, store.RunName("one", hostname()))
	if header.Run.ID != "one" || len(manifests(t, dir)) > 0 {
		t.Fatal("a resume that was refused has published something")
	}
	corpus := filepath.Join(dir, "prompts", header.Run.CorpusID+".parquet")
	if err := os.Rename(corpus, corpus+".away"); err != nil {
		t.Fatal(err)
	}
	ends(t, exitUsage, resume("one"), `the prompts that it sends are not there: .*`+header.Run.CorpusID+`.*tracer prompts`)
	if err := os.Rename(corpus+".away", corpus); err != nil {
		t.Fatal(err)
	}
	ends(t, exitOK, shortRun(dir, "one.2"))
	ends(t, exitOK, resume("one", "--silence", "3m", "--model", header.Run.Model), `run one goes on as one.3`, `run one.3, complete`)
	commits := filepath.Join(dir, store.Commits)
	write(t, filepath.Join(commits, "far-elsewhere.json"), []byte(`{"run_id": "far", "host": "elsewhere"}`))
	ends(t, exitUsage, resume("far"), `--resume far: it was measured on elsewhere; go on with it there`)
	ends(t, exitConflict, shortRun(dir, "far", "--rank", "none"), `run id is taken: host elsewhere`)
	own := store.RunName("one", hostname()) + ".json"
	write(t, filepath.Join(commits, own), []byte(`{`))
	ends(t, exitFailure, resume("one"), `manifest \S+`+own+` cannot be read`)
}

// A rank that a scheduler starts again gets the board that is free now: one of the run's kind goes on with it, and is told; another
// kind is a conflict.
func TestARankGoesOnOnBoardsOfItsKind(t *testing.T) {
	t.Parallel()
	dir := inMemory(t)
	args := slices.DeleteFunc(shortRun(dir, "job", "--rank", "0", "--go-on", "--repeat", "4"), func(arg string) bool { return arg == "--gpu" || arg == "sim:H200" })
	on := func(gpu string) *exec.Cmd {
		cmd := exec.Command(program(t), args...)
		cmd.Env = environ("TRACER_GPU=" + gpu)
		return cmd
	}
	again := func(gpu string, code int, words ...string) {
		t.Helper()
		cmd := on(gpu)
		out, _ := cmd.CombinedOutput() // the code tells
		holds(t, cmd.ProcessState.ExitCode(), string(out), code, words...)
	}
	s := startUntil(t, dir, "job.r0", 6_000, append([]string{"env", "TRACER_GPU=sim:H200"}, of(t, args)...))
	_ = s.Process.Signal(os.Interrupt)
	s.ends(t, exitInterrupted)
	again("sim:L4", exitConflict, `run job\.r0 was measured on sim-H200 GPU-\S+, and here is sim-L4 GPU-\S+: what goes on with a run is of its kind`, `--constraint`)
	if n := len(manifests(t, dir)); n != 1 {
		t.Fatalf("%d runs", n)
	}
	again("sim:H200,sim:H200", exitOK, `note: run job\.r0 goes on, now on sim-H200 GPU-\S+, sim-H200 GPU-\S+; it began on sim-H200 GPU-`, `run job\.r0\.2, complete`)
	if gpu := committed(t, dir, "job.r0.2").Job.Options["gpu"]; gpu != "sim:H200,sim:H200" {
		t.Errorf("its --gpu is kept as %q", gpu)
	}
	again("sim:L4", exitOK, `run job\.r0 is complete`)
	ends(t, exitOK, []string{"verify", "--strict", dir}, `0 errors, 0 warnings`)
}
