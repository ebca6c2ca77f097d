package main

import (
	"os"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/llm-tracer/tracer/analysis"
)

// files are a run's files of a table.
func files(t *testing.T, dir, table, run string) []string {
	t.Helper()
	files, err := analysis.Dataset{Dir: dir}.Files(table, run)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s of run %s: %v, %v", table, run, files, err)
	}
	return files
}

// table is every row of a Parquet file, by column; NULL is nil.
func table(t *testing.T, path string) []map[string]any {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := pqarrow.ReadTable(t.Context(), f, nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Release()
	rows := make([]map[string]any, all.NumRows())
	for i := range rows {
		rows[i] = map[string]any{}
	}
	for c := range int(all.NumCols()) {
		row := 0
		for _, chunk := range all.Column(c).Data().Chunks() {
			for i := range chunk.Len() {
				rows[row][all.Column(c).Name()] = chunk.GetOneForMarshal(i)
				row++
			}
		}
	}
	return rows
}
