package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/llm-tracer/tracer/internal/llamacpp"
	"github.com/llm-tracer/tracer/internal/versitygw"
	"github.com/llm-tracer/tracer/schema"
)

// campaignFile writes a campaign into a dataset of its own; %s in the text is that dataset.
func campaignFile(t *testing.T, text string) (file, dir string) {
	t.Helper()
	file, dir = filepath.Join(t.TempDir(), "campaign.yaml"), inMemory(t)
	write(t, file, []byte(strings.ReplaceAll(text, "%s", dir)))
	return file, dir
}

// children are the processes that a process has started.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // a thread may have ended
		for word := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

const twoBoards = `name: two
out: %s
boards: [sim:H200, sim:H100-SXM]
models: [{name: llama, endpoint: sim, model: meta-llama/Meta-Llama-3-8B}]
workloads: [decode]
sizes: [100]
collect: {prompts: 8, idle: 0s, warmup: 0, pause: 0s, calibrate: "off"}
`

// planned are the runs of a campaign of two, in their order.
func planned(t *testing.T, file string) (cells []string) {
	t.Helper()
	plan := tracer(t, exitOK, "campaign", file, "--dry-run")
	for line := range strings.Lines(plan) {
		if cell, left, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && left == "to be run" {
			cells = append(cells, cell)
		}
	}
	if len(cells) != 2 {
		t.Fatal(plan)
	}
	return cells
}

// A campaign may be killed at any time, and the run under way with it, or be stopped: the same command goes on, and in the
// end every prompt of every cell is answered once.
func TestACampaignGoesOnAfterKillsAndSignals(t *testing.T) {
	t.Parallel()
	file, dir := campaignFile(t, twoBoards)
	again := of(t, []string{"campaign", file})
	cells := planned(t, file)

	killed := startUntil(t, dir, cells[0], 6_000, again) // both, as when a machine loses its power
	_ = killed.Process.Signal(syscall.SIGSTOP)
	for _, child := range children(t, killed.Process.Pid) {
		_ = syscall.Kill(child, syscall.SIGKILL)
	}
	_ = killed.Process.Kill()
	killed.ends(t, -1)

	killed = startUntil(t, dir, cells[0]+".2", 6_000, again) // the campaign alone: its run commits itself
	_ = killed.Process.Kill()
	killed.ends(t, -1)

	stopped := startUntil(t, dir, cells[1], 6_000, again)
	_ = stopped.Process.Signal(os.Interrupt)
	stopped.ends(t, exitInterrupted, `interrupted; what was measured is committed, 1 runs are left; tracer campaign \S+ goes on`)

	ends(t, exitOK, []string{"campaign", file}, `campaign two is complete`)
	ends(t, exitOK, []string{"campaign", file}, `campaign two is complete`)
	for _, cell := range cells {
		sent := sendings(t, dir, cell)
		if len(sent) != 8 {
			t.Errorf("%s: %v", cell, sent)
		}
		for what, times := range sent {
			if times != 1 {
				t.Errorf("%s: %s was answered %d times", cell, what, times)
			}
		}
	}
	ends(t, exitOK, []string{"verify", "--strict", dir}, `0 errors, 0 warnings`)
	write(t, file, []byte(strings.ReplaceAll(strings.Replace(twoBoards, "prompts: 8", "prompts: 9", 1), "%s", dir)))
	ends(t, exitConflict, []string{"campaign", file}, `was measured with --prompts "8", and the file asks for "9"; give the campaign another name`)
}

// A campaign into a store asks the store what is done.
func TestACampaignIntoAStoreKnowsWhatIsDone(t *testing.T) {
	t.Parallel()
	u, file, url := userOf(t, versitygw.Start(t).Endpoint), filepath.Join(t.TempDir(), "campaign.yaml"), bucketURL+"campaign"
	small := strings.NewReplacer("%s", url, "prompts: 8", "prompts: 1", "[100]", "[10]").Replace(twoBoards)
	write(t, file, []byte(small+"logs: "+t.TempDir()+"\n"))
	for _, board := range []string{"sim-H200", "sim-H100-SXM"} {
		if plan := u.does(exitOK, "campaign", file, "--dry-run", "--board", board); !strings.Contains(plan, "1 runs into "+url+", 1 left") {
			t.Error(plan)
		}
		u.does(exitOK, "campaign", file, "--board", board)
	}
	if said := u.does(exitOK, "campaign", file); !strings.Contains(said, "2 runs into "+url+", 0 left") || !strings.Contains(said, "campaign two is complete") {
		t.Error(said)
	}
	write(t, file, []byte(strings.Replace(small, "prompts: 1", "prompts: 2", 1)))
	if said := u.does(exitConflict, "campaign", file); !strings.Contains(said, `was measured with --prompts "1"`) {
		t.Error(said)
	}
}

// A campaign starts each model's server, waits until it is ready, cools the board down between runs, and ends the server,
// whose secrets stay in its environment. The server is a real one, the boards are the fake's.
func TestACampaignServesARealLlamaServer(t *testing.T) {
	t.Parallel()
	server := os.Getenv(llamacpp.EnvServer)
	if server == "" {
		t.Skip(llamacpp.ErrNoServer)
	}
	env := fakeA10(t)
	model, err := llamacpp.ModelFile()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	listener.Close()
	file, dir := campaignFile(t, fmt.Sprintf(`name: served
out: %%s
models:
  - name: tiny
    endpoint: http://%s/v1
    serve:
      command: [%s, --model, %s, --alias, tiny, --host, 127.0.0.1, --port, "%s", --ctx-size, "2048", --parallel, "1", --no-webui, --threads, "1"]
      env: {LLAMA_API_KEY: "${TRACER_API_KEY}", OMP_WAIT_POLICY: PASSIVE}
  - name: broken
    endpoint: http://%s/v1
    serve: {command: "echo hunter2; exit 7"}
boards: ["0"]
workloads: [decode]
sizes: [10, 20]
collect: {prompts: 2, idle: 0s, warmup: 0, pause: 0s, calibrate: "off"}
cool-down: {at-most: 2s}
`, address, server, model, port, address))
	cmd := exec.Command(program(t), "campaign", file)
	cmd.Env = environ(append(env, "TRACER_API_KEY=swordfish")...)
	out, _ := cmd.CombinedOutput() // the code tells
	t.Log(string(out))
	holds(t, cmd.ProcessState.ExitCode(), string(out), exitPartial,
		`served\.gpu-0-broken-decode-10-1: serve: broken: it ended before it was ready \(exit status 7\); see \S+serve-gpu-0-broken\.log`, `2 of 4 runs failed`)
	if strings.Contains(string(out), "hunter2") || strings.Contains(string(out), "swordfish") {
		t.Error("it tells a secret")
	}
	runs := manifests(t, dir)
	if len(runs) != 2 || runs[0].Status != schema.StatusComplete || runs[0].LaunchID != "served" {
		t.Errorf("%+v", runs)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("the server still listens")
	}
	if found := grepTree(t, dir, "swordfish"); found != "" {
		t.Errorf("the key stands in %s", found)
	}
}

// grepTree is a file under dir that holds a word.
func grepTree(t *testing.T, dir, word string) (found string) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), word) {
			found = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Hosts that share a run id and have no scheduler get runs of their own, even where they begin at once.
func TestHostsShareARunID(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command("unshare", "--uts", "true").CombinedOutput(); err != nil {
		t.Skipf("no namespace with a host name of its own: %v: %s", err, out)
	}
	dir := inMemory(t)
	var all []*exec.Cmd
	for _, host := range []string{"alpha", "beta", "gamma"} {
		script := fmt.Sprintf(`hostname %s && exec "$@"`, host)
		args := shortRun(dir, "shared")
		cmd := exec.Command("unshare", append([]string{"--uts", "sh", "-c", script, "sh", program(t)}, args...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	hosts := map[string]bool{}
	for _, m := range manifests(t, dir) {
		hosts[m.Host] = true
		if m.LaunchID != "shared" || m.RunID != "shared" && m.RunID != "shared.host-"+m.Host {
			t.Errorf("%s of %s on %s", m.RunID, m.LaunchID, m.Host)
		}
	}
	if len(hosts) != 3 {
		t.Errorf("runs of %v", hosts)
	}
	ids := map[string]bool{}
	for _, m := range manifests(t, dir) {
		for _, r := range table(t, files(t, dir, "requests", m.RunID)[0]) {
			ids[r["request_id"].(string)] = true
		}
	}
	if len(ids) != 3*12 {
		t.Errorf("%d requests of 36 are told apart by their ids", len(ids))
	}
}
