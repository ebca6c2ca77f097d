package store

import (
	"math/bits"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/parquet/file"
)

// dense writes numbers of which some are absent. v17 makes a validity bitmap of the definition levels, and goes through it once
// for the values and once for the statistics; here the values that are there are moved together first, by the bitmap at hand.
type dense struct {
	int32s   []int32
	int64s   []int64
	float32s []float32
	float64s []float64
}

// write reports whether the column is one of these.
func (d *dense) write(column file.ColumnChunkWriter, a arrow.Array, levels []int16) (written bool, err error) {
	if a.NullN() == 0 {
		return false, nil // pqarrow has nothing to move
	}
	switch a := a.(type) {
	case *array.Int32:
		d.int32s = present(d.int32s, a.Int32Values(), a)
		_, err = column.(*file.Int32ColumnChunkWriter).WriteBatch(d.int32s, levels, nil)
	case *array.Int64:
		d.int64s = present(d.int64s, a.Int64Values(), a)
		_, err = column.(*file.Int64ColumnChunkWriter).WriteBatch(d.int64s, levels, nil)
	case *array.Float32:
		d.float32s = present(d.float32s, a.Float32Values(), a)
		_, err = column.(*file.Float32ColumnChunkWriter).WriteBatch(d.float32s, levels, nil)
	case *array.Float64:
		d.float64s = present(d.float64s, a.Float64Values(), a)
		_, err = column.(*file.Float64ColumnChunkWriter).WriteBatch(d.float64s, levels, nil)
	default:
		return false, nil
	}
	return true, err
}

// present puts an array's values that are there into a slice that is used again.
func present[T any](into, values []T, a arrow.Array) []T {
	into = into[:0]
	if a.NullN() == a.Len() {
		return into
	}
	valid, offset := a.NullBitmapBytes(), a.Data().Offset()
	if offset%8 != 0 {
		for i, v := range values {
			if a.IsValid(i) {
				into = append(into, v)
			}
		}
		return into
	}
	for i, b := range valid[offset/8:][:(len(values)+7)/8] {
		row := 8 * i
		switch {
		case b == 0xff && row+8 <= len(values):
			into = append(into, values[row:row+8]...)
		default:
			for ; b != 0 && row+bits.TrailingZeros8(b) < len(values); b &= b - 1 {
				into = append(into, values[row+bits.TrailingZeros8(b)])
			}
		}
	}
	return into
}
