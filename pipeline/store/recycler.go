package store

import "math/bits"

// Recycler is the allocator of a pipeline's record batches and pages. Batches are all alike, so what one gives back the
// next takes: without it every batch is a dozen large allocations for the garbage collector, which runs beside the
// sampler. It serves one goroutine.
type Recycler struct{ free [32][][]byte } // by power of two

// largest is the class from which on memory is left to the collector.
const largest = 24

func class(size int) int { return bits.Len(uint(max(size, 64) - 1)) }

// Allocate gives zeroed memory, as Arrow's builders expect.
func (r *Recycler) Allocate(size int) []byte {
	c := class(size)
	if c > largest {
		return make([]byte, size)
	}
	last := len(r.free[c]) - 1
	if last < 0 {
		return make([]byte, 1<<c)[:size]
	}
	b := r.free[c][last]
	r.free[c] = r.free[c][:last]
	clear(b[:cap(b)])
	return b[:size]
}

// Reallocate grows or shrinks memory in place where it can.
func (r *Recycler) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) {
		return b[:size]
	}
	grown := r.Allocate(size)
	copy(grown, b)
	r.Free(b)
	return grown
}

// Free takes memory back.
func (r *Recycler) Free(b []byte) {
	if c := class(cap(b)); c <= largest && cap(b) == 1<<c {
		r.free[c] = append(r.free[c], b[:0])
	}
}
