package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/llm-tracer/tracer/pipeline/rehearsal"
	"github.com/llm-tracer/tracer/schema"
)

// sound is a dataset with nothing wrong: two plain runs, one of two boards; one with requests that fail; one with requests
// that overlap.
var sound = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "sound-"); err != nil {
		return "", err
	}
	for i, r := range []rehearsal.Run{
		{ID: "alpha", Boards: 2, Requests: 4},
		{ID: "beta", Boards: 1, Requests: 8},
		{ID: "failing", Boards: 1, Requests: 8, Failures: true},
		{ID: "overlapping", Boards: 1, Requests: 8, Overlap: true},
	} {
		r.Period, r.Start = 20*time.Millisecond, time.Duration(i+1)*time.Hour
		if err := rehearsal.Record(dir, r); err != nil {
			return "", err
		}
	}
	return dir, nil
})

// troubled is a sound dataset of runs whose boards or host were in trouble.
var troubled = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "troubled-"); err != nil {
		return "", err
	}
	for i, r := range []rehearsal.Run{
		{ID: "loaded", Boards: 1, Requests: 4, Busy: true},
		{ID: "plain", Boards: 1, Requests: 4},
		{ID: "still", Boards: 1, Requests: 8, Stuck: true},
		{ID: "troubled", Boards: 2, Requests: 8, Troubles: true},
	} {
		r.Period, r.Start = 20*time.Millisecond, time.Duration(i+1)*time.Hour
		if err := rehearsal.Record(dir, r); err != nil {
			return "", err
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	for _, dataset := range []func() (string, error){sound, troubled} {
		if made, err := dataset(); err == nil {
			_ = os.RemoveAll(made)
		}
	}
	os.Exit(code)
}

// soundCopy gives a copy of the sound dataset.
func soundCopy(t *testing.T) string {
	t.Helper()
	return copyOf(t, sound)
}

func copyOf(t *testing.T, dataset func() (string, error)) string {
	t.Helper()
	made, err := dataset()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "ds")
	if err := os.CopyFS(dir, os.DirFS(made)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// one is the only file that a pattern finds.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found[0]
}

// row is one row of a table, by column.
type row = map[string]any

// rewrite changes the rows of a file, and has its manifest agree.
func rewrite(t *testing.T, dir, file string, change func([]row) []row) {
	t.Helper()
	rewriteAs(t, dir, file, func(s *arrow.Schema) *arrow.Schema { return s }, change)
}

// read gives a file's rows.
func read(t *testing.T, file string) (rows []row) {
	t.Helper()
	table := readTable(t, file)
	reader := array.NewTableReader(table, 0)
	for reader.Next() {
		text, err := reader.Record().MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		var some []row
		if err := d.Decode(&some); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, some...)
	}
	return rows
}

func readTable(t *testing.T, file string) arrow.Table {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	table, err := pqarrow.ReadTable(t.Context(), bytes.NewReader(body), nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func rewriteAs(t *testing.T, dir, file string, as func(*arrow.Schema) *arrow.Schema, change func([]row) []row) {
	t.Helper()
	table, rows := readTable(t, file), read(t, file)
	text, err := json.Marshal(change(rows))
	if err != nil {
		t.Fatal(err)
	}
	record, _, err := array.RecordFromJSON(memory.DefaultAllocator, as(table.Schema()), bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(as(table.Schema()), &out, parquet.NewWriterProperties(), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		t.Fatal(err)
	}
	rel, _ := filepath.Rel(dir, file)
	for key, value := range map[string]string{"tracer.schema_version": schema.Version, "tracer.table": tableOf(rel)} {
		if err := w.AppendKeyValueMetadata(key, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Write(array.NewRecord(as(table.Schema()), record.Columns(), record.NumRows())); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, file, out.Bytes())
	recommit(t, dir, file, int(record.NumRows()))
}

func put(t *testing.T, file string, body []byte) {
	t.Helper()
	if err := os.WriteFile(file, body, 0o644); err != nil {
		t.Fatal(err)
	}
}

// recommit has the manifests agree with a file that was changed.
func recommit(t *testing.T, dir, file string, rows int) {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	rel, _ := filepath.Rel(dir, file)
	found := false
	for _, manifest := range globbed(dir, "_tracer/commits/*.json") {
		editManifest(t, manifest, func(m map[string]any) {
			for _, f := range m["files"].([]any) {
				if f := f.(map[string]any); f["path"] == rel {
					f["bytes"], f["sha256"], f["rows"] = len(body), hex.EncodeToString(sum[:]), rows
					found = true
				}
			}
		})
	}
	if !found {
		t.Fatalf("no manifest names %s", rel)
	}
}

func editManifest(t *testing.T, manifest string, change func(map[string]any)) {
	t.Helper()
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if text, err = json.MarshalIndent(m, "", "  "); err != nil {
		t.Fatal(err)
	}
	put(t, manifest, append(text, '\n'))
}

func globbed(dir, pattern string) []string {
	found, _ := filepath.Glob(filepath.Join(dir, pattern))
	return found
}

// contents are all files by what they hold, wherever they stand.
func contents(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		body, err := os.ReadFile(at)
		sum := sha256.Sum256(body)
		all = append(all, hex.EncodeToString(sum[:]))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func lines(r *Report) string {
	var b strings.Builder
	for i := range r.Findings {
		b.WriteString(r.Findings[i].String() + "\n")
	}
	return b.String()
}
