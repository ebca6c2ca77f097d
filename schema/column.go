package schema

import (
	"encoding/base64"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Encoding is how a column's values are laid out in Parquet.
type Encoding int

// The encodings in use. Dictionaries only where few values repeat: on our rows they otherwise double the file.
const (
	Plain Encoding = iota
	Dictionary
	Delta    // DELTA_BINARY_PACKED, for integers and timestamps
	Constant // one string in all rows of a file: a dictionary of one
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

	constant func(*R) string               // of a Constant column
	bind     func(array.Builder) func([]R) // of any other: ties the column to its builder; the result appends one value per row
}

// Table is a set of columns, in the order in which they are written.
type Table[R any] struct {
	Name    string // its folder in the dataset
	Doc     string // what one row is
	SortKey string // columns that each file is sorted by, comma-separated
	Columns []Column[R]
}

// WriteSchema is Schema as the Parquet writer takes it: constant columns are dictionaries there, and nullable, because
// v17 counts a negative number of NULLs in a dictionary column that is not. Neither shows in the file's own schema, which
// is stored beside the rows as ARROW:schema.
func (t Table[R]) WriteSchema() *arrow.Schema {
	logical := t.Schema()
	fields := logical.Fields()
	for i, c := range t.Columns {
		if c.Encoding == Constant {
			fields[i].Type, fields[i].Nullable = typeConstant, true
		}
	}
	meta := logical.Metadata().ToMap()
	meta["ARROW:schema"] = base64.StdEncoding.EncodeToString(flight.SerializeSchema(logical, memory.DefaultAllocator))
	md := arrow.MetadataFrom(meta)
	return arrow.NewSchema(fields, &md)
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
	schema  *arrow.Schema
	columns []columnBuilder[R]
	rows    int
}

type columnBuilder[R any] struct {
	builder  array.Builder // nil for a constant column
	constant *constant[R]
	append   func([]R)
}

// NewBuilder makes a builder for the table; Release it when done.
func (t Table[R]) NewBuilder(mem memory.Allocator) *Builder[R] {
	b := &Builder[R]{schema: t.WriteSchema(), columns: make([]columnBuilder[R], len(t.Columns))}
	for i, c := range t.Columns {
		if c.Encoding == Constant {
			k := &constant[R]{get: c.constant}
			b.columns[i] = columnBuilder[R]{constant: k, append: k.append}
			continue
		}
		typed := array.NewBuilder(mem, c.Type)
		b.columns[i] = columnBuilder[R]{builder: typed, append: c.bind(typed)}
	}
	return b
}

// Append adds rows to the batch. Columns are filled one after the other, so thousands of rows at a time are best.
func (b *Builder[R]) Append(rows []R) {
	for i := range b.columns {
		b.columns[i].append(rows)
	}
	b.rows += len(rows)
}

// Reserve makes room for rows more, so that appending them allocates nothing.
func (b *Builder[R]) Reserve(rows int) {
	for _, c := range b.columns {
		if c.builder != nil {
			c.builder.Reserve(rows)
		}
	}
}

// NewRecord closes the batch and begins the next; Release the record when done.
func (b *Builder[R]) NewRecord() arrow.Record {
	arrays := make([]arrow.Array, len(b.columns))
	for i, c := range b.columns {
		if c.builder == nil {
			arrays[i] = c.constant.array(b.rows)
		} else {
			arrays[i] = c.builder.NewArray()
		}
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
		if c.builder != nil {
			c.builder.Release()
		}
	}
}

// typeConstant is how a constant column reaches the Parquet writer: one dictionary that never changes, and zeros. In this
// one case arrow/go/v17 takes a dictionary without hashing every value.
var typeConstant = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}

// constant is a column that has one value in all rows of a file.
type constant[R any] struct {
	get  func(*R) string
	dict arrow.Array
	zero arrow.Array // indices, for the largest batch so far
}

func (c *constant[R]) append(rows []R) {
	if c.dict != nil || len(rows) == 0 {
		return
	}
	b := array.NewStringBuilder(memory.DefaultAllocator)
	b.Append(c.get(&rows[0]))
	c.dict = b.NewArray()
}

func (c *constant[R]) array(rows int) arrow.Array {
	if c.zero == nil || c.zero.Len() < rows {
		b := array.NewInt32Builder(memory.DefaultAllocator)
		b.AppendValues(make([]int32, rows), nil)
		c.zero = b.NewArray()
	}
	indices := array.NewSlice(c.zero, 0, int64(rows))
	defer indices.Release()
	return array.NewDictionaryArray(typeConstant, indices, c.dict)
}

// column gives types that Arrow builders take in bulk.
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

// strings binds a list column; an absent list is an empty one.
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
)
