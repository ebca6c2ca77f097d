package scan

import (
	"cmp"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// Order are the columns that a table's files are sorted by.
type Order []string

// OrderOf reads the order from a table's schema.
func OrderOf(table *arrow.Schema) Order {
	key, _ := table.Metadata().GetValue("tracer.sorted_by")
	return strings.Split(key, ",")
}

// Keys are the values of an order's columns.
type Keys []arrow.Array

// Of gives the keys of a batch; nil where it lacks one of the columns.
func (o Order) Of(r arrow.Record) (keys Keys) {
	for _, name := range o {
		at := r.Schema().FieldIndices(name)
		if len(at) == 0 {
			return nil
		}
		keys = append(keys, r.Column(at[0]))
	}
	return keys
}

// Row is the key of one row, which outlasts its batch.
func (k Keys) Row(i int) (one Keys) {
	for _, a := range k {
		one = append(one, array.NewSlice(a, int64(i), int64(i)+1))
	}
	return one
}

// Compare compares a row with another's. The columns of an order are never NULL.
func (k Keys) Compare(i int, with Keys, j int) (d int) {
	for c, a := range k {
		switch a := a.(type) {
		case *array.String:
			d = strings.Compare(a.Value(i), with[c].(*array.String).Value(j))
		case *array.Timestamp:
			d = cmp.Compare(a.Value(i), with[c].(*array.Timestamp).Value(j))
		case *array.Int32:
			d = cmp.Compare(a.Value(i), with[c].(*array.Int32).Value(j))
		}
		if d != 0 {
			return d
		}
	}
	return 0
}

// Unsorted is the first row that comes before the one before it, which for the first is the row last; −1 where none does.
func (k Keys) Unsorted(last Keys) int {
	if len(k) == 0 || k[0].Len() == 0 {
		return -1
	}
	if last != nil && last.Compare(0, k, 0) > 0 {
		return 0
	}
	for i := 1; i < k[0].Len(); i++ {
		if k.Compare(i-1, k, i) > 0 {
			return i
		}
	}
	return -1
}
