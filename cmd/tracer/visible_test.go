package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/sampler/sim"
)

// onBoards has tracer run on a host whose driver shows two boards of a kind, with variables of the environment.
func onBoards(t *testing.T, kind string) (run func(env string, code int, args ...string) string, uuids []string) {
	t.Helper()
	library := fakeLibrary(t)
	board, err := catalog.BoardByName(kind)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "boards")
	script, err := sim.Create(file, sim.Describe(board, 0), sim.Describe(board, 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = script.Close() })
	for _, b := range script.Boards() {
		uuids = append(uuids, b.Board().UUID)
	}
	return func(env string, code int, args ...string) string {
		t.Helper()
		cmd := exec.Command(program(t), args...)
		cmd.Env = environ("LD_LIBRARY_PATH="+library, "TRACER_FAKENVML="+file)
		if env != "" {
			cmd.Env = append(cmd.Env, strings.Fields(env)...)
		}
		out, _ := cmd.CombinedOutput() // the code tells
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Fatalf("%s tracer %s: exit code %d, want %d\n%s", env, strings.Join(args, " "), got, code, out)
		}
		return string(out)
	}, uuids
}

// What a scheduler gave a job is all that auto takes, and a campaign says which boards it is about to measure.
func TestAutoIsWhatCUDAProgramsSee(t *testing.T) {
	t.Parallel()
	run, uuids := onBoards(t, "A10")
	plan := []string{"collect", "--dry-run", "--out", t.TempDir(), "--endpoint", "http://127.0.0.1:1/v1", "--sizes", "10", "--prompts", "1", "--idle", "0s"}
	for _, c := range []struct {
		env  string
		want []string
	}{
		{"", uuids},
		{"CUDA_VISIBLE_DEVICES=0,1", uuids},
		{"CUDA_VISIBLE_DEVICES=1", uuids[1:]},
		{"CUDA_VISIBLE_DEVICES=" + uuids[0][:13], uuids[:1]},
	} {
		said := run(c.env, exitOK, plan...)
		for _, uuid := range uuids {
			if wanted := strings.Contains(strings.Join(c.want, " "), uuid); strings.Contains(said, uuid) != wanted {
				t.Errorf("%q: %s is in the plan: %v\n%s", c.env, uuid, !wanted, said)
			}
		}
		if told := strings.Contains(said, "note: auto is 1 of the 2 boards here: CUDA_VISIBLE_DEVICES="); told != (len(c.want) == 1) {
			t.Errorf("%q: %s", c.env, said)
		}
	}
	if said := run("CUDA_VISIBLE_DEVICES=", exitUsage, plan...); !strings.Contains(said, "CUDA_VISIBLE_DEVICES=: no board is visible; unset it, or name boards with --gpu") {
		t.Error(said)
	}
	if said := run("CUDA_VISIBLE_DEVICES=1", exitOK, append(plan, "--gpu", "0")...); !strings.Contains(said, uuids[0]) {
		t.Error(said)
	}

	file, dir := campaignFile(t, `name: c
out: %s
boards: [auto, {name: last, gpu: "1"}, {name: far, gpu: "ssh://nowhere/0"}]
models: [{name: m, endpoint: "http://127.0.0.1:1/v1"}]
workloads: [decode]
sizes: [10]
`)
	said := run("", exitOK, "campaign", file, "--dry-run")
	for _, want := range []string{
		"board auto: auto is all 2 boards of this host: 0 sim-A10 " + uuids[0] + ", 1 sim-A10 " + uuids[1] + "\n",
		"board last: 1: 1 sim-A10 " + uuids[1] + "\n",
		"board far: ssh://nowhere/0, which is looked at when its runs begin",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is missing in\n%s", want, said)
		}
	}
	if said := run("CUDA_VISIBLE_DEVICES=1", exitOK, "campaign", file, "--dry-run"); !strings.Contains(said, "board auto: auto is 1 of the 2 boards here: CUDA_VISIBLE_DEVICES=1: 1 sim-A10 "+uuids[1]+"\n") {
		t.Error(said)
	}
	write(t, file, []byte(strings.ReplaceAll("name: c\nout: %s\nboards:\n  - {name: b, gpu: \"7\"}\nmodels: [{name: m, endpoint: \"http://127.0.0.1:1/v1\"}]\n", "%s", dir)))
	for _, args := range [][]string{{"campaign", file, "--dry-run"}, {"campaign", file}} {
		if said := run("", exitUsage, args...); !strings.Contains(said, `campaign.yaml:4: boards: --gpu 7: no board "7"; there are 0: sim-A10 `+uuids[0]) {
			t.Error(said)
		}
	}
}
