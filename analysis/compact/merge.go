package compact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sort"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/llm-tracer/tracer/analysis/scan"
	"github.com/llm-tracer/tracer/pipeline/store"
)

// readRows is how many rows of an input are held at a time.
const readRows = 1 << 14

// input is one file being merged.
type input struct {
	path    string
	first   scan.Keys // of its first row
	parquet *scan.File
	batches *scan.Batches
	batch   arrow.Record // in the table's layout
	keys    scan.Keys
	at      int // in the batch
}

// merge gives the rows of sorted files in one order. Files are opened when their first row's turn comes: those of runs one
// after the other are read one after the other.
type merge struct {
	order  scan.Order
	layout *arrow.Schema
	closed []*input // not yet opened, by first row
	open   []*input
}

func openMerge(ctx context.Context, root string, files []store.File, layout *arrow.Schema) (*merge, error) {
	m := &merge{order: scan.OrderOf(layout), layout: layout}
	for _, f := range files {
		in := &input{path: filepath.Join(root, f.Path)}
		if err := in.open(ctx, m, m.order, 1); err != nil {
			return nil, err
		}
		first := in.keys
		if in.batch != nil {
			in.first = first.Row(0)
		}
		in.close()
		if in.first != nil { // a file without rows has nothing to give
			m.closed = append(m.closed, in)
		}
	}
	slices.SortStableFunc(m.closed, func(a, b *input) int { return a.first.Compare(0, b.first, 0) })
	return m, nil
}

// open goes to the first batch of the named columns, all where there are none named.
func (in *input) open(ctx context.Context, m *merge, columns []string, rows int64) (err error) {
	if in.parquet, err = scan.Open(in.path); err != nil {
		return fmt.Errorf("reading %s: %w", in.path, err)
	}
	for _, have := range in.parquet.Schema.Fields() {
		if len(m.layout.FieldIndices(have.Name)) == 0 {
			in.close()
			return fmt.Errorf("%s has column %s, which this tracer does not know: compact with the newer one that wrote it", in.path, have.Name)
		}
	}
	if in.batches, err = in.parquet.Read(ctx, columns, 0, in.parquet.Rows(), rows); err != nil {
		in.close()
		return fmt.Errorf("reading %s: %w", in.path, err)
	}
	return in.turn(m)
}

// turn goes to the next batch; there is none when it leaves batch nil.
func (in *input) turn(m *merge) error {
	if in.batch != nil {
		in.batch.Release()
	}
	in.batch, in.at = nil, 0
	r, err := in.batches.Next()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", in.path, err)
	}
	in.batch = laidOut(r, m.layout)
	in.keys = m.order.Of(in.batch)
	return nil
}

// laidOut gives a batch the table's columns, in their order; those that an older file lacks are NULL.
func laidOut(r arrow.Record, layout *arrow.Schema) arrow.Record {
	columns := make([]arrow.Array, layout.NumFields())
	for i, f := range layout.Fields() {
		if at := r.Schema().FieldIndices(f.Name); len(at) > 0 {
			columns[i] = r.Column(at[0])
		} else {
			columns[i] = array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, int(r.NumRows()))
		}
	}
	return array.NewRecord(arrow.NewSchema(fieldsOf(layout, columns), nil), columns, r.NumRows())
}

func (in *input) close() {
	if in.batches != nil {
		in.batches.Close()
		in.batches = nil
	}
	if in.parquet != nil {
		_ = in.parquet.Close() // read only
		in.parquet = nil
	}
}

func (m *merge) more() bool { return len(m.closed) > 0 || len(m.open) > 0 }

// next gives the rows from the least on that come before those of all other files.
func (m *merge) next(ctx context.Context) (arrow.Record, error) {
	least := m.least()
	for len(m.closed) > 0 && (least == nil || m.closed[0].first.Compare(0, least.keys, least.at) < 0) {
		in := m.closed[0]
		m.closed = m.closed[1:]
		if err := in.open(ctx, m, nil, readRows); err != nil {
			return nil, err
		}
		m.open = append(m.open, in)
		least = m.least()
	}
	n := int(least.batch.NumRows())
	before := func(other scan.Keys, at int) { // rows that do not come after another file's
		n = least.at + sort.Search(n-least.at, func(i int) bool { return least.keys.Compare(least.at+i, other, at) > 0 })
	}
	for _, in := range m.open {
		if in != least {
			before(in.keys, in.at)
		}
	}
	if len(m.closed) > 0 {
		before(m.closed[0].first, 0)
	}
	some := least.batch.NewSlice(int64(least.at), int64(n))
	if least.at = n; n < int(least.batch.NumRows()) {
		return some, nil
	}
	if err := least.turn(m); err != nil {
		return nil, err
	}
	if least.batch == nil {
		least.close()
		m.open = slices.DeleteFunc(m.open, func(in *input) bool { return in == least })
	}
	return some, nil
}

// least is the open file whose next row comes first.
func (m *merge) least() (least *input) {
	for _, in := range m.open {
		if least == nil || in.keys.Compare(in.at, least.keys, least.at) < 0 {
			least = in
		}
	}
	return least
}

func (m *merge) close() {
	for _, in := range m.open {
		in.close()
	}
}
