package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"strconv"

	"github.com/llm-tracer/tracer/sampler/sim/load"
)

// reader is a readers.py at work.
type reader struct {
	cmd   *exec.Cmd
	tells *json.Decoder
	told  io.WriteCloser
}

// startReader starts readers.py and waits until it is ready: it has to import first, and imports take seconds.
func startReader(python, script string, versions map[string]string, env []string, args ...string) (*reader, error) {
	cmd := exec.Command(python, append([]string{script}, args...)...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), os.Stderr
	told, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", script, err)
	}
	r := &reader{cmd: cmd, tells: json.NewDecoder(bufio.NewReader(out)), told: told}
	var ready struct{ Versions map[string]string }
	if err := r.tells.Decode(&ready); err != nil {
		return nil, errors.Join(fmt.Errorf("%s %v did not get ready: %w", script, args, err), r.stop())
	}
	maps.Copy(versions, ready.Versions)
	return r, nil
}

// stop ends a reader that was not told what to measure: it has nothing more to read.
func (r *reader) stop() error { return errors.Join(r.told.Close(), r.cmd.Wait()) }

// spans are a load's stages and requests, as readers.py takes them.
type spans struct {
	Stages   [][2]int64 `json:"stages"`
	Requests [][2]int64 `json:"requests"`
}

func spansOf(l *load.Load) (s spans) {
	for _, stage := range l.Stages {
		s.Stages = append(s.Stages, [2]int64{stage.FromNS, stage.ToNS})
	}
	for _, i := range l.Requests() {
		s.Requests = append(s.Requests, [2]int64{l.Stages[i].FromNS, l.Stages[i+1].ToNS})
	}
	return s
}

func (r *reader) tell(s spans) error {
	if err := json.NewEncoder(r.told).Encode(s); err != nil {
		return fmt.Errorf("telling %v its stages: %w", r.cmd.Args, err)
	}
	return nil
}

// result waits for what the reader measured.
func (r *reader) result(into any) error {
	err := r.tells.Decode(into)
	if err = errors.Join(err, r.stop()); err != nil {
		return fmt.Errorf("the result of %v: %w", r.cmd.Args, err)
	}
	return nil
}

// polled is what `readers.py poll` measured.
type polled struct {
	AtNS     []int64   `json:"at_ns"`
	InstantW []float64 `json:"instant_w"`
	UsageW   []float64 `json:"usage_w"`
	CPUS     float64   `json:"cpu_s"`
}

// windows are the energies of the stages, then of the requests, and the CPU time that they took.
type windows struct {
	Joules []float64 `json:"joules"`
	CPUS   float64   `json:"cpu_s"`
}

// zeus is what `readers.py zeus` measured.
type zeus struct {
	Counter     windows `json:"counter"`
	Approximate windows `json:"approximate"`
	Power       windows `json:"power"`
	LateNS      []int64 `json:"late_ns"`
}

// estimator takes a stage alone, or a prefill with its decode, for which there was a window of its own.
func (w *windows) estimator(l *load.Load) estimator {
	request := map[int]int{}
	for n, i := range l.Requests() {
		request[i] = len(l.Stages) + n
	}
	return func(stages ...int) interval {
		if len(stages) > 1 {
			return interval{j: w.Joules[request[stages[0]]]}
		}
		return interval{j: w.Joules[stages[0]]}
	}
}

// peers are the programs of others that read one board.
type peers struct{ poll, zeus *reader }

// startPeers starts them one after the other, so that the imports of one delay no start of another.
func startPeers(python, script string, index int, versions map[string]string) (p peers, err error) {
	if p.poll, err = startReader(python, script, versions, nil, "poll", strconv.Itoa(index)); err != nil {
		return p, err
	}
	p.zeus, err = startReader(python, script, versions, []string{"CUDA_VISIBLE_DEVICES=" + strconv.Itoa(index)}, "zeus")
	return p, err
}

func (p peers) tell(l *load.Load) error {
	return errors.Join(p.poll.tell(spansOf(l)), p.zeus.tell(spansOf(l)))
}
