package schema

import (
	"github.com/apache/arrow/go/v17/arrow"
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

	bind binding[R]
}

// binding ties a column to what builds its arrays.
type binding[R any] func(memory.Allocator, arrow.DataType) columnBuilder[R]

// columnBuilder builds the arrays of one column.
type columnBuilder[R any] interface {
	Reserve(rows int)
	NewArray() arrow.Array
	Release()
	append(rows []R, ends []int) // one value per row; ends are those of stretches of rows that are alike, see Table.alike
}

// Table is a set of columns, in the order in which they are written.
type Table[R any] struct {
	Name    string // its folder in the dataset
	Doc     string // what one row is
	SortKey string // columns that each file is sorted by, comma-separated
	Columns []Column[R]

	alike func(a, b *R) bool // rows that steady and RunLength columns need not tell apart; nil where there are few rows
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
