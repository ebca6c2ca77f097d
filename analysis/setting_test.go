package analysis

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/analysis/compact"
	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// commitRun publishes a run without rows.
func commitRun(t *testing.T, dir string, run schema.Run, driver string, uuids ...string) {
	t.Helper()
	run.Host, run.Model, run.Server, run.CorpusID = "host", "org/model", "vllm", "corpus"
	var boards []schema.Board
	for i, uuid := range uuids {
		boards = append(boards, schema.Board{Index: int32(i), UUID: uuid, Name: "A", DriverVersion: driver})
	}
	p, err := pipeline.Open(pipeline.Config{
		Dir: dir, Run: &run, Boards: boards, Readings: ring.New[schema.Reading](16), Spans: []*ring.SPSC[schema.SpanEvent]{ring.New[schema.SpanEvent](16)},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	close(done)
	if err := p.Collect(done, func(err error) { t.Fatal(err) }); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Commit(make([]schema.Sampling, len(boards)), "test"); err != nil {
		t.Fatal(err)
	}
}

func TestTheLatestOverheadOfTheSameSettingIsFound(t *testing.T) {
	dir := t.TempDir()
	const driver = "570.124.06"
	result := func(id string, startS int64, period time.Duration, pct float64) schema.Run {
		e := schema.Effect{Pct: schema.Some(pct), Lo: schema.Some(pct - 1), Hi: schema.Some(pct + 1)}
		return schema.Run{ID: id, Start: clock.Pair{WallNS: startS * 1e9}, Overhead: schema.Overhead{RunID: id, Period: period, TTFT: e}}
	}
	const period = 20 * time.Millisecond
	commitRun(t, dir, result("z-older", 100, period, 1), driver, "GPU-a", "GPU-b")
	commitRun(t, dir, result("newer", 200, 21*time.Millisecond, 2), driver, "GPU-b", "GPU-a")
	commitRun(t, dir, result("other-period", 300, 10*time.Millisecond, 3), driver, "GPU-a", "GPU-b")
	commitRun(t, dir, result("one-board", 400, period, 4), driver, "GPU-a")
	commitRun(t, dir, result("other-driver", 500, period, 5), "575.1", "GPU-a", "GPU-b")
	carried := result("carried", 600, period, 6)
	carried.Overhead.RunID = "newer" // a trace that carries a result has not measured one
	commitRun(t, dir, carried, driver, "GPU-a", "GPU-b")
	cut := result("cut", 700, period, 7)
	cut.Overhead.TTFT = schema.Effect{} // interrupted too early for an interval
	commitRun(t, dir, cut, driver, "GPU-a", "GPU-b")

	latestOverheads(t, dir, result("newer", 200, 21*time.Millisecond, 2).Overhead)
	compacted(t, dir)
	latestOverheads(t, dir, result("newer", 200, 21*time.Millisecond, 2).Overhead)
}

// compacted joins the files of a dataset.
func compacted(t *testing.T, dir string) {
	t.Helper()
	folders := 0
	if err := compact.Dataset(t.Context(), dir, "test", func(compact.Folder) { folders++ }); err != nil || folders == 0 {
		t.Fatalf("%d folders compacted, %v", folders, err)
	}
}

func latestOverheads(t *testing.T, dir string, want schema.Overhead) {
	t.Helper()
	in := Setting{Host: "host", Model: "org/model", Server: "vllm", Driver: "570.124.06", Boards: []string{"GPU-a", "GPU-b"}, Period: 20 * time.Millisecond}
	for _, c := range []struct {
		what   string
		change func(*Setting)
		want   string
	}{
		{"as it is", func(*Setting) {}, "newer"},
		{"boards named in another order", func(s *Setting) { s.Boards = []string{"GPU-b", "GPU-a"} }, "newer"},
		{"one board", func(s *Setting) { s.Boards = s.Boards[:1] }, "one-board"},
		{"another driver", func(s *Setting) { s.Driver = "575.1" }, "other-driver"},
		{"another period", func(s *Setting) { s.Period = 10 * time.Millisecond }, "other-period"},
		{"a period between", func(s *Setting) { s.Period = 15 * time.Millisecond }, ""},
		{"another host", func(s *Setting) { s.Host = "host2" }, ""},
		{"another model", func(s *Setting) { s.Model = "org/model2" }, ""},
		{"another server", func(s *Setting) { s.Server = "sglang" }, ""},
		{"another board", func(s *Setting) { s.Boards = []string{"GPU-a", "GPU-c"} }, ""},
	} {
		like := in
		c.change(&like)
		got, err := Dataset{Dir: dir}.LatestOverhead(like)
		if err != nil || got.RunID != c.want {
			t.Errorf("%s: %q, %v; want %q", c.what, got.RunID, err, c.want)
		}
	}
	got, err := Dataset{Dir: dir}.LatestOverhead(in)
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

func TestADatasetWithoutRunsHoldsNoOverhead(t *testing.T) {
	if got, err := (Dataset{Dir: t.TempDir()}).LatestOverhead(Setting{}); err != nil || got.RunID != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRunsFromBeforeOverheadWasMeasuredArePassedOver(t *testing.T) {
	dir := t.TempDir()
	commitRun(t, dir, schema.Run{ID: "run"}, "570", "GPU-a")
	path, err := store.PublishCorpus(dir, "corpus", nil) // Parquet without these columns
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "runs", "old-host.parquet"), other, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := (Dataset{Dir: dir}).LatestOverhead(Setting{}); err != nil || got.RunID != "" {
		t.Errorf("%+v, %v", got, err)
	}
}
