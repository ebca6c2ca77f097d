package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/analysis/compact"
	"github.com/llm-tracer/tracer/analysis/verify"
	"github.com/llm-tracer/tracer/pipeline/rehearsal"
)

// watching is a DuckDB process that counts and sums a dataset's rows over and over. A file that was there when it listed
// them and is gone when it opens them ends a query with an error, and the query is asked again; any other answer than the
// first is wrong.
const watching = `
import duckdb, json, sys, threading
root, stop = sys.argv[1], threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
db = duckdb.connect()
queries = [f"SELECT count(*), sum(hash(t)) FROM read_parquet('{root}/{table}/*.parquet', hive_partitioning = false) AS t WHERE run_id LIKE 'base-%'"
           for table in ("samples/**", "requests/**", "runs", "folds")]
first = [db.sql(q).fetchall() for q in queries]
print("watching", flush=True)
seen, again, wrong = 0, 0, []
while not stop.is_set():
    for q, want in zip(queries, first):
        try:
            got = db.sql(q).fetchall()
        except duckdb.IOException:
            again += 1
            continue
        seen += 1
        if got != want:
            wrong.append([q, str(want), str(got)])
print(json.dumps({"rows": [f[0][0] for f in first], "seen": seen, "again": again, "wrong": wrong[:3]}))
`

// witness is what it found.
type witness struct {
	Rows  []int64    `json:"rows"`
	Seen  int        `json:"seen"`
	Again int        `json:"again"`
	Wrong [][]string `json:"wrong"`
}

// witnessing starts the process; stop ends it and gives what it found.
func witnessing(t *testing.T, dir string) (stop func() witness) {
	t.Helper()
	python, err := filepath.Abs("../../.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if exec.Command(python, "-c", "import duckdb").Run() != nil {
		t.Skip("no DuckDB: make .venv/ready installs it")
	}
	cmd := exec.Command(python, "-c", watching, dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "watching\n" {
		t.Fatalf("the reader said %q, %v", line, err)
	}
	return func() (w witness) {
		_ = in.Close()
		text, err := io.ReadAll(lines)
		if err != nil || json.Unmarshal(text, &w) != nil {
			t.Fatalf("the reader ended with %q, %v", text, err)
		}
		_ = cmd.Wait()
		return w
	}
}

func rehearse(t *testing.T, dir, id string, at int) {
	t.Helper()
	r := rehearsal.Run{ID: id, Boards: 2, Requests: 4, Period: 20 * time.Millisecond, Start: time.Duration(at+1) * time.Hour}
	if err := rehearsal.Record(dir, r); err != nil {
		t.Fatal(err)
	}
}

// kills is how often the compaction is killed.
const kills = 25

// compactionKilled kills compactions at random instants, while another run is published and a reader counts rows: it finds
// every row once, always, and in the end nothing is missing.
func compactionKilled(t *testing.T) {
	dir := t.TempDir()
	for i := range 4 {
		rehearse(t, dir, fmt.Sprintf("base-%d", i), i)
	}
	stop := witnessing(t, dir)
	began := time.Now()
	if out, err := exec.Command(program(t), "compact", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	whole := time.Since(began)
	rng, finished := rand.New(rand.NewPCG(1, 2)), 0
	for i := range kills {
		cmd := exec.Command(program(t), "compact", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(rng.Float64()*1.2*float64(whole)), func() { _ = cmd.Process.Kill() })
		rehearse(t, dir, fmt.Sprintf("more-%d", i), 4+i)
		if cmd.Wait() == nil {
			finished++
		}
		kill.Stop()
	}
	report, err := verify.Dataset(t.Context(), dir)
	if err != nil || report.Count(verify.Error) > 0 {
		t.Errorf("after the last kill: %v, %+v", err, report)
	}
	if out, err := exec.Command(program(t), "compact", dir).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	w := stop()
	t.Logf("%d of %d compactions were killed; %d queries answered, %d asked again", kills-finished, kills, w.Seen, w.Again)
	if len(w.Wrong) > 0 || w.Seen < kills || w.Rows[0] == 0 || finished == kills {
		t.Errorf("the reader saw %+v", w)
	}
	if report, err = verify.Dataset(t.Context(), dir); err != nil || len(report.Findings) > 0 || report.Runs != 4+kills {
		t.Errorf("in the end: %v, %+v", err, report)
	}
	if plan, err := compact.Plan(dir); err != nil || len(plan) > 0 {
		t.Errorf("there is still %+v to compact, %v", plan, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "_tracer", "tmp", "*")); len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, ", "))
	}
}

func TestADatasetThatCannotBeWrittenToIsNotCompacted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rehearse(t, dir, "one", 0)
	rehearse(t, dir, "two", 1)
	_, said := small(t, tight, `cp -r "$1" "$DIR/ds"; mount -o remount,ro "$DIR"; tracer compact "$DIR/ds"`, []string{dir})
	holds(t, 0, said, 0, `exit 4`, `read-only file system; compact as a user who may read and write the dataset, or a copy of it`)
}
