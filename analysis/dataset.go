// Package analysis opens a dataset and says what is in it. It reads the files that were published, never what a run still
// holds in memory: a summary printed after a run is also a check that the run can be read back.
package analysis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/llm-tracer/tracer/analysis/scan"
	"github.com/llm-tracer/tracer/pipeline/store"
)

// Dataset is a folder that tracer wrote.
type Dataset struct {
	Dir string
}

// Files lists a table's published files that may hold rows of one run: others' rows may stand there too.
func (d Dataset) Files(table, runID string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(filepath.Join(d.Dir, table), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ok, _ := filepath.Match(runID+"-*.parquet", e.Name()); (ok || store.IsMerged(e.Name())) && !e.IsDir() {
			files = append(files, path)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", table, err)
	}
	return files, nil
}

// again reads once more where a file is gone that was listed before: a compaction has put another in its place.
func again[T any](read func() (T, error)) (T, error) {
	got, err := read()
	if errors.Is(err, fs.ErrNotExist) {
		got, err = read()
	}
	return got, err
}

// scanRows is how many rows of a file are looked at together.
const scanRows = 1 << 16

// eachBatch reads the named columns of one file, batch by batch; each gets the columns in the order of their names.
func eachBatch(path string, columns []string, each func([]arrow.Array) error) error {
	f, err := scan.Open(path)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // read only
	batches, err := f.Read(context.Background(), columns, 0, f.Rows(), scanRows)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	defer batches.Close()
	for {
		record, err := batches.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		arrays := make([]arrow.Array, len(columns))
		for i, name := range columns {
			arrays[i] = record.Column(record.Schema().FieldIndices(name)[0])
		}
		if err := each(arrays); err != nil {
			return err
		}
	}
}

// text is the string at a row, empty where it is NULL; readers give strings or dictionaries of them.
func text(a arrow.Array, i int) string {
	if a.IsNull(i) {
		return ""
	}
	switch a := a.(type) {
	case *array.String:
		return a.Value(i)
	case *array.Dictionary:
		return a.Dictionary().(*array.String).Value(a.GetValueIndex(i))
	default:
		return ""
	}
}
