package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler/sim"
)

// onFake is what drives the faults of boards: the library that go-nvml opens, with faults in its script.
const onFake = "the fake of libnvidia-ml"

var boardFaults = []fault{
	{
		"board lost", onFake, "the other boards go on; the run is committed; exit 3",
		aLostBoard,
	},
}

// Two boards of which one stops answering and never comes back: the run goes on, is committed, and says so with the exit
// code for partial data.
func aLostBoard(t *testing.T) {
	library, dir := fakeLibrary(t), t.TempDir()
	kind, err := catalog.BoardByName("H200")
	if err != nil {
		t.Fatal(err)
	}
	boards := filepath.Join(dir, "boards")
	script, err := sim.Create(boards, sim.Describe(kind, 0), sim.Describe(kind, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close()
	const second = 1_000_000_000
	now := clock.Now()
	const lost = 15 // NVML_ERROR_GPU_IS_LOST
	if err := script.Boards()[1].AddFault(sim.Fault{Function: sim.FieldValues, Scope: sim.EveryScope, Return: lost, FromNS: now + 4*second}); err != nil {
		t.Fatal(err)
	}
	url := startSim(t, "--gpu", "sim:H200")
	cmd := exec.Command(program(t), collectArgs(dir, "lost", "--endpoint", url, "--sizes", "10,100", "--prompts", "2", "--idle", "4s")...)
	cmd.Env = environ("LD_LIBRARY_PATH="+library, "TRACER_FAKENVML="+boards)
	out, _ := cmd.CombinedOutput() // the exit code is looked at next
	if got := cmd.ProcessState.ExitCode(); got != exitPartial {
		t.Fatalf("exit code %d, want %d\n%s", got, exitPartial, out)
	}
	if !strings.Contains(string(out), "stopped answering 1 times") {
		t.Errorf("the loss is not told:\n%s", out)
	}
	rows := map[string]int{}
	for _, r := range readRows(t, dir, "lost") {
		rows[r.board]++
	}
	first, other := rows[script.Boards()[0].Board().UUID], rows[script.Boards()[1].Board().UUID]
	if first == 0 || other == 0 || other >= first {
		t.Errorf("rows by board: %v", rows)
	}
}
