package sampler

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets of at most 1/16 relative width, from 1 ns to over 4 minutes. It is a fixed
// array, so recording allocates nothing.
type histogram struct {
	counts [subBuckets * (maxExponent - subBits + 1)]uint64
	total  uint64
	max    int64
}

const (
	subBits     = 4
	subBuckets  = 1 << subBits
	maxExponent = 38
)

// Quantiles sums up a distribution of durations. P50 and P99 are upper edges of buckets, at most 1/16 too high; Max is
// exact.
type Quantiles struct {
	Count         int64
	P50, P99, Max time.Duration
}

func (h *histogram) record(ns int64) {
	ns = max(ns, 0)
	h.counts[bucketOf(ns)]++
	h.total++
	h.max = max(h.max, ns)
}

func bucketOf(ns int64) int {
	if ns < subBuckets {
		return int(ns)
	}
	exponent := bits.Len64(uint64(ns)) - 1
	if exponent >= maxExponent {
		return len(histogram{}.counts) - 1
	}
	sub := int(ns>>(exponent-subBits)) & (subBuckets - 1)
	return (exponent-subBits+1)*subBuckets + sub
}

// upperEdge is the largest duration that falls in a bucket.
func upperEdge(bucket int) int64 {
	if bucket < subBuckets {
		return int64(bucket)
	}
	shift := bucket/subBuckets - 1
	return int64(bucket%subBuckets+subBuckets+1)<<shift - 1
}

func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := max(uint64(q*float64(h.total)+0.5), 1)
	var seen uint64
	for bucket, count := range h.counts {
		if seen += count; seen >= rank {
			return time.Duration(min(upperEdge(bucket), h.max))
		}
	}
	return time.Duration(h.max)
}

func (h *histogram) quantiles() Quantiles {
	return Quantiles{
		Count: int64(h.total),
		P50:   h.quantile(0.50),
		P99:   h.quantile(0.99),
		Max:   time.Duration(h.max),
	}
}
