// Rows holds what tracer's rows take, in bytes and in CPU time, against the least: zstd on the bare columns, a copy of the
// rows' memory, and zstd on what the encoder gives it.
//
//	go run ./bench/rows
//
// It prints a JSON document, of which bench/page makes a section. The times are those of BenchmarkFloors and
// BenchmarkRingToParquet (make bench); the flame graph is of the very runs that the last of them is the median of.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/llm-tracer/tracer/schema"
)

func main() {
	rows := flag.Int("rows", 500_000, "rows whose bytes are weighed")
	repeats := flag.Int("repeats", 5, "of each benchmark; medians are told")
	flag.Parse()
	if err := run(*rows, *repeats); err != nil {
		fmt.Fprintln(os.Stderr, "bench/rows:", err)
		os.Exit(1)
	}
}

type table struct {
	Head []string   `json:"head"`
	Rows [][]string `json:"rows"`
}

// sizeGoal is the ratio to the least that the project aims at.
const sizeGoal = 1.3

// over names the kinds of rows whose files are larger than the goal allows.
func (t table) over() (names []string) {
	for _, r := range t.Rows {
		if v, err := strconv.ParseFloat(r[len(r)-1], 64); err != nil || v > sizeGoal {
			names = append(names, r[0])
		}
	}
	return names
}

func run(rows, repeats int) error {
	sizes, err := sizeTable(rows)
	if err != nil {
		return err
	}
	speeds, whole, err := speedTable(repeats)
	if err != nil {
		return err
	}
	flame, err := flameGraph()
	if err != nil {
		return err
	}
	columns, nullable := schema.Samples.Schema().Fields(), 0
	for i := range columns {
		if columns[i].Nullable {
			nullable++
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"section": "Bytes and CPU a row against the least", "order": 52, "rows": slices.Concat(sizes.Rows, speeds.Rows),
		"sizes": sizes, "speeds": speeds, "repeats": repeats, "rows_weighed": rows,
		"columns": len(columns), "nullable": nullable, "core_pct": fmt.Sprintf("%.1f", 100*whole*mostRows/1e9),
		"flame": flame.SVG, "samples": flame.Samples, "over": sizes.over(),
	})
}

// mostRows is how many rows a second come from eight boards at 1 kHz.
const mostRows = 8000

func sizeTable(rows int) (t table, err error) {
	dir, err := os.MkdirTemp("", "bench-rows-")
	if err != nil {
		return t, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	t.Head = []string{"bytes a row", "in memory", "zstd, tracer's level", "zstd, best level", "differences, tracer's level", "differences, best level", "tracer's files", "÷ the least"}
	for _, kind := range []struct{ period, first string }{{"20ms", "0"}, {"1ms", "2"}} {
		out := filepath.Join(dir, kind.period)
		big := exec.Command("go", "run", "./scripts/big", "-rows", strconv.Itoa(rows), "-period", kind.period, "-first", kind.first, "-out", out)
		big.Stderr = os.Stderr
		if err := big.Run(); err != nil {
			return t, fmt.Errorf("making rows: %w", err)
		}
		w, err := weigh(out)
		if err != nil {
			return t, err
		}
		row := []string{"one board every " + kind.period}
		for _, v := range []float64{w.raw, w.plain, w.plainBest, w.deltas, w.deltasBest, w.file, w.file / min(w.plain, w.plainBest, w.deltas, w.deltasBest)} {
			row = append(row, fmt.Sprintf("%.2f", v))
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

// stations are the benchmarks, and what they are called on the page.
var stations = []struct{ benchmark, name string }{
	{"Floors/copy", "a copy of the readings' memory"},
	{"Floors/ring", "ring: pushed and popped"},
	{"Floors/batch", "rows to record batches"},
	{"Floors/zstd", "zstd on the encoded pages"},
	{"Floors/parquet", "rows to Parquet: batches, encoding, zstd, SHA-256, file"},
	{"Floors/journal", "journal: appended and read back"},
	{"RingToParquet/none", "ring to Parquet without a journal: labels, energies' input, rows to Parquet"},
	{"RingToParquet/journal", "ring to Parquet as a run does it"},
}

// profiled is the station that the flame graph is of, over more rows than the others: a profile has 100 samples a second.
const profiled = "RingToParquet/journal"

const (
	stationRows  = 1 << 20
	profiledRows = 1 << 22
)

// Where the profile goes, and the program that it is of.
var profile, program = filepath.Join("build", "bench", "rows.prof"), filepath.Join("build", "bench", "rows.test")

// speedTable has a line for each station; whole is what the last of them, all together, takes of the CPU, in ns a row.
func speedTable(repeats int) (t table, whole float64, err error) {
	if err := os.MkdirAll(filepath.Dir(profile), 0o755); err != nil {
		return t, 0, err
	}
	var said bytes.Buffer
	for _, args := range [][]string{
		{"-bench", "Floors|RingToParquet/none", "-benchtime", fmt.Sprintf("%dx", stationRows)},
		{"-bench", profiled, "-benchtime", fmt.Sprintf("%dx", profiledRows), "-cpuprofile", profile, "-o", program},
	} {
		cmd := exec.Command("go", slices.Concat([]string{"test", "-run", "^$", "-benchmem", "-cpu", "1", "-count", strconv.Itoa(repeats)}, args, []string{"./pipeline"})...)
		cmd.Stdout, cmd.Stderr = &said, os.Stderr
		if err := cmd.Run(); err != nil {
			return t, 0, fmt.Errorf("go test -bench: %w\n%s", err, said.String())
		}
	}
	t.Head = []string{"", "user CPU, ns a row", "÷ zstd", "allocated, B a row"}
	zstd := median(said.String(), "Floors/zstd", "cpu-ns/row")
	for _, s := range stations {
		cpu := median(said.String(), s.benchmark, "cpu-ns/row")
		if cpu == 0 {
			return t, 0, fmt.Errorf("go test -bench says nothing of %s:\n%s", s.benchmark, said.String())
		}
		whole = cpu
		t.Rows = append(t.Rows, []string{s.name, fmt.Sprintf("%.0f", cpu), fmt.Sprintf("%.1f", cpu/zstd), fmt.Sprintf("%.0f", median(said.String(), s.benchmark, "B/op"))})
	}
	return t, whole, nil
}

// flame is what bench/flame prints.
type flame struct {
	SVG     string `json:"svg"`
	Samples int    `json:"samples"`
}

// flameGraph draws the profile that speedTable left behind.
func flameGraph() (f flame, err error) {
	stacks, err := exec.Command("go", "tool", "pprof", "-sample_index=samples", "-traces", program, profile).Output()
	if err != nil {
		return f, fmt.Errorf("go tool pprof: %w", err)
	}
	draw := exec.Command("go", "run", "./bench/flame", "-root", `\(\*Pipeline\)\.(step|Commit)$`)
	draw.Stdin, draw.Stderr = bytes.NewReader(stacks), os.Stderr
	drawn, err := draw.Output()
	if err != nil {
		return f, fmt.Errorf("bench/flame: %w", err)
	}
	return f, json.Unmarshal(drawn, &f)
}

// median of one figure of a benchmark's lines.
func median(text, benchmark, unit string) float64 {
	var values []float64
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Benchmark"+benchmark {
			continue
		}
		if i := slices.Index(fields, unit); i > 0 {
			if v, err := strconv.ParseFloat(fields[i-1], 64); err == nil {
				values = append(values, v)
			}
		}
	}
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
