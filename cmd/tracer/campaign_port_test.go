package main

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// Two tasks of a job array on one node start the same server at once: each on a port of its own, where the file leaves it open.
// With a port that is taken, neither is content with what answers there.
func TestCampaignsOnOneHostServeOnPortsOfTheirOwn(t *testing.T) {
	t.Parallel()
	env := fakeA10(t)
	const text = `name: tasks
out: %%s
repetitions: 2
boards: ["0"]
models: [{name: m, endpoint: "http://127.0.0.1:%[2]s/v1", serve: {command: [%[1]s, sim, --listen, "127.0.0.1:%[2]s"]}}]
workloads: [decode]
sizes: [10]
collect: {prompts: 1, idle: 0s, warmup: 0, pause: 0s, calibrate: "off"}
cool-down: {at-most: 0s}
`
	task := func(file string, block int) (*exec.Cmd, *strings.Builder) {
		cmd, said := exec.Command(program(t), "campaign", file, "--block", strconv.Itoa(block)), &strings.Builder{}
		cmd.Env, cmd.Stdout, cmd.Stderr = environ(env...), said, said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, said
	}
	file, dir := campaignFile(t, fmt.Sprintf(text, program(t), "{port}"))
	one, saidOne := task(file, 0)
	other, saidOther := task(file, 1)
	for cmd, said := range map[*exec.Cmd]*strings.Builder{one: saidOne, other: saidOther} {
		_ = cmd.Wait() // the code tells
		holds(t, cmd.ProcessState.ExitCode(), said.String(), exitOK, `campaign tasks is complete`)
	}
	if said := tracer(t, exitOK, "query", dir, "--csv", "SELECT count(DISTINCT endpoint) FROM requests"); !strings.HasSuffix(strings.TrimSpace(said), "\n2") {
		t.Error(said)
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	taken, _ := campaignFile(t, fmt.Sprintf(text, program(t), port))
	cmd, said := task(taken, 0)
	_ = cmd.Wait()
	holds(t, cmd.ProcessState.ExitCode(), said.String(), exitPartial, `something listens on 127\.0\.0\.1:`+port+` before it is started; stop that, leave serve out, or put \{port\} into`)
	listener.Close()
	claim, err := net.Listen("unix", "@tracer-serve-127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Close()
	cmd, said = task(taken, 0)
	_ = cmd.Wait()
	holds(t, cmd.ProcessState.ExitCode(), said.String(), exitPartial, `another campaign on this host serves on 127\.0\.0\.1:`+port+`; wait for it, or put \{port\}`)
}
