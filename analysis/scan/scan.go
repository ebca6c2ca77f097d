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

// Batches are a file's rows. Underneath, a row group is read at once and then cut: between two reads within a page, v17's
// decoder of int64 deltas forgets what it had unpacked of a column with NULLs, and panics.
type Batches struct {
	Row int64 // of the file, that the next batch begins with

	ctx    context.Context //nolint:containedctx // of Read, for the row groups that are opened later
	file   *File
	leaves []int
	groups []int // still to be read
	batch  int64
	left   int64 // rows
	group  arrow.Record
	at     int64 // in the group
	last   arrow.Record
}

// Read gives the named columns, all where there are none named, of rows from up to but not including to, and those around
// them that stand in the same row groups.
func (f *File) Read(ctx context.Context, columns []string, from, to, batch int64) (b *Batches, err error) {
	defer rescue(&err)
	meta := f.file.MetaData()
	wanted := map[string]bool{}
	for _, name := range columns {
		if len(f.Schema.FieldIndices(name)) == 0 {
			return nil, fmt.Errorf("%w %s", ErrNoColumn, name)
		}
		wanted[name] = true
	}
	b = &Batches{ctx: ctx, file: f, batch: max(1, batch)}
	for i := range meta.Schema.NumColumns() {
		if len(columns) == 0 || wanted[meta.Schema.ColumnRoot(i).Name()] {
			b.leaves = append(b.leaves, i)
		}
	}
	row := int64(0)
	for i := range f.file.NumRowGroups() {
		n := meta.RowGroup(i).NumRows()
		if row+n <= from {
			b.Row = row + n
		} else if row < to {
			b.groups = append(b.groups, i)
			b.left += n
		}
		row += n
	}
	return b, nil
}

// Next gives the next batch, or io.EOF. It is good until the one after. None spans two row groups.
func (b *Batches) Next() (record arrow.Record, err error) {
	defer rescue(&err)
	b.release(&b.last)
	for b.group == nil || b.at == b.group.NumRows() {
		if len(b.groups) == 0 {
			return nil, b.end()
		}
		if err := b.nextGroup(); err != nil {
			return nil, err
		}
	}
	to := min(b.at+b.batch, b.group.NumRows())
	b.last = b.group.NewSlice(b.at, to)
	b.Row, b.left, b.at = b.Row+to-b.at, b.left-(to-b.at), to
	return b.last, nil
}

func (b *Batches) end() error {
	if b.left != 0 {
		return fmt.Errorf("%d rows are missing: %w", b.left, io.ErrUnexpectedEOF)
	}
	return io.EOF
}

// nextGroup reads a row group; there is none in group where it has no rows.
func (b *Batches) nextGroup() error {
	b.release(&b.group)
	group := b.groups[0]
	b.groups, b.at = b.groups[1:], 0
	rows := b.file.rows
	rows.Props.BatchSize = max(1, b.file.file.MetaData().RowGroup(group).NumRows())
	from, err := rows.GetRecordReader(b.ctx, b.leaves, []int{group})
	if err != nil {
		return err
	}
	defer from.Release()
	if from.Next() {
		b.group = from.Record()
		b.group.Retain()
	}
	if err := from.Err(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (*Batches) release(r *arrow.Record) {
	if *r != nil {
		(*r).Release()
	}
	*r = nil
}

// Close lets the rows go.
func (b *Batches) Close() {
	b.release(&b.last)
	b.release(&b.group)
}
