package analysis

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// trial is a run of tracer overhead against a server whose truth is known.
type trial struct {
	rounds, requests int
	slower           float64 // share by which sampling every 10 ms slows the server
	noise            float64 // of one request, standard deviation of its logarithm
	spikes           float64 // share of requests that take three times as long
	drift            float64 // by which the server slows down over the run, as a board that heats up does
	wander           float64 // of one block against the one before, standard deviation
}

func (c trial) run(seed uint64) []Timed {
	rng := rand.New(rand.NewPCG(seed, 7))
	periods := []time.Duration{0, 100 * time.Millisecond, 20 * time.Millisecond, 10 * time.Millisecond}
	var all []Timed
	walk := 0.0
	for round := range c.rounds {
		for place, p := range rng.Perm(len(periods)) {
			walk += c.wander * rng.NormFloat64()
			base := math.Log(0.1) + walk + c.drift*(float64(round)+float64(place)/float64(len(periods)))/float64(c.rounds)
			if periods[p] == 10*time.Millisecond {
				base += math.Log1p(c.slower)
			}
			for range c.requests {
				s := math.Exp(base + c.noise*rng.NormFloat64())
				if rng.Float64() < c.spikes {
					s *= 3
				}
				r := Timed{Workload: schema.WorkloadPrefill, TTFT: schema.Some(s), TPOT: schema.Some(1e-9)}
				r.Period, r.Round = periods[p], schema.Some(int32(round+1))
				all = append(all, r)
			}
		}
	}
	return all
}

func TestTheIntervalCoversTheTruthAsOftenAsItSays(t *testing.T) {
	const seeds = 2000
	for name, c := range map[string]trial{
		"steady":         {rounds: 10, requests: 5, noise: 0.05},
		"the fewest":     {rounds: 4, requests: 2, noise: 0.05},
		"heating up":     {rounds: 10, requests: 5, noise: 0.05, drift: 0.3},
		"wandering":      {rounds: 10, requests: 5, noise: 0.05, wander: 0.05},
		"with spikes":    {rounds: 10, requests: 5, noise: 0.05, spikes: 0.02},
		"slowed by 5 %":  {rounds: 10, requests: 5, noise: 0.05, drift: 0.3, slower: 0.05},
		"slowed by 50 %": {rounds: 6, requests: 5, noise: 0.1, wander: 0.02, slower: 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			covered := map[time.Duration]int{}
			for seed := range uint64(seeds) {
				for _, l := range CompareOverhead(c.run(seed)) {
					truth := 0.0
					if l.Period == 10*time.Millisecond {
						truth = 100 * c.slower
					}
					if e := l.TTFT.Effect; e.Lo.OK && e.Lo.V <= truth && truth <= e.Hi.V {
						covered[l.Period]++
					}
				}
			}
			for _, period := range []time.Duration{100, 20, 10} {
				share := float64(covered[period*time.Millisecond]) / seeds
				if share < 0.90 || share > 0.99 {
					t.Errorf("every %v ms: %.1f %% of the intervals hold the truth", int64(period), 100*share)
				}
			}
		})
	}
}

func TestAServerThatIsSlowedByFivePerCentIsFound(t *testing.T) {
	const seeds = 200
	found := 0
	for seed := range uint64(seeds) {
		lines := CompareOverhead(trial{rounds: 10, requests: 5, noise: 0.05, drift: 0.2, slower: 0.05}.run(seed))
		last := lines[len(lines)-1]
		if last.Period != 10*time.Millisecond {
			t.Fatalf("the last line is of %v", last.Period)
		}
		if last.TTFT.Lo.V > 0 && last.TTFT.Hi.V < 15 {
			found++
		}
	}
	if found < seeds*95/100 {
		t.Errorf("found in %d of %d runs", found, seeds)
	}
}

func TestOnlyRoundsWithBothBlocksCount(t *testing.T) {
	requests := trial{rounds: 4, requests: 2, noise: 0.01}.run(1)
	var cut []Timed
	for _, r := range requests {
		if r.Round.V == 4 && r.Period == 0 || r.Round.V >= 3 && r.Period == 10*time.Millisecond {
			continue // as after an interruption
		}
		cut = append(cut, r)
	}
	lines := CompareOverhead(cut)
	if len(lines) != 4 || lines[0].Period != 0 || lines[0].TTFT.Pct.OK || lines[0].Blocks != 3 || lines[0].Requests != 6 {
		t.Fatalf("without sampling: %+v", lines[0])
	}
	if l := lines[1]; l.Period != 100*time.Millisecond || l.TTFT.Rounds != 3 || !l.TTFT.Pct.OK || l.TPOT.Rounds != 0 || l.TPOT.MeanS.OK {
		t.Errorf("three rounds: %+v", l)
	}
	if l := lines[3]; l.TTFT.Rounds != 2 || l.TTFT.Pct.OK || !l.TTFT.MeanS.OK {
		t.Errorf("two rounds: %+v, want no interval", l)
	}
}

func TestStudentsQuantileAgreesWithTables(t *testing.T) {
	for degrees, want := range map[int]float64{2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 19: 2.093, 29: 2.045, 99: 1.984} {
		if got := student975(degrees); math.Abs(got/want-1) > 0.01 || degrees > 2 && math.Abs(got/want-1) > 0.0012 {
			t.Errorf("%d degrees of freedom: %v, want %v", degrees, got, want)
		}
	}
}
