package analysis

import (
	"math"
	"math/rand/v2"
	"slices"
)

const (
	// leastRequests is how many a side needs for an interval.
	leastRequests = 5
	// mostBlocks bounds the work: more requests are resampled in so many stretches of time, whose means stand for them.
	mostBlocks = 1000
)

// bootstrap is a 95 % interval for the logarithm of the ratio of two means, b over a: percentiles of the ratio when both sides
// are drawn anew with replacement. With few requests plain percentiles cover too rarely, by the factor sqrt((n−1)/n) and for
// want of Student's tails; they are taken further out by both (Hesterberg 2015, doi:10.1080/00031305.2015.1089789, "expanded
// percentile"). It is not ok where a side is too small, or holds what is not above zero.
func bootstrap(a, b []float64, resamples int, rng *rand.Rand) (lo, hi float64, ok bool) {
	n := min(len(a), len(b))
	if n < leastRequests || slices.Min(a) <= 0 || slices.Min(b) <= 0 {
		return 0, 0, false
	}
	a, b = blocks(a), blocks(b)
	logs := make([]float64, resamples)
	for i := range logs {
		logs[i] = math.Log(redrawn(b, rng) / redrawn(a, rng))
	}
	slices.Sort(logs)
	reach := student975(n-1) * math.Sqrt(float64(n)/float64(n-1))
	tail := 0.5 * math.Erfc(reach/math.Sqrt2)
	at := min(int(tail*float64(resamples)), resamples-1)
	return logs[at], logs[resamples-1-at], true
}

// redrawn is the mean of as many values as there are, drawn with replacement.
func redrawn(values []float64, rng *rand.Rand) float64 {
	var sum float64
	for range values {
		sum += values[rng.IntN(len(values))]
	}
	return sum / float64(len(values))
}

// blocks are the means of at most so many stretches of values in the order of time, all of one length but for what is left over,
// which goes with the last.
func blocks(values []float64) []float64 {
	length := (len(values) + mostBlocks - 1) / mostBlocks
	if length <= 1 {
		return values
	}
	var means []float64
	for i := 0; i+length <= len(values); i += length {
		to := i + length
		if to+length > len(values) {
			to = len(values)
		}
		means = append(means, mean(values[i:to]))
	}
	return means
}

func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
