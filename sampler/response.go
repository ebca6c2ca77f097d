package sampler

import (
	"math"

	"github.com/llm-tracer/tracer/schema"
)

// Work is what a board was asked to do from an instant on: idle, prefill or decode.
type Work struct {
	FromNS int64 // CLOCK_MONOTONIC
	Stage  schema.Stage
}

// stages are the kinds of work whose powers are fitted.
var stages = [...]schema.Stage{schema.StagePrefill, schema.StageDecode}

// shares are of time, in each of the stages.
type shares [len(stages)]float64

// response is what is asked of a board: in each stage or not, from each instant on, and the integral of that.
type response struct {
	atNS            []float64
	level, integral []shares
	settled         []shares // at the instants, for a settling time of tauNS
	tauNS           float64
}

func newResponse(work []Work) *response {
	r := &response{settled: make([]shares, len(work)), tauNS: -1}
	for i, w := range work {
		at := float64(w.FromNS - work[0].FromNS)
		var level, integral shares
		for k, stage := range stages {
			if w.Stage == stage {
				level[k] = 1
			}
			if i > 0 {
				integral[k] = r.integral[i-1][k] + r.level[i-1][k]*(at-r.atNS[i-1])
			}
		}
		r.atNS, r.level, r.integral = append(r.atNS, at), append(r.level, level), append(r.integral, integral)
	}
	return r
}

// settle prepares for a settling time: the response moves to each level like a capacitor.
func (r *response) settle(tauNS float64) {
	if r.tauNS == tauNS {
		return
	}
	r.tauNS = tauNS
	for i := 1; i < len(r.atNS); i++ {
		r.settled[i] = r.settledAt(i-1, r.atNS[i])
	}
}

func (r *response) settledAt(i int, at float64) shares {
	s := r.level[i]
	if r.tauNS > 0 {
		left := math.Exp(-(at - r.atNS[i]) / r.tauNS)
		for k := range s {
			s[k] += (r.settled[i][k] - s[k]) * left
		}
	}
	return s
}

// sum is the integral of the settled response from the first instant: that of the level, less what is still to settle. From
// is the position of an instant that is not later, to search on from; so is what it returns.
func (r *response) sum(at float64, from int) (sum shares, position int) {
	if at <= 0 {
		return sum, 0
	}
	for from+1 < len(r.atNS) && r.atNS[from+1] <= at {
		from++
	}
	settled := r.settledAt(from, at)
	for k := range sum {
		sum[k] = r.integral[from][k] + r.level[from][k]*(at-r.atNS[from]) - r.tauNS*settled[k]
	}
	return sum, from
}
