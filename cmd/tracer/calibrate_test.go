package main

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

// readRun is a run's row of one board, by column; NULLs are left out.
func readRun(t *testing.T, dir, run string) map[string]any {
	t.Helper()
	files, err := analysis.Dataset{Dir: dir}.Files("runs", run)
	if err != nil || len(files) != 1 {
		t.Fatalf("run %s: %v, %v", run, files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	table, err := pqarrow.ReadTable(context.Background(), f, nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	row := map[string]any{}
	for i := range int(table.NumCols()) {
		switch c := table.Column(i).Data().Chunk(0).(type) {
		case *array.List:
			row[table.Schema().Field(i).Name] = c.ListValues().(*array.String).String()
		default:
			if c.IsValid(0) {
				row[table.Schema().Field(i).Name] = c.(interface{ GetOneForMarshal(int) any }).GetOneForMarshal(0)
			}
		}
	}
	return row
}

// The whole way: a jittered sensor and a 167 ms one behind the fake of libnvidia-ml, under the load of a server in another
// process.
func TestCollectCalibratesOnceAndPlansByIt(t *testing.T) {
	library, dir := fakeLibrary(t), t.TempDir()
	boards := filepath.Join(dir, "boards")
	url := startSim(t, "--gpu", "sim:H200", "--board-file", boards)
	env := []string{"LD_LIBRARY_PATH=" + library, "TRACER_FAKENVML=" + boards}
	args := []string{"collect", "--out", dir, "--endpoint", url, "--sizes", "10,20", "--prompts", "1", "--warmup", "1", "--idle", "600ms", "--run-id"}
	out := collectOrFail(t, env, append(args, "first")...)
	if !strings.Contains(out, "calibrating the sensors") || !strings.Contains(out, "period calibrated, window table:hopper") {
		t.Errorf("no word of the calibration:\n%s", out)
	}
	row := readRun(t, dir, "first")
	for name, want := range map[string]float64{
		"sensor_period_s": 0.1, "sensor_window_s": 0.025, "period_planned_s": 0.02,
		"calibrated_power_average_period_s": 0.1, "calibrated_energy_period_s": 0.1, "calibrated_utilization_period_s": 0.2,
	} {
		if got, ok := row[name].(float64); !ok || math.Abs(got/want-1) > 0.01 {
			t.Errorf("%s is %v, want %v", name, row[name], want)
		}
	}
	for _, name := range []string{"sensor_period_confidence", "calibrated_power_instant_call_p99_s", "sampler_cpu_s", "call_share_peak"} {
		if got, ok := row[name].(float64); !ok || got <= 0 {
			t.Errorf("%s is %v", name, row[name])
		}
	}
	if row["call_budget"] != 0.005 || row["calibration_load"] == nil || row["calibrated_timestamp"] == nil || row["period_changes"] != "[]" {
		t.Errorf("budget %v, load %v at %v, changes %v", row["call_budget"], row["calibration_load"], row["calibrated_timestamp"], row["period_changes"])
	}
	if n := row["requests"]; n != int64(5) {
		t.Errorf("%v requests in the dataset: calibration's are none of its rows", n)
	}
	// The board rests at 80 W, with a model loaded some 30 W above that; decode draws more than 300 W.
	if idle, ok := row["idle_power_w"].(float64); !ok || idle > 130 {
		t.Errorf("baseline of %v W: calibration's load is in it", row["idle_power_w"])
	}
	if out := collectOrFail(t, env, append(args, "second", "--period", "10ms")...); strings.Contains(out, "calibrating") || !strings.Contains(out, "10ms reads each 10 times; auto would read every 20ms") {
		t.Errorf("the second run:\n%s", out)
	}
	again := readRun(t, dir, "second")
	if again["calibrated_timestamp"] != row["calibrated_timestamp"] || again["sensor_period_s"] != row["sensor_period_s"] || again["call_budget"] != nil {
		t.Errorf("the second run's calibration is of %v, the first's of %v; budget %v", again["calibrated_timestamp"], row["calibrated_timestamp"], again["call_budget"])
	}
}

// Calls that take 1 ms, every 20 ms, are ten times over the budget: the governor's changes are in runs and on the screen.
func TestTheGovernorsChangesAreTold(t *testing.T) {
	library, dir := fakeLibrary(t), t.TempDir()
	kind, err := catalog.BoardByName("H200")
	if err != nil {
		t.Fatal(err)
	}
	slow := sim.Describe(kind, 0)
	slow.Faults = []sim.Fault{{Function: sim.FieldValues, Extra: time.Millisecond}}
	boards := filepath.Join(dir, "boards")
	script, err := sim.Create(boards, slow)
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close()
	url := startSim(t, "--gpu", "sim:H200")
	env := []string{"LD_LIBRARY_PATH=" + library, "TRACER_FAKENVML=" + boards}
	out := collectOrFail(t, env, collectArgs(dir, "slow", "--endpoint", url, "--workload", "decode", "--sizes", "10", "--prompts", "1", "--idle", "3s")...)
	if !strings.Contains(out, "governor: board 0 read every 40ms instead of 20ms") {
		t.Errorf("no word of the governor:\n%s", out)
	}
	row := readRun(t, dir, "slow")
	for name := range row {
		if strings.HasPrefix(name, "calibrat") || name == "sensor_period_confidence" {
			t.Errorf("%s is %v in a run that was not calibrated", name, row[name])
		}
	}
	if changes, _ := row["period_changes"].(string); !strings.Contains(changes, "from_s=0.02 to_s=0.04 call_share=") {
		t.Errorf("period_changes is %s", changes)
	}
	out = collectOrFail(t, env, collectArgs(dir, "own", "--endpoint", url, "--workload", "decode", "--sizes", "10", "--prompts", "1", "--idle", "2s", "--period", "20ms")...)
	if !strings.Contains(out, "over the budget of 0.5%") {
		t.Errorf("a period of the user's own is not held against the budget:\n%s", out)
	}
}

func TestAKeptCalibrationServesTheSameDriverAlone(t *testing.T) {
	dir := t.TempDir()
	b, err := openBoards("sim:A10", sampler.DefaultPatience)
	if err != nil {
		t.Fatal(err)
	}
	found := []schema.Calibration{{AtUnixMS: 1, PowerInstant: schema.FieldCalibration{Reads: 9, Period: 99 * time.Millisecond, Confidence: 0.9}}}
	if err := b.keep(dir, calibrateAuto, found); err != nil {
		t.Fatal(err)
	}
	if got, err := b.kept(dir, calibrateAuto); err != nil || len(got) != 1 || got[0] != found[0] {
		t.Errorf("kept %+v, %v", got, err)
	}
	if got, err := b.kept(dir, calibrateActive); err != nil || got != nil {
		t.Errorf("windows that were not measured: %+v, %v", got, err)
	}
	measured := slices.Clone(found)
	measured[0].PowerInstant.Window, measured[0].PowerInstant.WindowError = 24*time.Millisecond, time.Millisecond
	if err := b.keep(dir, calibrateActive, measured); err != nil {
		t.Fatal(err)
	}
	if err := b.keep(dir, calibrateAuto, found); err != nil {
		t.Fatal(err)
	}
	if got, err := b.kept(dir, calibrateActive); err != nil || len(got) != 1 || got[0] != measured[0] {
		t.Errorf("a measured window is forgotten with the next period: %+v, %v", got, err)
	}
	path := calibrationPath(dir, b.facts()[0])
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{`"570.00.sim"`, `"575.00.sim"`}, {`"00.00.00.00.sim"`, `"00.00.00.01.sim"`}} {
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), change[0], change[1], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := b.kept(dir, calibrateAuto); err != nil || got != nil {
			t.Errorf("%s: kept %+v, %v", change[1], got, err)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.kept(dir, calibrateAuto); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a torn file: %v", err)
	}
	found[0].PowerInstant.Period = 0
	if err := b.keep(t.TempDir(), calibrateAuto, found); err != nil {
		t.Fatal(err)
	}
	if got, err := b.kept(filepath.Join(dir, "none"), calibrateAuto); err != nil || got != nil {
		t.Errorf("nothing kept: %+v, %v", got, err)
	}
}
