package store

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/schema"
)

// writeRows puts batches of rows through a builder and the writer.
func writeRows[R any](t require, table schema.Table[R], mem memory.Allocator, rows []R) []byte {
	var out bytes.Buffer
	w, err := newParquetWriter(&out, table, mem)
	if err != nil {
		t.Fatalf("%v", err)
	}
	b := table.NewBuilder(mem)
	defer b.Release()
	for len(rows) > 0 {
		n := min(BatchRows, len(rows))
		b.Append(rows[:n])
		rows = rows[n:]
		record := b.NewRecord()
		if err := w.write(record); err != nil {
			t.Fatalf("%v", err)
		}
		record.Release()
	}
	if err := w.close(); err != nil {
		t.Fatalf("%v", err)
	}
	return out.Bytes()
}

func testBoards() (boards []schema.Board) {
	for i := range 4 {
		boards = append(boards, schema.Board{Index: int32(i), UUID: fmt.Sprintf("GPU-%08x-test", i), Name: "sim-H100-SXM"})
	}
	return boards
}

type require interface{ Fatalf(string, ...any) }

// plain is a table's columns through Arrow's own builders and no file: what readers must get back.
func plain[R any](table schema.Table[R], rows []R) map[string][]any {
	b := table.NewBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.Append(rows)
	record := b.NewRecord()
	defer record.Release()
	all := map[string][]any{}
	for i, a := range record.Columns() {
		all[record.ColumnName(i)] = values(a)
	}
	return all
}

func values(a arrow.Array) []any {
	all := make([]any, a.Len())
	runs, isRuns := a.(*array.RunEndEncoded)
	for i := range all {
		if isRuns {
			at := runs.GetPhysicalIndex(i)
			if runs.Values().IsValid(at) {
				all[i] = runs.Values().(*array.String).Value(at)
			}
			continue
		}
		if a.IsValid(i) {
			all[i] = a.GetOneForMarshal(i)
		}
		if l, ok := a.(*array.List); ok {
			from, to := l.ValueOffsets(i)
			items := []string{}
			for k := from; k < to; k++ {
				items = append(items, l.ListValues().(*array.String).Value(int(k)))
			}
			all[i] = fmt.Sprint(items)
		}
	}
	return all
}

func readBack(t require, parquet []byte) (columns map[string][]any, groups []int64) {
	r, err := file.NewParquetReader(bytes.NewReader(parquet))
	if err != nil {
		t.Fatalf("%v", err)
	}
	for i := range r.NumRowGroups() {
		groups = append(groups, r.MetaData().RowGroup(i).NumRows())
	}
	table, err := pqarrow.ReadTable(context.Background(), bytes.NewReader(parquet), nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatalf("%v", err)
	}
	columns = map[string][]any{}
	for i := range int(table.NumCols()) {
		name := table.Column(i).Name()
		for _, chunk := range table.Column(i).Data().Chunks() {
			columns[name] = append(columns[name], values(chunk)...)
		}
	}
	return columns, groups
}

func compare(t require, got, want map[string][]any) {
	for name, column := range want {
		if len(got[name]) != len(column) {
			t.Fatalf("%s: %d rows, want %d", name, len(got[name]), len(column))
		}
		for i := range column {
			if !reflect.DeepEqual(got[name][i], column[i]) {
				t.Fatalf("%s, row %d: %v, want %v", name, i, got[name][i], column[i])
			}
		}
	}
}

func drawOpt[T any](t *rapid.T, name string, g *rapid.Generator[T]) schema.Opt[T] {
	if rapid.Bool().Draw(t, name+" absent") {
		return schema.Opt[T]{}
	}
	return schema.Some(g.Draw(t, name))
}

func TestSamplesComeBackAsTheyWere(t *testing.T) {
	run := &schema.Run{ID: "r", Host: "h", Model: "m"}
	boards := testBoards()
	var mem Recycler // one for all cases, as one serves all parts of a run
	rapid.Check(t, func(t *rapid.T) {
		finite := rapid.Float64Range(-1e9, 1e9)
		var rows []schema.Sample
		for range rapid.IntRange(1, 6).Draw(t, "runs of rows") {
			s := schema.Sample{
				Run: run, Board: &boards[rapid.IntRange(0, len(boards)-1).Draw(t, "board")],
				Stage:    rapid.SampledFrom([]schema.Stage{schema.StagePrefill, schema.StageDecode, schema.StageIdle}).Draw(t, "stage"),
				Workload: rapid.SampledFrom([]schema.Workload{"", schema.WorkloadPrefill}).Draw(t, "workload"),
			}
			if rapid.Bool().Draw(t, "in a request") {
				s.Span = &schema.Span{RequestID: rapid.StringMatching(`r-[0-9]{1,2}`).Draw(t, "request"), Prompt: &schema.Prompt{ID: "p"}, InputTokens: drawOpt(t, "input", rapid.Int32())}
			}
			s.StartNS = rapid.Int64Range(0, math.MaxInt32).Draw(t, "start")
			s.EndNS = s.StartNS + rapid.Int64Range(0, 1e9).Draw(t, "took")
			s.PowerInstantW = drawOpt(t, "power", rapid.Float32Range(0, 1000))
			s.PowerIsNew = drawOpt(t, "new", rapid.Bool())
			s.EnergyTotalJ = drawOpt(t, "energy", finite)
			s.GPUUtilPct = drawOpt(t, "util", rapid.Int32Range(0, 100))
			s.MemoryUsedB = drawOpt(t, "memory", rapid.Int64())
			for range rapid.IntRange(1, 5000).Draw(t, "rows") {
				rows = append(rows, s)
			}
		}
		got, _ := readBack(t, writeRows(t, schema.Samples, &mem, rows))
		compare(t, got, plain(schema.Samples, rows))
	})
}

// Every row is a request of its own: the dictionaries outgrow their page and the writer goes on without.
func TestDictionariesThatOutgrowTheirPageAreLeft(t *testing.T) {
	run, board := &schema.Run{ID: "r", Host: "h", Model: "m"}, &testBoards()[0]
	rows := make([]schema.Sample, 2*rowGroupRows+5000)
	for i := range rows {
		id := fmt.Sprintf("a-rather-long-request-id-that-fills-the-dictionary-%09d", i/2)
		rows[i] = schema.Sample{Run: run, Board: board, Stage: schema.StagePrefill, Span: &schema.Span{RequestID: id, Prompt: &schema.Prompt{ID: "p"}}}
		rows[i].StartNS = int64(i)
		if i%7 == 0 {
			rows[i].Span = nil
		}
	}
	var mem Recycler
	got, groups := readBack(t, writeRows(t, schema.Samples, &mem, rows))
	compare(t, got, plain(schema.Samples, rows))
	if want := []int64{rowGroupRows, rowGroupRows, 5000}; !reflect.DeepEqual(groups, want) {
		t.Errorf("row groups %v, want %v", groups, want)
	}
}

func TestRequestsComeBackAsTheyWere(t *testing.T) {
	run := &schema.Run{ID: "r", Host: "h", Model: "m"}
	rows := []schema.Request{
		{Run: run, GPUName: "g", GPUUUIDs: []string{"a", "b"}, Span: schema.Span{RequestID: "1", Prompt: &schema.Prompt{ID: "p"}, Invalid: []string{"overlap"}, StartNS: 5, EndNS: 9}},
		{Run: run, GPUName: "g", GPUUUIDs: []string{"a"}, Span: schema.Span{RequestID: "2", Prompt: &schema.Prompt{ID: "p"}, InputTokens: schema.Some(int32(0)), StartNS: 5, EndNS: 9}},
		{Run: run, GPUName: "g", Span: schema.Span{RequestID: "3", Prompt: &schema.Prompt{ID: "p"}, Invalid: []string{"a", "b", "c"}, HTTPStatus: schema.Some(int32(200)), StartNS: 5, EndNS: 9}},
	}
	got, _ := readBack(t, writeRows(t, schema.Requests, memory.DefaultAllocator, rows))
	compare(t, got, plain(schema.Requests, rows))
	if got["invalid_reasons"][2] != "[a b c]" || got["valid"][1] != true || got["http_status"][1] != nil || got["input_tokens"][1] != int32(0) {
		t.Errorf("read back %v", got)
	}
}

// Row-group statistics let readers skip files: they must be those of the rows, NULLs counted.
func TestStatisticsOfRunsAreTrue(t *testing.T) {
	run, boards := &schema.Run{ID: "r", Host: "h", Model: "m"}, testBoards()
	var rows []schema.Sample
	for i := range 3 * BatchRows {
		s := schema.Sample{Run: run, Board: &boards[1], Stage: schema.StageDecode}
		if i/100%3 > 0 {
			s.Span = &schema.Span{RequestID: fmt.Sprintf("r-%03d", i/100), Prompt: &schema.Prompt{ID: "p"}}
		}
		rows = append(rows, s)
	}
	var mem Recycler
	r, err := file.NewParquetReader(bytes.NewReader(writeRows(t, schema.Samples, &mem, rows)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][4]any{ // least, greatest, NULLs, values
		"request_id": {"r-001", "r-122", int64(4100), int64(8188)},
		"gpu_uuid":   {boards[1].UUID, boards[1].UUID, int64(0), int64(12288)},
		"workload":   {"", "", int64(12288), int64(0)},
	} {
		chunk, err := r.MetaData().RowGroup(0).ColumnChunk(r.MetaData().Schema.ColumnIndexByName(name))
		if err != nil {
			t.Fatal(err)
		}
		s, err := chunk.Statistics()
		if err != nil {
			t.Fatal(err)
		}
		if got := [4]any{string(s.EncodeMin()), string(s.EncodeMax()), s.NullCount(), s.NumValues()}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
