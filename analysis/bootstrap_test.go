package analysis

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Intervals that say 95 % hold the true ratio about so often, with few requests and with many.
func TestRatiosAreCoveredAsOftenAsIsSaid(t *testing.T) {
	const worlds, resamples = 600, 1000
	for _, c := range []struct {
		name   string
		na, nb int
		sigma  float64 // of the logarithm of a value
	}{
		{"five of each", 5, 5, 0.1},
		{"few against many", 5, 200, 0.3},
		{"ten, steady", 10, 10, 0.02},
		{"a hundred, skewed", 100, 100, 0.8},
		{"thousands, in blocks", 3500, 2500, 0.5},
	} {
		n := worlds
		if c.na > 1000 {
			n = worlds / 4
		}
		covered := 0
		for world := range n {
			rng := rand.New(rand.NewPCG(uint64(world), 7))
			draw := func(n int, scale float64) []float64 {
				values := make([]float64, n)
				for i := range values {
					values[i] = scale * math.Exp(c.sigma*rng.NormFloat64())
				}
				return values
			}
			lo, hi, ok := bootstrap(draw(c.na, 1), draw(c.nb, 1.3), resamples, rng)
			if !ok {
				t.Fatalf("%s: no interval", c.name)
			}
			if truth := math.Log(1.3); lo <= truth && truth <= hi {
				covered++
			}
		}
		if share := float64(covered) / float64(n); share < 0.92 || share > 0.99 {
			t.Errorf("%s: %.1f %% of the intervals hold the truth, not 95", c.name, 100*share)
		} else {
			t.Logf("%s: %.1f %%", c.name, 100*share)
		}
	}
}

func TestNoIntervalWithoutEnoughToGoOn(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, sides := range [][2][]float64{
		{{1, 2, 3, 4}, {1, 2, 3, 4, 5}},
		{{1, 2, 3, 4, 0}, {1, 2, 3, 4, 5}},
		{{1, 2, 3, 4, 5}, {1, 2, 3, 4, -1}},
	} {
		if lo, hi, ok := bootstrap(sides[0], sides[1], 100, rng); ok {
			t.Errorf("%v: %v to %v", sides, lo, hi)
		}
	}
}

func TestBlocksKeepTheMean(t *testing.T) {
	for _, n := range []int{1, 999, 1000, 1001, 1999, 2000, 2500, 12345} {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(i % 7)
		}
		got := blocks(values)
		if len(got) > mostBlocks || len(got) < min(n, mostBlocks/2) || math.Abs(mean(got)-mean(values)) > 0.05 {
			t.Errorf("%d values: %d blocks of mean %v, not %v", n, len(got), mean(got), mean(values))
		}
	}
}
