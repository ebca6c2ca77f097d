package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/internal/catalog"
	servesim "github.com/llm-tracer/tracer/nebula/sim"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

// row is what a sample says of itself.
type row struct {
	ns      int64
	board   string
	stage   schema.Stage
	request string // empty when NULL
	powerW  float32
}

func readRows(t *testing.T, dir, run string) []row {
	t.Helper()
	files, err := analysis.Dataset{Dir: dir}.Files("samples", run)
	if err != nil || len(files) == 0 {
		t.Fatalf("samples of run %s: %v, %v", run, files, err)
	}
	var rows []row
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		table, err := pqarrow.ReadTable(context.Background(), f, nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		r := array.NewTableReader(table, 0)
		for r.Next() {
			col := func(name string) int { return table.Schema().FieldIndices(name)[0] }
			rec := r.Record()
			ns, stage := rec.Column(col("monotonic_ns")).(*array.Int64), rec.Column(col("inference_stage")).(*array.String)
			board, request := rec.Column(col("gpu_uuid")).(*array.String), rec.Column(col("request_id")).(*array.String)
			power := rec.Column(col("power_instant_w")).(*array.Float32)
			for i := range int(rec.NumRows()) {
				x := row{ns: ns.Value(i), board: board.Value(i), stage: schema.Stage(stage.Value(i)), powerW: power.Value(i)}
				if request.IsValid(i) {
					x.request = request.Value(i)
				}
				rows = append(rows, x)
			}
		}
	}
	return rows
}

// rowsIn reads a Parquet file whole and counts its rows.
func rowsIn(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := pqarrow.ReadTable(context.Background(), f, nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return -1
	}
	defer table.Release()
	return table.NumRows()
}

func readTruth(t *testing.T, path string) []servesim.Truth {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []servesim.Truth
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var one servesim.Truth
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, one)
	}
	return all
}

// checkLabels holds every row further than one period from a true boundary against the truth: at least 99.9 % must bear the
// right stage, and none another request.
func checkLabels(t *testing.T, rows []row, truth []servesim.Truth, periodNS int64) {
	t.Helper()
	judged, wrong := 0, 0
	seen := map[schema.Stage]int{}
	for _, r := range rows {
		stage, request, near := schema.StageIdle, "", false
		for _, q := range truth {
			for _, boundary := range []int64{q.PrefillStartNS, q.FirstTokenNS, q.EndNS} {
				near = near || max(boundary-r.ns, r.ns-boundary) <= periodNS
			}
			switch {
			case r.ns < q.PrefillStartNS || r.ns >= q.EndNS:
			case r.ns < q.FirstTokenNS:
				stage, request = schema.StagePrefill, q.RequestID
			default:
				stage, request = schema.StageDecode, q.RequestID
			}
		}
		if near {
			continue
		}
		judged++
		seen[stage]++
		if r.stage != stage {
			wrong++
			t.Logf("at %d: labelled %s (%s), truth %s (%s)", r.ns, r.stage, r.request, stage, request)
		}
		if r.request != "" && r.request != request && request != "" {
			t.Errorf("at %d: bears request %s, truth %s", r.ns, r.request, request)
		}
	}
	t.Logf("%d of %d rows judged, %d wrong, truth %v", judged, len(rows), wrong, seen)
	if judged == 0 || seen[schema.StagePrefill] == 0 || seen[schema.StageDecode] == 0 || seen[schema.StageIdle] == 0 {
		t.Errorf("too few rows to judge: %v", seen)
	}
	if wrong*1000 > judged {
		t.Errorf("%d of %d rows wrong, more than 1 in 1,000", wrong, judged)
	}
}

func collectArgs(dir, run string, more ...string) []string {
	return append([]string{"collect", "--out", dir, "--run-id", run, "--calibrate", "off"}, more...)
}

func collectOrFail(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program(t), args...)
	cmd.Env = environ(env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("tracer %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

const periodNS = 2_000_000

func TestLabelsAgreeWithTheTruthInProcess(t *testing.T) {
	dir := t.TempDir()
	collectOrFail(t, nil, collectArgs(dir, "prefill", "--gpu", "sim:L40S", "--endpoint", "sim", "--workload", "prefill", "--sizes", "50,4000", "--prompts", "3", "--idle", "500ms", "--period", "2ms")...)
	collectOrFail(t, nil, collectArgs(dir, "decode", "--gpu", "sim:L40S", "--endpoint", "sim", "--workload", "decode", "--sizes", "10,50", "--prompts", "3", "--idle", "500ms", "--period", "2ms")...)
	var rows []row
	var truth []servesim.Truth
	for _, run := range []string{"prefill", "decode"} {
		rows = append(rows, readRows(t, dir, run)...)
		truth = append(truth, readTruth(t, filepath.Join(dir, "_tracer", "truth", run+".jsonl"))...)
	}
	checkLabels(t, rows, truth, periodNS)
}

// The same through go-nvml's dlopen path: the simulated server runs in a process of its own and shows its boards to the C
// fake of libnvidia-ml through a file.
func TestLabelsAgreeWithTheTruthThroughNVML(t *testing.T) {
	library := fakeLibrary(t)
	dir := t.TempDir()
	boards, truth := filepath.Join(dir, "boards"), filepath.Join(dir, "truth.jsonl")
	url := startSim(t, "--gpu", "sim:L40S,sim:L40S", "--board-file", boards, "--truth", truth)
	env := []string{"LD_LIBRARY_PATH=" + library, "TRACER_FAKENVML=" + boards}
	out := collectOrFail(t, env, collectArgs(dir, "nvml", "--endpoint", url, "--workload", "prefill,decode", "--sizes", "60", "--prompts", "4", "--idle", "500ms", "--period", "2ms")...)
	if !strings.Contains(out, "SIMULATED") {
		t.Errorf("boards behind the fake are not called simulated:\n%s", out)
	}
	rows := readRows(t, dir, "nvml")
	checkLabels(t, rows, readTruth(t, truth), periodNS)
	boardsSeen := map[string]int{}
	for _, r := range rows {
		boardsSeen[r.board]++
	}
	if len(boardsSeen) != 2 {
		t.Errorf("rows by board: %v, want two boards", boardsSeen)
	}
}

// fakeLibrary is the folder of the C fake, which make fakenvml builds.
func fakeLibrary(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../build")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "libnvidia-ml.so.1")); err != nil {
		t.Skipf("no fake of libnvidia-ml; make fakenvml builds it: %v", err)
	}
	return dir
}

// fakeA10 is the environment of a program that finds an A10 of the fake's.
func fakeA10(t *testing.T) []string {
	t.Helper()
	library := fakeLibrary(t)
	kind, err := catalog.BoardByName("A10")
	if err != nil {
		t.Fatal(err)
	}
	boards := filepath.Join(t.TempDir(), "boards")
	script, err := sim.Create(boards, sim.Describe(kind, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = script.Close() })
	return []string{"LD_LIBRARY_PATH=" + library, "TRACER_FAKENVML=" + boards}
}

var serving = regexp.MustCompile(`at (http://\S+);`)

// startSim starts tracer sim on a free port, until the test ends.
func startSim(t *testing.T, args ...string) (url string) {
	t.Helper()
	cmd := exec.Command(program(t), append([]string{"sim", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Env = environ()
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("tracer sim: %v", err)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	m := serving.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("tracer sim says %q", line)
	}
	return m[1]
}

func TestTermCommitsWhatWasMeasured(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	terminate(t, dir, 2, collectArgs(dir, "cut", "--gpu", "sim:H200", "--endpoint", "sim", "--workload", "decode", "--sizes", "10,2000", "--prompts", "50", "--warmup", "0", "--idle", "300ms")...)
	s, err := analysis.Dataset{Dir: dir}.Summarize(t.Context(), "cut")
	if err != nil {
		t.Fatal(err)
	}
	// The signal may fall between two requests: then none was interrupted.
	if len(s.Stages) < 3 || s.Counts.Valid == 0 || s.Counts.Reasons[schema.ReasonInterrupted] > 1 {
		t.Errorf("after SIGTERM: %d stages, requests %+v", len(s.Stages), s.Counts)
	}
	if _, err := os.Stat(filepath.Join(dir, "_tracer", "tmp", "cut-"+hostname())); !os.IsNotExist(err) {
		t.Errorf("temporary files are left: %v", err)
	}
}

// terminate starts tracer for a run called cut, and stops it with SIGTERM when it has finished some requests.
func terminate(t *testing.T, dir string, requests int, args ...string) {
	t.Helper()
	cmd := exec.Command(program(t), args...)
	cmd.Env = environ()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitForTruth(t, filepath.Join(dir, "_tracer", "truth", "cut.jsonl"), requests)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit code is looked at next
	if got := cmd.ProcessState.ExitCode(); got != exitInterrupted {
		t.Fatalf("exit code %d, want %d\n%s", got, exitInterrupted, &stderr)
	}
}

// waitForTruth polls until the simulated server has finished some requests.
func waitForTruth(t *testing.T, path string, requests int) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		select {
		case <-tick.C:
			if text, err := os.ReadFile(path); err == nil && bytes.Count(text, []byte("\n")) > requests { // the question about the chat template is one more
				return
			}
		case <-deadline:
			t.Fatal("no request finished within a minute")
		}
	}
}
