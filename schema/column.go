package schema

import (
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Encoding is how a column's values are laid out in Parquet.
type Encoding int

// The encodings in use. Dictionaries only where few values repeat: on our rows they otherwise double the file.
const (
	Plain Encoding = iota
	Dictionary
	Delta     // DELTA_BINARY_PACKED, for integers and timestamps
	RunLength // strings that stay the same over many rows: run-end encoded in record batches, a dictionary in Parquet
)

// Column is the one place where a column of table rows R is named, typed, described and given its unit.
type Column[R any] struct {
	Name     string
	Type     arrow.DataType
	Nullable bool
	Unit     string // empty for names, identifiers and counts
	Doc      string
	OTel     string // the OpenTelemetry or DCGM name of the same quantity, where there is one
	Encoding Encoding
	Added    bool // after others of this Version, so that older files lack it; one that is Nullable need not say so

	bind func(array.Builder) func([]R) // of any other: ties the column to its builder; the result appends one value per row
}

// Table is a set of columns, in the order in which they are written.
type Table[R any] struct {
	Name    string // its folder in the dataset
	Doc     string // what one row is
	SortKey string // columns that each file is sorted by, comma-separated
	Columns []Column[R]
}

// added marks a column that older files lack.
func added[R any](c Column[R]) Column[R] {
	c.Added = true
	return c
}

// Added are the columns that may not be NULL and that older files of this Version lack.
func (t Table[R]) Added() (names []string) {
	for _, c := range t.Columns {
		if c.Added {
			names = append(names, c.Name)
		}
	}
	return names
}

// Schema is the table's Arrow schema, with units, descriptions and the sort order as metadata.
func (t Table[R]) Schema() *arrow.Schema {
	fields := make([]arrow.Field, len(t.Columns))
	for i, c := range t.Columns {
		md := map[string]string{"description": c.Doc}
		if c.Unit != "" {
			md["unit"] = c.Unit
		}
		if c.OTel != "" {
			md["same_as"] = c.OTel
		}
		fields[i] = arrow.Field{Name: c.Name, Type: c.Type, Nullable: c.Nullable, Metadata: arrow.MetadataFrom(md)}
	}
	md := map[string]string{"tracer.schema_version": Version, "tracer.table": t.Name}
	if t.SortKey != "" {
		md["tracer.sorted_by"] = t.SortKey
	}
	meta := arrow.MetadataFrom(md)
	return arrow.NewSchema(fields, &meta)
}

// Builder turns rows into record batches: one typed builder per column, fed a slice of rows at a time.
type Builder[R any] struct {
	schema   *arrow.Schema
	builders []array.Builder
	append   []func([]R)
	rows     int
}

// NewBuilder makes a builder for the table; Release it when done. Its batches hold RunLength columns run-end encoded.
func (t Table[R]) NewBuilder(mem memory.Allocator) *Builder[R] {
	fields := t.Schema().Fields()
	b := &Builder[R]{builders: make([]array.Builder, len(fields)), append: make([]func([]R), len(fields))}
	for i, c := range t.Columns {
		if c.Encoding == RunLength {
			fields[i].Type = arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, c.Type)
		}
		b.builders[i] = array.NewBuilder(mem, fields[i].Type)
		b.append[i] = c.bind(b.builders[i])
	}
	b.schema = arrow.NewSchema(fields, nil)
	return b
}

// Append adds rows to the batch. Columns are filled one after the other, so thousands of rows at a time are best.
func (b *Builder[R]) Append(rows []R) {
	for _, add := range b.append {
		add(rows)
	}
	b.rows += len(rows)
}

// Reserve makes room for rows more, so that appending them allocates nothing but new runs.
func (b *Builder[R]) Reserve(rows int) {
	for _, builder := range b.builders {
		if _, ok := builder.(*array.RunEndEncodedBuilder); !ok {
			builder.Reserve(rows)
		}
	}
}

// NewRecord closes the batch and begins the next; Release the record when done.
func (b *Builder[R]) NewRecord() arrow.Record {
	arrays := make([]arrow.Array, len(b.builders))
	for i, builder := range b.builders {
		arrays[i] = builder.NewArray()
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
	for _, builder := range b.builders {
		builder.Release()
	}
}

// value is what Arrow builders take in bulk.
type value interface {
	int32 | int64 | float32 | float64 | bool | string | arrow.Timestamp
}

// required binds a column that every row has a value for.
func required[R any, T value](get func(*R) T) func(array.Builder) func([]R) {
	return func(b array.Builder) func([]R) {
		bulk := b.(interface{ AppendValues([]T, []bool) })
		var values []T
		return func(rows []R) {
			values = slices.Grow(values[:0], len(rows))[:len(rows)]
			for i := range rows {
				values[i] = get(&rows[i])
			}
			bulk.AppendValues(values, nil)
		}
	}
}

// optional binds a column that is NULL where the value is absent.
func optional[R any, T value](get func(*R) Opt[T]) func(array.Builder) func([]R) {
	return func(b array.Builder) func([]R) {
		bulk := b.(interface{ AppendValues([]T, []bool) })
		var values []T
		var valid []bool
		return func(rows []R) {
			values = slices.Grow(values[:0], len(rows))[:len(rows)]
			valid = slices.Grow(valid[:0], len(rows))[:len(rows)]
			for i := range rows {
				v := get(&rows[i])
				values[i], valid[i] = v.V, v.OK
			}
			bulk.AppendValues(values, valid)
		}
	}
}

// runs binds a RunLength column. An empty string is NULL.
func runs[R any](get func(*R) string) func(array.Builder) func([]R) {
	return func(b array.Builder) func([]R) {
		ree := b.(*array.RunEndEncodedBuilder)
		values := ree.ValueBuilder().(*array.StringBuilder)
		return func(rows []R) {
			for i := 0; i < len(rows); {
				v, n := get(&rows[i]), 1
				for i+n < len(rows) && get(&rows[i+n]) == v {
					n++
				}
				i += n
				if ree.Append(uint64(n)); v == "" {
					values.AppendNull()
				} else {
					values.Append(v)
				}
			}
		}
	}
}

// stringList binds a list column; an absent list is an empty one.
func stringList[R any](get func(*R) []string) func(array.Builder) func([]R) {
	return func(b array.Builder) func([]R) {
		list := b.(*array.ListBuilder)
		items := list.ValueBuilder().(*array.StringBuilder)
		return func(rows []R) {
			for i := range rows {
				list.Append(true)
				for _, s := range get(&rows[i]) {
					items.Append(s)
				}
			}
		}
	}
}

// named is a name that is NULL where it is empty.
func named(s string) Opt[string] { return Opt[string]{V: s, OK: s != ""} }

// instant is a wall-clock instant in the dataset's resolution.
func instant(ns int64) arrow.Timestamp { return arrow.Timestamp(ns / 1000) }

var (
	typeInt32     = arrow.PrimitiveTypes.Int32
	typeInt64     = arrow.PrimitiveTypes.Int64
	typeFloat32   = arrow.PrimitiveTypes.Float32
	typeFloat64   = arrow.PrimitiveTypes.Float64
	typeString    = arrow.BinaryTypes.String
	typeBool      = arrow.FixedWidthTypes.Boolean
	typeTimestamp = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	typeStrings   = arrow.ListOf(arrow.BinaryTypes.String)
	typeNumbers   = arrow.ListOf(arrow.PrimitiveTypes.Float64)
)
