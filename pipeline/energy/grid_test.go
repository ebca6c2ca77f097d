package energy

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Adding changes up as a polynomial, and probabilities from a table, are quicker ways to the same numbers.
func TestAGridIsWhatEachLineByItselfIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := grid{flat: rapid.Bool().Draw(t, "flat")}
		var want [side][side]float64
		var bound float64
		for range rapid.IntRange(1, 60).Draw(t, "changes") {
			lo := rapid.Float64Range(-8, 6).Draw(t, "lo")
			hi := lo + rapid.Float64Range(0.01, 12).Draw(t, "gap")
			place, turn := rapid.Float64Range(-0.5, 0.5).Draw(t, "place"), rapid.Float64Range(-0.5, 0.5).Draw(t, "turn")
			bound += 3e-4 * (1 + max(lo, -hi, 0)) // the further off, the steeper
			g.add(lo, hi, place, turn)
			if g.flat {
				turn = 0
			}
			for i := range want {
				for k := range want[i] {
					o := step * (place*float64(i-steps) + turn*float64(k-steps))
					want[i][k] += math.Log(max(exactly(lo-o, hi-o), least))
				}
			}
		}
		g.sum()
		for i := range want {
			for k := range want[i] {
				if g.flat && k != steps {
					continue
				}
				if off := math.Abs(g.logs[i][k] - want[i][k]); off > bound {
					t.Fatalf("at %d, %d: %v, want %v", i-steps, k-steps, g.logs[i][k], want[i][k])
				}
			}
		}
	})
}

// exactly is the probability that a standard normal variable is between two bounds.
func exactly(lo, hi float64) float64 {
	if lo > 0 {
		lo, hi = -hi, -lo
	}
	return (math.Erfc(-hi/math.Sqrt2) - math.Erfc(-lo/math.Sqrt2)) / 2
}
