// Peers runs pynvml, nvitop and Zeus on the fake libnvidia-ml, to see that others read simulated boards as they read real
// ones, and that they read what was simulated:
//
//	go run ./scripts/peers -lib build -python .venv/bin/python
//
// It needs the fake in the folder -lib, and nvidia-ml-py, nvitop and zeus in the interpreter. It puts two boards behind
// the fake, one under a square wave and one under a steady load, tells check.py the truth about them, and ends as
// check.py ends.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/sourcegraph/conc"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler/sim"
)

// The loads. Half a period is longer than every sensor's window and renewal but the 1 s average's.
const (
	steadyW    = 300.0
	highW      = 600.0
	halfWaveNS = 1e9
	steadyBusy = 0.5
	settleNS   = 1.2e9 // until the 1 s average of field 185 has forgotten the idle board
)

func main() {
	lib := flag.String("lib", "build", "folder of the fake libnvidia-ml.so.1")
	python := flag.String("python", "python3", "interpreter with nvidia-ml-py, nvitop and zeus")
	check := flag.String("check", filepath.Join("scripts", "peers", "check.py"), "the script to run")
	flag.Parse()
	if err := run(*lib, *python, *check); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// truth is what check.py is told about a board.
type truth struct {
	Name        string  `json:"name"`
	UUID        string  `json:"uuid"`
	MemoryBytes int64   `json:"memory_bytes"`
	MemoryUsed  int64   `json:"memory_used"`
	LimitW      float64 `json:"limit_w"`
	LowW        float64 `json:"low_w"`
	HighW       float64 `json:"high_w"`
	MeanW       float64 `json:"mean_w"` // over whole periods of the load
	BusyPct     float64 `json:"busy_pct"`
}

func run(lib, python, check string) error {
	lib, err := filepath.Abs(lib)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	c, err := catalog.BoardByName("H100-SXM")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "run.script")
	script, err := sim.Create(path, sim.Describe(c, 0), sim.Describe(c, 1))
	if err != nil {
		return err
	}
	told, err := json.Marshal(load(script.Boards()))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var load conc.WaitGroup
	load.Go(func() { squareWave(ctx, script.Boards()[0]) })
	clock.SleepUntil(clock.Now() + settleNS)
	cmd := exec.Command(python, check)
	cmd.Env = append(os.Environ(), "TRACER_FAKENVML="+path, "LD_LIBRARY_PATH="+lib, "PEERS_TRUTH="+string(told), "PEERS_HALF_WAVE_S="+strconv.Itoa(halfWaveNS/1e9))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Run()
	cancel()
	load.Wait()
	return errors.Join(err, script.Close())
}

func load(boards []*sim.Board) []truth {
	const used = 16_060_000_000 // the weights of a model of 8.03 billion parameters in bf16
	var told []truth
	for _, b := range boards {
		s := b.Spec()
		b.SetMemoryUsed(used)
		told = append(told, truth{
			Name: s.Name, UUID: s.UUID, MemoryBytes: s.MemoryBytes, MemoryUsed: used, LimitW: s.PowerLimitW,
			LowW: s.IdleW, HighW: highW, MeanW: (s.IdleW + highW) / 2, BusyPct: 50,
		})
	}
	boards[1].Set(clock.Now(), steadyW, steadyBusy, 0.8)
	told[1].LowW, told[1].HighW, told[1].MeanW = steadyW, steadyW, steadyW
	return told
}

// squareWave writes its next half ahead of the clock, so that no reader comes before the truth.
func squareWave(ctx context.Context, b *sim.Board) {
	at, high := clock.Now(), true
	for ctx.Err() == nil {
		if high {
			b.Set(at, highW, 1, 0.2)
		} else {
			b.Set(at, b.Spec().IdleW, 0, 0)
		}
		high = !high
		at += halfWaveNS
		for ctx.Err() == nil && clock.Now() < at-halfWaveNS/10 {
			clock.SleepUntil(min(at-halfWaveNS/10, clock.Now()+50e6))
		}
	}
}
