package energy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// lattice is a sensor's edges, in ms, with a clock 3e-4 off.
func lattice(r *rand.Rand, jitter float64) []float64 {
	phase, edges := 100*r.Float64(), make([]float64, 600)
	for k := range edges {
		edges[k] = phase + 100.03*float64(k) + jitter*r.NormFloat64()
	}
	return edges
}

// readings reads a sensor whose value is the number of its update every 20 ms.
func readings(r *rand.Rand, edges []float64, sways bool) *Updates {
	u, k := NewUpdates(100*time.Millisecond), 0
	for slot := 0; ; slot++ {
		at := 20*float64(slot) + 0.1*r.Float64()
		if _, swing := math.Modf(float64(slot) * 0.0191); sways {
			at += 20 * math.Abs(2*swing-1)
		}
		if at > edges[len(edges)-1] {
			return u
		}
		for edges[k+1] <= at {
			k++
		}
		u.Add(int64(at*1e6), int64(at*1e6), float32(k))
	}
}

// Where readings sway against the sensor, its edges are known to a fraction of a millisecond; where they do not, only the
// gap between two readings is, and the standard deviation says so.
func TestEdgesAreAsWellKnownAsTheySay(t *testing.T) {
	for _, c := range []struct {
		sways         bool
		jitter        float64 // ms
		within        float64 // ms, root mean square
		least, utmost float64 // of the error over what is claimed
	}{
		{true, 0, 0.15, 0.3, 1.2},
		{true, 1, 1.3, 0.7, 1.3},
		{true, 3, 3, 0.7, 1.3},
		{false, 0, 8, 0.5, 1.6},
	} {
		var off, claimed, n float64
		for seed := range uint64(6) {
			r := rand.New(rand.NewPCG(seed, 3))
			edges := lattice(r, c.jitter)
			for _, u := range readings(r, edges, c.sways).Located()[2:] {
				d := float64(u.EdgeNS)/1e6 - edges[int(u.W)]
				off, claimed, n = off+d*d, claimed+u.EdgeSD*u.EdgeSD/1e12, n+1
			}
		}
		off, claimed = math.Sqrt(off/n), math.Sqrt(claimed/n)
		if off > c.within || off/claimed < c.least || off/claimed > c.utmost {
			t.Errorf("%+v: edges off by %.2f ms, claimed %.2f", c, off, claimed)
		}
	}
}

// An idle board's value may come again unchanged: the update is there all the same.
func TestAValueThatComesAgainIsAnUpdateToo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	edges := lattice(r, 0)
	u, k := NewUpdates(100*time.Millisecond), 0
	for slot := range 2000 {
		at := 20*float64(slot) + 13*r.Float64()
		for edges[k+1] <= at {
			k++
		}
		u.Add(int64(at*1e6), int64(at*1e6), float32(k/3)) // each value three times
	}
	got := u.Located()
	var off []float64
	for _, update := range got {
		nearest := math.Inf(1)
		for _, edge := range edges {
			nearest = min(nearest, math.Abs(float64(update.EdgeNS)/1e6-edge))
		}
		off = append(off, nearest)
	}
	if m := quantile(off, 0.9); m > 4 {
		t.Errorf("a tenth of the updates is %.1f ms off or more", m)
	}
	if want := k; len(got) < want-3 || len(got) > want+3 {
		t.Errorf("%d updates, the sensor made %d", len(got), want)
	}
}

// Nothing is invented where nobody looked.
func TestGapsHoldNoUpdates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := NewUpdates(100 * time.Millisecond)
		at, from, to := int64(0), int64(0), int64(0)
		for i := range rapid.IntRange(20, 300).Draw(t, "readings") {
			step := rapid.Int64Range(1*ms, 30*ms).Draw(t, "step")
			if i == 10 {
				step = rapid.Int64Range(500*ms, 100_000*ms).Draw(t, "gap")
				from, to = at, at+step
			}
			at += step
			u.Add(at, at, float32(at/(100*ms)))
		}
		for _, update := range u.Located() {
			if update.EdgeNS > from+100*ms && update.EdgeNS < to-105*ms {
				t.Fatalf("an update at %d, in the gap from %d to %d", update.EdgeNS, from, to)
			}
		}
	})
}

// BenchmarkLocated is a board's share of a commit: its updates of ten minutes.
func BenchmarkLocated(b *testing.B) {
	for _, c := range []struct {
		kind string
		poll time.Duration
	}{
		{"A100-40", time.Millisecond}, // averages 25 of every 100 ms
		{"A100-40", 10 * time.Millisecond},
		{"A10", time.Millisecond}, // averages all 100 ms
		{"A10", 10 * time.Millisecond},
	} {
		w := conversations(b, c.kind, 1, 370, nil, func(w *world) { w.poll = c.poll })
		updates := w.updates(b)
		b.Run(fmt.Sprintf("kind=%s/poll=%v", c.kind, c.poll), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				updates.Located()
			}
		})
	}
}

// BenchmarkLocatedOfAHost is the commit of a short run on eight boards.
func BenchmarkLocatedOfAHost(b *testing.B) {
	var boards []*Updates
	for i := range 8 {
		w := conversations(b, []string{"A100-40", "A10"}[i%2], uint64(i), 75, nil, func(w *world) { w.poll = time.Millisecond })
		boards = append(boards, w.updates(b))
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, u := range boards {
			u.Located()
		}
	}
}
