package sampler

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestHistogramQuantilesAreWithinABucketOfTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, 1<<37), 1, 300).Draw(t, "values")
		var h histogram
		for _, v := range values {
			h.record(v)
		}
		slices.Sort(values)
		got := h.quantiles()
		if int64(got.Max) != values[len(values)-1] || got.Count != int64(len(values)) {
			t.Fatalf("max %d of %d values, want %d of %d", got.Max, got.Count, values[len(values)-1], len(values))
		}
		for _, c := range []struct {
			q   float64
			got int64
		}{{0.5, int64(got.P50)}, {0.99, int64(got.P99)}} {
			rank := max(int(c.q*float64(len(values))+0.5), 1)
			want := values[rank-1]
			if c.got < want || c.got > want+want/subBuckets {
				t.Fatalf("quantile %v = %d, want %d to %d", c.q, c.got, want, want+want/subBuckets)
			}
		}
	})
}

func TestHistogramTakesAnyDuration(t *testing.T) {
	var h histogram
	if q := h.quantiles(); q != (Quantiles{}) {
		t.Errorf("empty: %+v", q)
	}
	h.record(-5)
	h.record(1<<63 - 1)
	if q := h.quantiles(); q.P50 != 0 || q.Max != 1<<63-1 {
		t.Errorf("extremes: %+v", q)
	}
}

func TestBucketsTileTheLine(t *testing.T) {
	for bucket := range len(histogram{}.counts) - 1 {
		edge := upperEdge(bucket)
		if bucketOf(edge) != bucket || bucketOf(edge+1) != bucket+1 {
			t.Fatalf("bucket %d ends at %d, whose buckets are %d and %d", bucket, edge, bucketOf(edge), bucketOf(edge+1))
		}
	}
}
