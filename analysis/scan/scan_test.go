package scan

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

const manyRows = 260_000 // three row groups

// sparse is a row whose slow sensors are read now and then, and in one stretch not at all.
func sparse(i int) (s schema.Sample) {
	s.StartNS, s.EndNS = int64(i)*1e6, int64(i)*1e6
	s.MemoryUsedB = schema.Opt[int64]{V: int64(i) * int64(i) % (80 << 30), OK: i%7 == 3 && (i < 90_000 || i > 180_000)}
	s.Throttle = schema.Opt[int64]{V: 1 << (i % 9), OK: i%97 == 0 || i > 200_000}
	s.GPUUtilPct = schema.Opt[int32]{V: int32(i % 101), OK: i%5 == 0}
	return s
}

// large writes a file of sparse rows.
func large(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	part, err := store.CreatePart(schema.Samples, memory.DefaultAllocator, dir, "large")
	if err != nil {
		t.Fatal(err)
	}
	run, board := schema.Run{ID: "large"}, schema.Board{UUID: "GPU-large", Name: "sim-A10"}
	for i := range manyRows {
		s := sparse(i)
		s.Run, s.Board, s.Stage = &run, &board, schema.StageIdle
		if err := part.Add(&s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := part.Finish(); err != nil {
		t.Fatal(err)
	}
	found, err := os.ReadDir(dir)
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return filepath.Join(dir, found[0].Name())
}

func TestSparseColumnsAreReadOverBatchesPagesAndRowGroups(t *testing.T) {
	f, err := Open(large(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Rows() != manyRows || f.file.NumRowGroups() != 3 {
		t.Fatalf("%d rows in %d row groups", f.Rows(), f.file.NumRowGroups())
	}
	for _, batch := range []int64{1000, 1 << 15, manyRows} {
		b, err := f.Read(context.Background(), []string{"monotonic_ns", "memory_used_bytes", "throttle_reasons", "gpu_utilization_pct"}, 0, f.Rows(), batch)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			at := b.Row
			r, err := b.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("batches of %d: at row %d: %v", batch, at, err)
			}
			if at != int64(n) || r.NumRows() > batch {
				t.Fatalf("batches of %d: one of %d rows at row %d, which is row %d", batch, r.NumRows(), at, n)
			}
			sameRows(t, r, n)
			n += int(r.NumRows())
		}
		b.Close()
		if n != manyRows {
			t.Errorf("batches of %d: %d rows", batch, n)
		}
	}
}

// sameRows holds a batch against what was written from the row on.
func sameRows(t *testing.T, r arrow.Record, from int) {
	t.Helper()
	of := func(name string) arrow.Array { return r.Column(r.Schema().FieldIndices(name)[0]) }
	ns, used, throttle := of("monotonic_ns").(*array.Int64), of("memory_used_bytes").(*array.Int64), of("throttle_reasons").(*array.Int64)
	percent := of("gpu_utilization_pct").(*array.Int32)
	for i := range int(r.NumRows()) {
		want := sparse(from + i)
		switch {
		case ns.Value(i) != want.StartNS,
			used.IsValid(i) != want.MemoryUsedB.OK || used.IsValid(i) && used.Value(i) != want.MemoryUsedB.V,
			throttle.IsValid(i) != want.Throttle.OK || throttle.IsValid(i) && throttle.Value(i) != want.Throttle.V,
			percent.IsValid(i) != want.GPUUtilPct.OK || percent.IsValid(i) && percent.Value(i) != want.GPUUtilPct.V:
			t.Fatalf("row %d is not what was written: %v", from+i, r.NewSlice(int64(i), int64(i)+1))
		}
	}
}

func TestRowsAreReadFromTheRowGroupsThatHoldThem(t *testing.T) {
	f, err := Open(large(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	second := f.file.MetaData().RowGroup(0).NumRows()
	b, err := f.Read(context.Background(), []string{"monotonic_ns"}, second+10, second+20, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if r, err := b.Next(); err != nil || b.Row != second+100 || r.Column(0).(*array.Int64).Value(0) != second*1e6 {
		t.Errorf("%v, %v, at row %d", r, err, b.Row)
	}
}
