// Package scan reads Parquet files batch by batch. A file that is damaged ends in an error, never in a panic.
package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// ErrNoColumn is a file from before a column was added.
var ErrNoColumn = errors.New("it has no column")

// File is an open Parquet file.
type File struct {
	Path   string
	Schema *arrow.Schema // with the file's own metadata

	file *file.Reader
	rows *pqarrow.FileReader
}

// Open reads the footer.
func Open(path string) (f *File, err error) {
	from, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = from.Close()
		}
	}()
	defer rescue(&err)
	// Pages are read as they are needed, not a column's whole chunk at once.
	props := parquet.NewReaderProperties(memory.DefaultAllocator)
	props.BufferedStreamEnabled = true
	r, err := file.NewParquetReader(from, file.WithReadProps(props))
	if err != nil {
		return nil, err
	}
	rows, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	s, err := rows.Schema()
	if err != nil {
		return nil, err
	}
	return &File{Path: path, Schema: s, file: r, rows: rows}, nil
}

// rescue turns a panic of the Parquet reader, which is how it meets some damage, into an error.
func rescue(err *error) {
	if r := recover(); r != nil { //nolint:revive // whoever calls it defers it
		*err = fmt.Errorf("%v", r)
	}
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Rows is how many rows the footer says there are.
func (f *File) Rows() int64 { return f.file.NumRows() }

// Meta is the value of a key of the file's metadata, empty where it has none.
func (f *File) Meta(key string) string {
	if v := f.file.MetaData().KeyValueMetadata().FindValue(key); v != nil {
		return *v
	}
	return ""
}

// Batches are a file's rows.
type Batches struct {
	Row int64 // of the file, that the next batch begins with

	left int64
	from pqarrow.RecordReader
}

// Read gives the named columns, all where there are none named, of rows from up to but not including to, and those around
// them that stand in the same row groups.
func (f *File) Read(ctx context.Context, columns []string, from, to, batch int64) (b *Batches, err error) {
	defer rescue(&err)
	meta := f.file.MetaData()
	var leaves []int
	wanted := map[string]bool{}
	for _, name := range columns {
		if len(f.Schema.FieldIndices(name)) == 0 {
			return nil, fmt.Errorf("%w %s", ErrNoColumn, name)
		}
		wanted[name] = true
	}
	for i := range meta.Schema.NumColumns() {
		if len(columns) == 0 || wanted[meta.Schema.ColumnRoot(i).Name()] {
			leaves = append(leaves, i)
		}
	}
	b = &Batches{}
	groups := []int{}
	row := int64(0)
	for i := range f.file.NumRowGroups() {
		n := meta.RowGroup(i).NumRows()
		if row+n <= from {
			b.Row = row + n
		} else if row < to {
			groups = append(groups, i)
			b.left += n
		}
		row += n
	}
	f.rows.Props.BatchSize = max(1, min(batch, b.left))
	b.from, err = f.rows.GetRecordReader(ctx, leaves, groups)
	return b, err
}

// Next gives the next batch, or io.EOF. It is good until the one after.
func (b *Batches) Next() (record arrow.Record, err error) {
	defer rescue(&err)
	if !b.from.Next() {
		if err := b.from.Err(); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if b.left != 0 {
			return nil, fmt.Errorf("%d rows are missing: %w", b.left, io.ErrUnexpectedEOF)
		}
		return nil, io.EOF
	}
	record = b.from.Record()
	b.Row, b.left = b.Row+record.NumRows(), b.left-record.NumRows()
	return record, nil
}

// Close lets the rows go.
func (b *Batches) Close() { b.from.Release() }
