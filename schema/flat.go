package schema

import (
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// fixed is what lies in an Arrow array as it does in a row.
type fixed interface {
	int32 | int64 | float32 | float64
}

// flat is the builder of a column of numbers that may be absent. Arrow's own takes a slice of values and one of bools, and copies
// the one and packs the other bit by bit; this one reads rows and writes the array.
type flat[R any, T fixed] struct {
	dataType arrow.DataType
	offset   uintptr // of the value in a row
	mem      memory.Allocator

	values, valid *memory.Buffer
	rows, absent  int
}

// field binds a column to a field of its row that is NULL where the value is absent.
func field[R any, T fixed](of func(*R) *Opt[T]) binding[R] {
	var row R
	offset := uintptr(unsafe.Pointer(of(&row))) - uintptr(unsafe.Pointer(&row))
	if offset >= unsafe.Sizeof(row) {
		panic("schema: a column's field lies outside of its row")
	}
	return func(mem memory.Allocator, t arrow.DataType) columnBuilder[R] {
		f := &flat[R, T]{dataType: t, offset: offset, mem: mem}
		f.begin()
		return f
	}
}

func (f *flat[R, T]) begin() {
	f.values, f.valid = memory.NewResizableBuffer(f.mem), memory.NewResizableBuffer(f.mem)
	f.rows, f.absent = 0, 0
}

func (f *flat[R, T]) resize(rows int) {
	f.values.Resize(rows * int(unsafe.Sizeof(*new(T))))
	f.valid.Resize(int(bitutil.BytesForBits(int64(rows))))
}

func (f *flat[R, T]) Reserve(rows int) {
	if rows += f.rows; rows*int(unsafe.Sizeof(*new(T))) > f.values.Len() {
		f.resize(max(rows, 2*f.rows))
	}
}

func (f *flat[R, T]) append(rows []R, _ []int) {
	f.Reserve(len(rows))
	values, valid := arrow.GetData[T](f.values.Bytes())[f.rows:], f.valid.Bytes()
	present := 0
	for i := range rows {
		v := (*Opt[T])(unsafe.Add(unsafe.Pointer(&rows[i]), f.offset))
		values[i] = v.V
		bit := byte(0)
		if v.OK {
			bit = 1
		}
		present += int(bit)
		if at := f.rows + i; at%8 == 0 {
			valid[at/8] = bit
		} else {
			valid[at/8] |= bit << (at % 8)
		}
	}
	f.rows += len(rows)
	f.absent += len(rows) - present
}

func (f *flat[R, T]) NewArray() arrow.Array {
	f.resize(f.rows)
	data := array.NewData(f.dataType, f.rows, []*memory.Buffer{f.valid, f.values}, nil, f.absent, 0)
	defer data.Release()
	f.Release()
	f.begin()
	return array.MakeFromData(data)
}

func (f *flat[R, T]) Release() {
	f.values.Release()
	f.valid.Release()
}
