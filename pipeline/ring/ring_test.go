package ring

import (
	"runtime"
	"testing"

	"github.com/puzpuzpuz/xsync/v4"
	"github.com/sourcegraph/conc"
	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/schema"
)

// Any sequence of pushes and pops gives what a plain slice gives, and a full ring drops the newest and says so.
func TestRingBehavesLikeABoundedSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := New[int](rapid.IntRange(1, 20).Draw(t, "capacity"))
		var model []int
		var dropped uint64
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				ok := q.Push(&next)
				if want := len(model) < q.Cap(); ok != want {
					t.Fatalf("push with %d of %d waiting reported %v", len(model), q.Cap(), ok)
				}
				if ok {
					model = append(model, next)
				} else {
					dropped++
				}
				next++
			},
			"pop": func(t *rapid.T) {
				dst := make([]int, rapid.IntRange(0, 30).Draw(t, "n"))
				n := q.Pop(dst)
				// One look may see an older tail, never less than one waiting item.
				if n > len(model) || (n == 0 && len(dst) > 0 && len(model) > 0) {
					t.Fatalf("popped %d of %d", n, len(model))
				}
				for i := range n {
					if dst[i] != model[i] {
						t.Fatalf("item %d is %d, want %d", i, dst[i], model[i])
					}
				}
				model = model[n:]
			},
			"": func(t *rapid.T) {
				if q.Len() != len(model) || q.Dropped() != dropped {
					t.Fatalf("len %d dropped %d, want %d %d", q.Len(), q.Dropped(), len(model), dropped)
				}
			},
		})
	})
}

func TestRingCarriesEverythingBetweenGoroutinesInOrder(t *testing.T) {
	const items = 200_000
	q := New[[4]int64](64)
	var wg conc.WaitGroup
	wg.Go(func() {
		for i := int64(0); i < items; {
			if q.Push(&[4]int64{i, i, i, i}) {
				i++
			} else {
				runtime.Gosched()
			}
		}
	})
	dst := make([][4]int64, 100)
	for want := int64(0); want < items; {
		n := q.Pop(dst)
		if n == 0 {
			runtime.Gosched()
		}
		for _, v := range dst[:n] {
			if v != [4]int64{want, want, want, want} {
				t.Fatalf("got %v, want four times %d", v, want)
			}
			want++
		}
	}
	wg.Wait()
}

// queue is what the benchmark asks of each candidate.
type queue struct {
	push func(*schema.Reading) bool
	pop  func([]schema.Reading) int
}

const depth = 4096

func candidates() map[string]func() queue {
	return map[string]func() queue{
		"ring": func() queue {
			q := New[schema.Reading](depth)
			return queue{q.Push, q.Pop}
		},
		"xsync": func() queue {
			q := xsync.NewSPSCQueue[schema.Reading](depth)
			return queue{
				func(r *schema.Reading) bool { return q.TryEnqueue(*r) },
				func(dst []schema.Reading) int {
					for i := range dst {
						v, ok := q.TryDequeue()
						if !ok {
							return i
						}
						dst[i] = v
					}
					return len(dst)
				},
			}
		},
		"channel": func() queue {
			q := make(chan schema.Reading, depth)
			return queue{
				func(r *schema.Reading) bool {
					select {
					case q <- *r:
						return true
					default:
						return false
					}
				},
				func(dst []schema.Reading) int {
					for i := range dst {
						select {
						case dst[i] = <-q:
						default:
							return i
						}
					}
					return len(dst)
				},
			}
		},
	}
}

// BenchmarkSPSC carries readings through this ring, xsync's queue and a channel, in one run: "alone" alternates bursts
// of pushes and pops on one goroutine (the queue's own cost), "across" sends from one goroutine to another.
func BenchmarkSPSC(b *testing.B) {
	for _, name := range []string{"ring", "xsync", "channel"} {
		candidate := candidates()[name]
		b.Run("alone/"+name, func(b *testing.B) {
			b.ReportAllocs()
			q, dst := candidate(), [512]schema.Reading{}
			var r schema.Reading
			for done := 0; done < b.N; {
				for range dst {
					q.push(&r)
				}
				done += q.pop(dst[:])
			}
		})
		b.Run("across/"+name, func(b *testing.B) {
			b.ReportAllocs()
			q, dst := candidate(), [512]schema.Reading{}
			var wg conc.WaitGroup
			wg.Go(func() {
				var r schema.Reading
				for i := 0; i < b.N; {
					if q.push(&r) {
						i++
					} else {
						runtime.Gosched()
					}
				}
			})
			for got := 0; got < b.N; {
				n := q.pop(dst[:])
				if n == 0 {
					runtime.Gosched()
				}
				got += n
			}
			wg.Wait()
		})
	}
}
