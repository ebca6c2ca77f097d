// Calls holds what tracer's sampler takes of a core against the calls' own cost: the CPU floor. Beside both runs the least
// program that makes the same calls at the same instants, bare/bare.c. All read the same fake of libnvidia-ml, in turn:
//
//	make fakenvml && go run ./bench/calls
//
// It prints a JSON document, of which bench/page makes a section.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

const board = "H100-SXM" // it has every lane

// scenario is a host and how often its boards are read.
type scenario struct {
	boards int
	period time.Duration // 0: the automatic one
	cost   time.Duration // of a call, or of a field, beside what the fake's arithmetic takes
}

var scenarios = []scenario{
	{1, 0, 0},
	{1, 0, 5 * time.Microsecond},
	{8, 0, 0},
	{8, 0, 5 * time.Microsecond},
	{8, time.Millisecond, 0},
	{8, time.Millisecond, 5 * time.Microsecond},
}

// bare is what bare.c says of itself.
type bare struct {
	Power       float64 `json:"power_ns"` // of one reading's calls
	Utilization float64 `json:"utilization_ns"`
	GPM         float64 `json:"gpm_ns"`
	Slow        float64 `json:"slow_ns"`
	Calls       float64 `json:"calls_cpu"` // share of a core
	Loop        float64 `json:"loop_cpu"`
	Ticks       int64   `json:"ticks"`
	Missed      int64   `json:"missed"`
}

func main() {
	library := flag.String("lib", filepath.Join("build", "libnvidia-ml.so.1"), "the fake libnvidia-ml")
	repeats := flag.Int("repeats", 5, "of each scenario; medians are told")
	length := flag.Duration("length", 2*time.Second, "of each repeat")
	only := flag.Bool("sample", false, "run the sampler alone on the boards of TRACER_FAKENVML, and say what it took")
	period := flag.Duration("period", 0, "of that sampler")
	flag.Parse()
	lib, err := filepath.Abs(*library)
	switch {
	case err != nil:
	case *only:
		err = sample(os.Stdout, lib, *period, *length)
	default:
		err = measure(lib, *repeats, *length)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/calls:", err)
		os.Exit(1)
	}
}

func measure(lib string, repeats int, length time.Duration) error {
	if _, err := os.Stat(lib); err != nil {
		return fmt.Errorf("%w; make fakenvml builds it", err)
	}
	dir, err := os.MkdirTemp("", "bench-calls-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	loop := filepath.Join(dir, "bare")
	if err := compile(loop); err != nil {
		return err
	}
	table := table{Head: []string{
		"boards, period, cost of a call", "calls alone, ms of CPU a second", "bare loop in C", "tracer's sampler", "of that, its thread",
		"sampler ÷ calls", "sampler ÷ bare loop", "late p99, µs", "missed",
	}}
	var all []outcome
	for _, s := range scenarios {
		o, err := s.run(dir, loop, lib, repeats, length)
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, strings.Join(o.row(), " | "))
		all, table.Rows = append(all, o), append(table.Rows, o.row())
	}
	return json.NewEncoder(os.Stdout).Encode(document{
		Section: "CPU: the sampler against the calls' own cost", Order: 50, Rows: table.Rows, Table: table, Repeats: repeats, Seconds: length.Seconds(),
		Goal: goal, Over: over(all), Plot: plot(all),
	})
}

// document is what bench/page takes.
type document struct {
	Section string     `json:"section"`
	Order   int        `json:"order"`
	Rows    [][]string `json:"rows"`
	Table   table      `json:"table"`
	Repeats int        `json:"repeats"`
	Seconds float64    `json:"seconds"`
	Goal    float64    `json:"goal"`
	Over    []string   `json:"over"` // why rows are past the goal
	Plot    string     `json:"plot"`
}

type table struct {
	Head []string   `json:"head"`
	Rows [][]string `json:"rows"`
}

func compile(out string) error {
	header, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml/pkg/nvml").Output()
	if err != nil {
		return fmt.Errorf("finding nvml.h: %w", err)
	}
	cc := cmp.Or(os.Getenv("CC"), "cc")
	text, err := exec.Command(cc, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-I"+strings.TrimSpace(string(header)), "-o", out,
		filepath.Join("bench", "calls", "bare", "bare.c"), "-ldl").CombinedOutput()
	if err != nil {
		return fmt.Errorf("compiling bare.c: %w\n%s", err, text)
	}
	return nil
}

// run runs the bare loop and the sampler in turn.
func (s scenario) run(dir, loop, lib string, repeats int, length time.Duration) (out outcome, err error) {
	script, plan, err := s.host(dir)
	if err != nil {
		return out, err
	}
	defer script.Close() //nolint:errcheck // a temporary file
	every := func(lane time.Duration) string { return strconv.FormatInt(int64(lane/plan.Power), 10) }
	own, err := os.Executable()
	if err != nil {
		return out, err
	}
	var bares []bare
	var ours []sampled
	for range repeats {
		var b bare
		var o sampled
		err := errors.Join(
			run(&b, loop, lib, strconv.Itoa(s.boards), strconv.FormatInt(int64(plan.Power), 10), every(plan.Utilization), every(plan.GPM), every(plan.Slow),
				fmt.Sprint(length.Seconds())),
			run(&o, own, "-sample", "-lib", lib, "-period", s.period.String(), "-length", length.String()),
		)
		if err != nil {
			return out, err
		}
		bares, ours = append(bares, b), append(ours, o)
	}
	return outcome{
		name:   fmt.Sprintf("%d, %v, %v", s.boards, plan.Power, s.callCost(bares)),
		calls:  median(bares, func(b bare) float64 { return b.Calls }),
		floor:  median(bares, func(b bare) float64 { return b.Loop }),
		cpu:    median(ours, func(o sampled) float64 { return o.CPU }),
		thread: median(ours, func(o sampled) float64 { return o.Thread }),
		lateUS: median(ours, func(o sampled) float64 { return float64(o.Late) / 1e3 }),
		missed: median(ours, func(o sampled) float64 { return float64(o.Missed) / float64(o.Missed+o.Ticks) }),
	}, nil
}

// callCost is what one reading of the power lane takes, by measurement where the fake adds nothing.
func (s scenario) callCost(bares []bare) string {
	if s.cost > 0 {
		return s.cost.String()
	}
	return fmt.Sprintf("%.1fµs", median(bares, func(b bare) float64 { return b.Power / 1e3 }))
}

// host puts boards behind the fake, for the programs that are started next.
func (s scenario) host(dir string) (*sim.Script, sampler.Plan, error) {
	entry, err := catalog.BoardByName(board)
	if err != nil {
		return nil, sampler.Plan{}, err
	}
	specs := make([]sim.Spec, s.boards)
	for i := range specs {
		specs[i] = sim.Describe(entry, i)
		specs[i].CallCost = s.cost
	}
	path := filepath.Join(dir, fmt.Sprintf("%d-%v-%v.script", s.boards, s.period, s.cost))
	script, err := sim.Create(path, specs...)
	if err != nil {
		return nil, sampler.Plan{}, err
	}
	about := make([]schema.Board, len(specs))
	for i, b := range script.Boards() {
		about[i] = b.Board()
	}
	plan, err := sampler.PlanFor(about, s.period)
	return script, plan, errors.Join(err, os.Setenv("TRACER_FAKENVML", path))
}

func run(into any, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	var said, complained bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &complained
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, strings.TrimSpace(complained.String()))
	}
	return json.Unmarshal(said.Bytes(), into)
}

func median[T any](of []T, get func(T) float64) float64 {
	values := make([]float64, len(of))
	for i, v := range of {
		values[i] = get(v)
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
