package verify

import (
	"cmp"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// order follows whether rows come in a table's order.
type order struct {
	key     string
	columns []string
	last    []any // the key of the last row
}

func newOrder(table *arrow.Schema) *order {
	key, _ := table.Metadata().GetValue("tracer.sorted_by")
	return &order{key: key, columns: strings.Split(key, ",")}
}

// broken gives the first row of a batch that comes after its place, or −1.
func (o *order) broken(r arrow.Record) int64 {
	columns := make([]arrow.Array, len(o.columns))
	for i, name := range o.columns {
		columns[i] = column[arrow.Array](r, name)
	}
	n := int(r.NumRows())
	if n == 0 {
		return -1
	}
	at := -1
	for i := 1; i < n && at < 0; i++ {
		if compareRows(columns, i-1, i) > 0 {
			at = i
		}
	}
	if at < 0 && o.last != nil && compareKeys(o.last, keyOf(columns, 0)) > 0 {
		at = 0
	}
	o.last = keyOf(columns, n-1)
	return int64(at)
}

// compareRows compares two rows of one batch by the key's columns.
func compareRows(columns []arrow.Array, i, k int) int {
	for _, c := range columns {
		var d int
		switch c := c.(type) {
		case *array.String:
			d = strings.Compare(c.Value(i), c.Value(k))
		case *array.Timestamp:
			d = cmp.Compare(c.Value(i), c.Value(k))
		case *array.Int32:
			d = cmp.Compare(c.Value(i), c.Value(k))
		}
		if d != 0 {
			return d
		}
	}
	return 0
}

func keyOf(columns []arrow.Array, i int) (key []any) {
	for _, c := range columns {
		switch c := c.(type) {
		case *array.String:
			key = append(key, strings.Clone(c.Value(i)))
		case *array.Timestamp:
			key = append(key, int64(c.Value(i)))
		case *array.Int32:
			key = append(key, int64(c.Value(i)))
		}
	}
	return key
}

func compareKeys(a, b []any) int {
	for i := range a {
		var d int
		switch x := a[i].(type) {
		case string:
			d = strings.Compare(x, b[i].(string))
		case int64:
			d = cmp.Compare(x, b[i].(int64))
		}
		if d != 0 {
			return d
		}
	}
	return 0
}
