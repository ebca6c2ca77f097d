package compact

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// output writes the merged rows of one folder.
type output[R any] struct {
	*compaction
	swap    *store.Swap
	table   schema.Table[R]
	layout  *arrow.Schema
	part    *store.Part[R]
	runs    map[string]int64 // rows in the part
	pending []arrow.Record
	rows    int // in pending
	made    []store.Merged
	left    int64 // rows that were left out
}

func rewrite[R any](ctx context.Context, c *compaction, swap *store.Swap, t schema.Table[R]) ([]store.Merged, error) {
	o := &output[R]{compaction: c, swap: swap, table: t, layout: t.Schema()}
	m, err := openMerge(ctx, c.root, c.files, o.layout)
	if err != nil {
		return nil, err
	}
	defer m.close()
	for m.more() && ctx.Err() == nil {
		some, err := m.next(ctx)
		if err != nil {
			return nil, err
		}
		if err := o.add(some); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := o.flush(1); err != nil {
		return nil, err
	}
	if err := o.finish(); err != nil {
		return nil, err
	}
	total := o.left
	for _, f := range o.made {
		total += f.Rows
	}
	if total != c.Rows {
		return nil, fmt.Errorf("%d rows were read of %d", total, c.Rows)
	}
	return o.made, nil
}

// add takes rows in their order, run by run.
func (o *output[R]) add(r arrow.Record) error {
	run, host := r.Column(r.Schema().FieldIndices("run_id")[0]).(*array.String), r.Column(r.Schema().FieldIndices("host")[0]).(*array.String)
	n := int(r.NumRows())
	for from := 0; from < n; {
		to := from + 1
		for to < n && run.Value(to) == run.Value(from) && host.Value(to) == host.Value(from) {
			to++
		}
		if err := o.addOf(store.RunName(run.Value(from), host.Value(from)), r, from, to); err != nil {
			return err
		}
		from = to
	}
	return nil
}

func (o *output[R]) addOf(name string, r arrow.Record, from, to int) error {
	if o.leavesOut(name) {
		o.left += int64(to - from)
		return nil
	}
	for from < to { // a part is closed between batches, so that its rows by run are known
		n := min(to-from, store.BatchRows-o.rows)
		if o.part == nil {
			part, err := store.CreatePart(o.table, memory.DefaultAllocator, o.swap.Tmp(), o.swap.Name(o.Path, len(o.made)))
			if err != nil {
				return err
			}
			o.part, o.runs = part, map[string]int64{}
		}
		o.pending, o.rows = append(o.pending, r.NewSlice(int64(from), int64(from+n))), o.rows+n
		o.runs[name] += int64(n)
		from += n
		if err := o.flush(store.BatchRows); err != nil {
			return err
		}
	}
	return nil
}

// flush encodes what is pending, if it is as much as that.
func (o *output[R]) flush(atLeast int) error {
	if o.rows < atLeast {
		return nil
	}
	columns := make([]arrow.Array, o.layout.NumFields())
	for i := range columns {
		var pieces []arrow.Array
		for _, r := range o.pending {
			pieces = append(pieces, r.Column(i))
		}
		joined, err := array.Concatenate(pieces, memory.DefaultAllocator)
		if err != nil {
			return fmt.Errorf("column %s: %w", o.layout.Field(i).Name, err)
		}
		if o.table.Columns[i].Encoding == schema.RunLength {
			joined = inRuns(joined.(*array.String))
		}
		columns[i] = joined
	}
	for _, r := range o.pending {
		r.Release()
	}
	rows := o.rows
	o.pending, o.rows = o.pending[:0], 0
	if err := o.part.AddBatch(array.NewRecord(arrow.NewSchema(fieldsOf(o.layout, columns), nil), columns, int64(rows))); err != nil {
		return err
	}
	if !o.part.Full() {
		return nil
	}
	return o.finish()
}

func fieldsOf(layout *arrow.Schema, columns []arrow.Array) []arrow.Field {
	fields := layout.Fields()
	for i := range fields {
		fields[i].Type = columns[i].DataType()
	}
	return fields
}

// inRuns has strings that repeat stand there once, as the writer's short way takes them.
func inRuns(a *array.String) arrow.Array {
	b := array.NewRunEndEncodedBuilder(memory.DefaultAllocator, arrow.PrimitiveTypes.Int32, arrow.BinaryTypes.String)
	defer b.Release()
	values := b.ValueBuilder().(*array.StringBuilder)
	for i := 0; i < a.Len(); {
		n := 1
		for i+n < a.Len() && a.IsNull(i+n) == a.IsNull(i) && a.Value(i+n) == a.Value(i) {
			n++
		}
		if b.Append(uint64(n)); a.IsNull(i) {
			values.AppendNull()
		} else {
			values.Append(a.Value(i))
		}
		i += n
	}
	return b.NewArray()
}

func (o *output[R]) finish() error {
	if o.part == nil {
		return nil
	}
	f, err := o.part.Finish()
	if err != nil {
		return err
	}
	o.made, o.part = append(o.made, store.Merged{File: f, Runs: o.runs}), nil
	return nil
}
