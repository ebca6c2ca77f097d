package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/parquet/file"

	"github.com/llm-tracer/tracer/analysis/fit"
	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/pipeline/rehearsal"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/schema"
)

const ms = 1_000_000

// writeRun publishes a run of one board that is read 40 times a second for a minute, in an even and an odd half of each ten
// seconds: busy, then idle. The first three readings know no utilisation, nor do most of the others.
func writeRun(t *testing.T, dir, id string, board schema.Board) {
	t.Helper()
	readings := ring.New[schema.Reading](4096)
	p, err := pipeline.Open(pipeline.Config{
		Dir: dir, Run: &schema.Run{ID: id, Host: "host", Model: "org/model", CorpusID: "corpus", Simulated: true}, Readings: readings,
		Prompts: []schema.Prompt{{ID: "prefill-00010-0000", Workload: schema.WorkloadPrefill, TargetTokens: 10, Text: "it's"}},
		Boards:  []schema.Board{board},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(2400) {
		at := i*25*ms + 400_000 + i%3*300_000 // not on the millisecond
		r := schema.Reading{StartNS: at, EndNS: at, PowerInstantW: schema.Some(float32(50))}
		busy := i/200%2 == 0
		if busy {
			r.PowerInstantW = schema.Some(float32(130))
		}
		if i >= 3 && i%4 == 3 {
			r.GPUUtilPct = schema.Some(int32(0))
			if busy {
				r.GPUUtilPct = schema.Some(int32(100))
			}
		}
		readings.Push(&r)
	}
	done := make(chan struct{})
	close(done)
	if err := p.Collect(done, func(error) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Commit(make([]schema.Sampling, 1), "test"); err != nil {
		t.Fatal(err)
	}
}

func a10() schema.Board {
	return schema.Board{UUID: "GPU-a", Name: "NVIDIA A10", Cores: schema.Some(int32(9216)), MaxSMClockMHz: schema.Some(int32(1695)), MemoryBytes: schema.Some(int64(24e9))}
}

// exported is a folder with an export of a dataset.
func exported(t *testing.T, dir string, o Order) string {
	t.Helper()
	d, err := query.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	out := filepath.Join(t.TempDir(), "out")
	folder, err := Create(out, false)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if _, err := Write(t.Context(), d, o, folder); err != nil {
		t.Fatal(err)
	}
	if err := folder.Publish(); err != nil {
		t.Fatal(err)
	}
	return out
}

// The schemas that OpenDC publishes: TaskSchemas.kt and FragmentSchemas.kt, without the columns left out here.
const (
	openDCTasks = `required int32 id
required int64 submission_time timestamp(isadjustedtoutc=true, timeunit=milliseconds)
required int64 duration
required int32 cpu_count
required double cpu_capacity
required int64 mem_capacity
optional int32 gpu_count
optional double gpu_capacity
`
	openDCFragments = `required int32 id
required int64 duration
required double cpu_usage
optional double gpu_usage
`
)

// message writes a file's columns.
func message(r *file.Reader) string {
	var b strings.Builder
	for i := range r.MetaData().Schema.NumColumns() {
		c := r.MetaData().Schema.Column(i)
		annotation := ""
		if l := c.LogicalType(); l.IsValid() && !l.IsNone() {
			kind, _, _ := strings.Cut(l.String(), ", is_from_converted_type") // beyond it, Arrow's own bookkeeping
			annotation = " " + kind + ")"
		}
		fmt.Fprintf(&b, "%s %s %s%s\n", c.SchemaNode().RepetitionType(), c.PhysicalType(), c.Name(), annotation)
	}
	return strings.ToLower(b.String())
}

func openParquet(t *testing.T, path string) *file.Reader {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := file.NewParquetReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// column reads one column of the only row group.
func column[T any, R interface {
	ReadBatch(int64, []T, []int16, []int16) (int64, int, error)
}](t *testing.T, r *file.Reader, at int) []T {
	t.Helper()
	chunk, err := r.RowGroup(0).Column(at)
	if err != nil {
		t.Fatal(err)
	}
	values, levels := make([]T, r.NumRows()), make([]int16, r.NumRows())
	_, n, err := any(chunk).(R).ReadBatch(r.NumRows(), values, levels, nil)
	if err != nil || int64(n) != r.NumRows() {
		t.Fatalf("column %d: %d of %d values, %v", at, n, r.NumRows(), err)
	}
	return values
}

func TestOpenDCsPublishedSchemaHoldsForEveryColumn(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, "one", a10())
	out := exported(t, dir, Order{Format: "opendc"})
	for name, want := range map[string]string{"tasks.parquet": openDCTasks, "fragments.parquet": openDCFragments} {
		r := openParquet(t, filepath.Join(out, name))
		if got := message(r); got != want {
			t.Errorf("%s:\n%swant\n%s", name, got, want)
		}
	}
}

func TestFragmentsAreTheTimeBetweenReadings(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, "one", a10())
	writeRun(t, dir, "two", a10())
	out := exported(t, dir, Order{Format: "opendc"})
	tasks, fragments := openParquet(t, filepath.Join(out, "tasks.parquet")), openParquet(t, filepath.Join(out, "fragments.parquet"))
	if tasks.NumRows() != 2 || fragments.NumRows() != 2*2396 { // the first three readings know no utilisation; the next begins
		t.Fatalf("%d tasks, %d fragments", tasks.NumRows(), fragments.NumRows())
	}
	ids := column[int32, *file.Int32ColumnChunkReader](t, fragments, 0)
	durations := column[int64, *file.Int64ColumnChunkReader](t, fragments, 1)
	usage := column[float64, *file.Float64ColumnChunkReader](t, fragments, 3)
	const capacity = 9216 * 1695
	sums, work := map[int32]int64{}, 0.0
	for i, id := range ids {
		sums[id] += durations[i]
		if usage[i] != 0 && usage[i] != capacity || durations[i] < 24 || durations[i] > 26 {
			t.Fatalf("fragment %d: %v MHz for %d ms", i, usage[i], durations[i])
		}
		work += usage[i] * float64(durations[i])
	}
	want := (2399*25*ms + 2399%3*300_000 - 3*25*ms + ms/2) / ms // from reading 3 to the last
	for i, duration := range column[int64, *file.Int64ColumnChunkReader](t, tasks, 2) {
		if duration != int64(want) || sums[int32(i)] != duration {
			t.Errorf("task %d takes %d ms, its fragments %d, want %d", i, duration, sums[int32(i)], want)
		}
	}
	if share := work / capacity / float64(sums[0]+sums[1]); share < 0.49 || share > 0.51 {
		t.Errorf("utilisation is %v, want half", share)
	}
	if cores := column[int32, *file.Int32ColumnChunkReader](t, tasks, 6); cores[0] != 9216 {
		t.Errorf("gpu_count %d", cores[0])
	}
}

func TestTheTopologyHasABoardForEveryTask(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, "one", a10())
	writeRun(t, dir, "two", a10())
	unknown := a10()
	unknown.Name, unknown.Cores = "NVIDIA Unknown", schema.Opt[int32]{}
	writeRun(t, dir, "three", unknown)
	out := exported(t, dir, Order{Format: "opendc"})
	var top topology
	body, err := os.ReadFile(filepath.Join(out, "topology.json"))
	if err == nil {
		err = json.Unmarshal(body, &top)
	}
	if err != nil || len(top.Clusters) != 1 || len(top.Clusters[0].Hosts) != 1 {
		t.Fatalf("%s, %v", body, err)
	}
	h := top.Clusters[0].Hosts[0]
	if h.Count != 2 || h.GPU.CoreCount != 9216 || h.GPU.CoreSpeed != 1695 || h.Memory.Size != 24e9 {
		t.Errorf("host %+v", h)
	}
	if p := h.GPUPowerModel; p.Type != "linear" || p.IdleW < 49 || p.IdleW > 51 || p.MaxW < 129 || p.MaxW > 131 {
		t.Errorf("power model %+v", p)
	}
	text, err := os.ReadFile(filepath.Join(out, readme))
	if err != nil || !strings.Contains(string(text), "Left out: NVIDIA Unknown of run three") || !strings.Contains(string(text), "Simulated") || !strings.Contains(string(text), "shape is not supported") {
		t.Errorf("README: %s, %v", text, err)
	}
}

func TestAnExportIsWholeOrNotThere(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	writeRun(t, dir, "one", a10())
	d, err := query.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	folder, err := Create(out, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Write(t.Context(), d, Order{Format: "csv"}, folder); err == nil { // it has samples, but no request
		t.Error("an export without rows")
	}
	if err := folder.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("the folder was left behind")
	}
	if folder, err = Create(out, false); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(t.Context(), d, Order{Format: "opendc"}, folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "tasks.parquet"), []byte("mine"), 0o600); err != nil { // meanwhile
		t.Fatal(err)
	}
	if err := folder.Publish(); err == nil {
		t.Error("a file was replaced")
	}
	if err := folder.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(out); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRunsOfOneBoardAndOfTwoAreExportedApart(t *testing.T) {
	dir := t.TempDir()
	for i, id := range []string{"one", "two"} {
		if err := rehearsal.Record(dir, rehearsal.Run{ID: id, Boards: i + 1, Requests: 8, Period: 20 * time.Millisecond, Start: time.Duration(i+1) * time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	out := exported(t, dir, Order{Format: "kavier"})
	for _, name := range []string{"constants_*.json", "trace_*.csv", "trace_*.parquet"} {
		names, err := filepath.Glob(filepath.Join(out, name))
		if err != nil || len(names) != 2 || !strings.Contains(names[0], "_2x-") {
			t.Errorf("%q, %v", names, err)
		}
	}
	d, err := query.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fits, err := fit.Of(t.Context(), d, query.Choice{}, fit.Hardware{})
	if err != nil || len(fits) != 2 || len(fits[0].Runs) != 1 || len(fits[1].Runs) != 1 || fits[1].Boards != 2 {
		t.Fatalf("%+v, %v", fits, err)
	}
	var printed strings.Builder
	if err := fit.Print(&printed, fits); err != nil || !strings.Contains(printed.String(), " on 2 × "+fits[0].GPU+": ") {
		t.Errorf("%v\n%s", err, &printed)
	}
}
