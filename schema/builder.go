package schema

import (
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Builder turns rows into record batches: one typed builder per column, fed a slice of rows at a time.
type Builder[R any] struct {
	schema  *arrow.Schema
	columns []columnBuilder[R]
	alike   func(a, b *R) bool
	ends    []int
	rows    int
}

// together is how many rows all columns are filled with before the next: they are read once a column, and should stay in the
// processor's cache meanwhile.
const together = 128

// NewBuilder makes a builder for the table; Release it when done. Its batches hold RunLength columns run-end encoded.
func (t Table[R]) NewBuilder(mem memory.Allocator) *Builder[R] {
	fields := t.Schema().Fields()
	b := &Builder[R]{columns: make([]columnBuilder[R], len(fields)), alike: t.alike}
	for i, c := range t.Columns {
		if c.Encoding == RunLength {
			fields[i].Type = arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, c.Type)
		}
		b.columns[i] = c.bind(mem, fields[i].Type)
	}
	b.schema = arrow.NewSchema(fields, nil)
	return b
}

// Append adds rows to the batch, thousands at a time at best.
func (b *Builder[R]) Append(rows []R) {
	b.rows += len(rows)
	for len(rows) > 0 {
		some := rows[:min(together, len(rows))]
		b.stretches(some)
		for _, c := range b.columns {
			c.append(some, b.ends)
		}
		rows = rows[len(some):]
	}
}

// stretches finds the ends of stretches of rows that are alike.
func (b *Builder[R]) stretches(rows []R) {
	b.ends = b.ends[:0]
	for i := 1; i < len(rows); i++ {
		if b.alike == nil || !b.alike(&rows[i-1], &rows[i]) {
			b.ends = append(b.ends, i)
		}
	}
	b.ends = append(b.ends, len(rows))
}

// Reserve makes room for rows more, so that appending them allocates nothing but new runs.
func (b *Builder[R]) Reserve(rows int) {
	for _, c := range b.columns {
		c.Reserve(rows)
	}
}

// NewRecord closes the batch and begins the next; Release the record when done.
func (b *Builder[R]) NewRecord() arrow.Record {
	arrays := make([]arrow.Array, len(b.columns))
	for i, c := range b.columns {
		arrays[i] = c.NewArray()
	}
	record := array.NewRecord(b.schema, arrays, int64(b.rows))
	for _, a := range arrays {
		a.Release() // the record holds its own reference
	}
	b.rows = 0
	return record
}

// Release frees the builders.
func (b *Builder[R]) Release() {
	for _, c := range b.columns {
		c.Release()
	}
}

// built is a column of Arrow's own builder.
type built[R any] struct {
	array.Builder
	add func(rows []R, ends []int)
}

func (b built[R]) append(rows []R, ends []int) { b.add(rows, ends) }

// Reserve leaves runs alone: nobody knows how many there will be.
func (b built[R]) Reserve(rows int) {
	if _, runs := b.Builder.(*array.RunEndEncodedBuilder); !runs {
		b.Builder.Reserve(rows)
	}
}

// byBuilder binds a column by a function that is given its builder, and gives what appends rows to it.
func byBuilder[R any](tie func(array.Builder) func(rows []R, ends []int)) binding[R] {
	return func(mem memory.Allocator, t arrow.DataType) columnBuilder[R] {
		b := array.NewBuilder(mem, t)
		return built[R]{b, tie(b)}
	}
}

// value is what Arrow builders take in bulk.
type value interface {
	int32 | int64 | float32 | float64 | bool | string | arrow.Timestamp
}

// required binds a column that every row has a value for.
func required[R any, T value](get func(*R) T) binding[R] {
	return byBuilder(func(b array.Builder) func([]R, []int) {
		bulk := b.(interface{ AppendValues([]T, []bool) })
		var values []T
		return func(rows []R, _ []int) {
			values = slices.Grow(values[:0], len(rows))[:len(rows)]
			for i := range rows {
				values[i] = get(&rows[i])
			}
			bulk.AppendValues(values, nil)
		}
	})
}

// optional binds a column that is NULL where the value is absent.
func optional[R any, T value](get func(*R) Opt[T]) binding[R] {
	return byBuilder(func(b array.Builder) func([]R, []int) {
		bulk := b.(interface{ AppendValues([]T, []bool) })
		var values []T
		var valid []bool
		return func(rows []R, _ []int) {
			values = slices.Grow(values[:0], len(rows))[:len(rows)]
			valid = slices.Grow(valid[:0], len(rows))[:len(rows)]
			for i := range rows {
				v := get(&rows[i])
				values[i], valid[i] = v.V, v.OK
			}
			bulk.AppendValues(values, valid)
		}
	})
}

// steady binds a column that rows which are alike share, and that is NULL where the value is absent.
func steady[R any, T value](get func(*R) Opt[T]) binding[R] {
	return byBuilder(func(b array.Builder) func([]R, []int) {
		bulk := b.(interface{ AppendValues([]T, []bool) })
		var values []T
		var valid []bool
		return func(rows []R, ends []int) {
			values, valid = values[:0], valid[:0]
			absent := false
			for _, end := range ends {
				v := get(&rows[len(values)])
				absent = absent || !v.OK
				for len(values) < end {
					values, valid = append(values, v.V), append(valid, v.OK)
				}
			}
			if !absent {
				valid = valid[:0] // all are there
			}
			bulk.AppendValues(values, valid)
		}
	})
}

// always is for steady columns that every row has a value for.
func always[R, T any](get func(*R) T) func(*R) Opt[T] {
	return func(r *R) Opt[T] { return Some(get(r)) }
}

// runs binds a RunLength column, which rows that are alike share. An empty string is NULL.
func runs[R any](get func(*R) string) binding[R] {
	return byBuilder(func(b array.Builder) func([]R, []int) {
		ree := b.(*array.RunEndEncodedBuilder)
		values := ree.ValueBuilder().(*array.StringBuilder)
		last := ""
		return func(rows []R, ends []int) {
			from := 0
			for _, end := range ends {
				v, n := get(&rows[from]), uint64(end-from)
				from = end
				if ree.Len() > 0 && v == last {
					ree.ContinueRun(n)
					continue
				}
				if ree.Append(n); v == "" {
					values.AppendNull()
				} else {
					values.Append(v)
				}
				last = v
			}
		}
	})
}

// stringList binds a list column; an absent list is an empty one.
func stringList[R any](get func(*R) []string) binding[R] {
	return byBuilder(func(b array.Builder) func([]R, []int) {
		list := b.(*array.ListBuilder)
		items := list.ValueBuilder().(*array.StringBuilder)
		return func(rows []R, _ []int) {
			for i := range rows {
				list.Append(true)
				for _, s := range get(&rows[i]) {
					items.Append(s)
				}
			}
		}
	})
}
