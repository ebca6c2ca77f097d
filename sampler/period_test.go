package sampler

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// watched is a sensor as a reader at 2 ms sees it for a while.
type watched struct {
	period, jitter time.Duration // renewals are up to jitter early or late
	repeats        float64       // share of renewals that bring no new value
	lateness       time.Duration // mean of an exponential
	hiccups        float64       // share of looks that are 10 to 40 ms late
}

func (w watched) edges(seed uint64, length time.Duration) []edge {
	random := rand.New(rand.NewPCG(seed, 7))
	phase := random.Float64() * float64(w.period)
	renewal := func(k int) int64 {
		return int64(phase + float64(k)*float64(w.period) + (2*rand.New(rand.NewPCG(seed, uint64(k))).Float64()-1)*float64(w.jitter))
	}
	fresh := func(k int) bool { return rand.New(rand.NewPCG(seed^99, uint64(k))).Float64() >= w.repeats }
	var edges []edge
	before := int64(-1)
	for slot, k := int64(0), 0; slot < int64(length/probeEvery); slot++ {
		late := random.ExpFloat64() * float64(w.lateness)
		if random.Float64() < w.hiccups {
			late += (10 + 30*random.Float64()) * 1e6
		}
		now := max(slot*int64(probeEvery)+int64(late), before+1)
		changed := false
		for ; renewal(k) <= now; k++ {
			changed = changed || fresh(k)
		}
		if changed && before >= 0 {
			edges = append(edges, edge{before, now})
		}
		before = now
		slot = max(slot, now/int64(probeEvery))
	}
	return edges
}

func TestThePeriodIsFoundWithinOnePercentFromFourSeconds(t *testing.T) {
	ms := time.Millisecond
	for name, w := range map[string]watched{
		"plain":     {},
		"late":      {lateness: 500 * time.Microsecond, hiccups: 0.03},
		"jittered":  {jitter: 3 * ms, lateness: 100 * time.Microsecond},
		"repeating": {repeats: 0.4, lateness: 100 * time.Microsecond},
		"all":       {jitter: 2 * ms, repeats: 0.3, lateness: 300 * time.Microsecond, hiccups: 0.02},
	} {
		for _, period := range []time.Duration{20 * ms, 50 * ms, 100 * ms, 167 * ms} {
			w.period = period
			const seeds = 60
			var worst, lowest float64 = 0, 1
			missing := 0
			for seed := range uint64(seeds) {
				r, ok := fitRhythm(w.edges(seed, 4*time.Second))
				if !ok {
					missing++
					continue
				}
				worst = max(worst, math.Abs(r.periodNS/float64(period)-1))
				lowest = min(lowest, r.confidence)
			}
			t.Logf("%-9s %5v: worst error %.3f %%, lowest R %.3f, not found %d of %d", name, period, 100*worst, lowest, missing, seeds)
			if worst > 0.01 || missing > 1 {
				t.Errorf("%s, %v: off by up to %.2f %%, not found %d times", name, period, 100*worst, missing)
			}
		}
	}
}

func TestNoPeriodIsFoundWhereThereIsNone(t *testing.T) {
	found := 0
	const seeds = 400
	for seed := range uint64(seeds) {
		random := rand.New(rand.NewPCG(seed, 3))
		var edges []edge
		for at, n := int64(0), 6+random.IntN(40); len(edges) < n; {
			at += int64(random.ExpFloat64()*4e9/float64(n)) + int64(probeEvery)
			edges = append(edges, edge{at - int64(probeEvery), at})
		}
		if r, ok := fitRhythm(edges); ok {
			found++
			t.Logf("seed %d: %d random changes pass for a period of %.1f ms with R %.2f", seed, len(edges), r.periodNS/1e6, r.confidence)
		}
	}
	if found > seeds/50 {
		t.Errorf("a period was found in %d of %d series of random instants", found, seeds)
	}
}

func TestAnIdleBoardHasNoPeriodRatherThanAWrongOne(t *testing.T) {
	wrong, none := 0, 0
	for seed := range uint64(300) {
		w := watched{period: 100 * time.Millisecond, repeats: 0.85}
		switch r, ok := fitRhythm(w.edges(seed, 4*time.Second)); {
		case !ok:
			none++
		case math.Abs(r.periodNS/100e6-1) > 0.01:
			wrong++
		}
	}
	t.Logf("of 300: none %d, wrong %d", none, wrong)
	if wrong > 3 || none < 150 {
		t.Errorf("of 300 idle boards %d have a wrong period and %d none", wrong, none)
	}
	if _, ok := fitRhythm(nil); ok {
		t.Error("a period without any change")
	}
}
