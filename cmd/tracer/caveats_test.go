package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

// Boards whose numbers are not what they seem, behind the fake of libnvidia-ml: doctor and collect say so, one line each.
func TestWhatTheNumbersDoNotMeanIsToldPlainly(t *testing.T) {
	library := fakeLibrary(t)
	kind, err := catalog.BoardByName("H100-SXM")
	if err != nil {
		t.Fatal(err)
	}
	specs := make([]sim.Spec, 5)
	for i := range specs {
		specs[i] = sim.Describe(kind, i)
	}
	const mig, vgpu, host, grace, plain = 0, 1, 2, 3, 4
	specs[mig].MIG = schema.Some(true)
	specs[vgpu].Virtualization = schema.VirtualizationVGPU
	for _, which := range []sim.Sensor{sim.PowerInstant, sim.PowerAverage, sim.EnergyCounter} {
		delete(specs[vgpu].Sensors, which)
	}
	specs[host].Virtualization = schema.VirtualizationHostVGPU
	specs[grace].ModulePower = true
	specs[plain].Virtualization = schema.VirtualizationPassthrough // the whole board: nothing to say
	boards := filepath.Join(t.TempDir(), "boards")
	script, err := sim.Create(boards, specs...)
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close()
	for _, c := range []struct {
		args  []string
		notes int
	}{{[]string{"doctor", "--gpu", "3", "--endpoint", "http://127.0.0.1:1/v1"}, 1}, {[]string{"collect", "--dry-run"}, 4}, {[]string{"overhead", "--dry-run"}, 4}} {
		args := c.args
		cmd := exec.Command(program(t), args...)
		cmd.Env = environ("LD_LIBRARY_PATH="+library, "TRACER_FAKENVML="+boards)
		out, _ := cmd.CombinedOutput() // doctor fails for want of a server
		notes := 0
		for line := range strings.Lines(string(out)) {
			if !strings.HasPrefix(line, "note") {
				continue
			}
			for _, want := range [][]string{
				{"board 0 is cut into MIG instances", "utilisation is not supported", "whole board's", "nvidia-smi -i 0 -mig 0"},
				{"board 1 is a vGPU", "not supported", "run tracer on the host"},
				{"board 2 serves virtual machines", "whole board's", "leave the others idle"},
				{"board 3 tells the power of its module alone", "GPU, CPU and their memory"},
			} {
				if !strings.Contains(line, want[0]) {
					continue
				}
				notes++
				for _, part := range want {
					if !strings.Contains(line, part) {
						t.Errorf("%s: %q lacks %q", args[0], line, part)
					}
				}
			}
		}
		if all := strings.Count("\n"+string(out), "\nnote"); notes != c.notes || all != c.notes {
			t.Errorf("%s: %d of %d notes among %d\n%s", args[0], notes, c.notes, all, out)
		}
	}
}
