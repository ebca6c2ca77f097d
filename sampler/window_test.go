package sampler

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// squareWave is 10 s of random pauses and requests: a short prefill, a longer decode.
func squareWave(random *rand.Rand) []Work {
	const length = 10e9
	var work []Work
	for at := int64(0); at < length; {
		work = append(work, Work{at, schema.StageIdle})
		at += int64(20e6 + random.Float64()*200e6)
		work = append(work, Work{at, schema.StagePrefill})
		at += int64(10e6 + random.Float64()*30e6)
		work = append(work, Work{at, schema.StageDecode})
		at += int64(40e6 + random.Float64()*250e6)
	}
	return append(work, Work{length, schema.StageIdle})
}

// seenLate is the load as a client sees it that waits for a core now and then: a fifth of the changes up to 10 ms late.
func seenLate(random *rand.Rand, work []Work) []Work {
	seen := slices.Clone(work)
	for i := 1; i < len(seen)-1; i++ {
		seen[i].FromNS += int64(random.ExpFloat64() * 0.2e6)
		if random.IntN(5) == 0 {
			seen[i].FromNS += int64(random.Float64() * 10e6)
		}
		seen[i].FromNS = max(seen[i].FromNS, seen[i-1].FromNS+1)
	}
	return seen
}

// shown is what a sensor with this window shows of a load, on a board of 60, 300 and 200 W, as a reader at 2 ms sees it.
func shown(random *rand.Rand, work []Work, period, width, lag, tau time.Duration, noiseW float64) []update {
	return draws{60, 60, 300, 200}.shown(random, work, period, width, lag, tau, noiseW)
}

// draws are a board's powers in W: until the first work, as in a state of lower clocks, and from then on.
type draws struct{ asleep, idle, prefill, decode float64 }

func (d draws) shown(random *rand.Rand, work []Work, period, width, lag, tau time.Duration, noiseW float64) []update {
	watts := map[schema.Stage]float64{schema.StageIdle: d.idle, schema.StagePrefill: d.prefill, schema.StageDecode: d.decode}
	end := work[len(work)-1].FromNS
	power := make([]float64, end/1e5+1) // every 100 µs
	level, k := d.asleep, 0
	for i := range power {
		for k+1 < len(work) && work[k+1].FromNS+int64(lag) <= int64(i)*1e5 {
			k++
		}
		share := 1.0
		if tau > 0 {
			share = 1 - math.Exp(-1e5/float64(tau))
		}
		if k > 0 {
			level += (watts[work[k].Stage] - level) * share
		}
		power[i] = level
	}
	var updates []update
	for at := int64(random.Float64()*float64(period)) + int64(width); at < end; at += int64(period) {
		var sum float64
		for i := (at - int64(width)) / 1e5; i < at/1e5; i++ {
			sum += power[i]
		}
		look := at/int64(probeEvery)*int64(probeEvery) + int64(probeEvery)
		value := sum/float64(width/1e5) + (random.Float64()-random.Float64())*noiseW
		updates = append(updates, update{edge{look - int64(probeEvery), look + 20e3}, value})
	}
	return updates
}

func edgesOf(updates []update) []edge {
	var edges []edge
	for _, u := range updates {
		edges = append(edges, u.edge)
	}
	return edges
}

func TestTheWindowIsFoundFromASquareWave(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		period, window, lag, tau time.Duration
		late                     bool
	}{
		{100 * ms, 25 * ms, 0, 0, false},
		{100 * ms, 100 * ms, 0, 0, false},
		{20 * ms, 10 * ms, 0, 0, false},
		{100 * ms, 25 * ms, 10 * ms, 7 * ms, false},
		{100 * ms, 100 * ms, 10 * ms, 7 * ms, true},
		{100 * ms, 25 * ms, 0, 7 * ms, true},
		{20 * ms, 10 * ms, 5 * ms, 7 * ms, true},
		{100 * ms, 1000 * ms, 5 * ms, 7 * ms, true},
	} {
		var worst, widest float64
		covered, found := 0, 0
		const seeds = 10
		for seed := range uint64(seeds) {
			random := rand.New(rand.NewPCG(seed, 5))
			work := squareWave(random)
			updates := shown(random, work, c.period, c.window, c.lag, c.tau, 2)
			r, _ := fitRhythm(edgesOf(updates))
			if c.late {
				work = seenLate(random, work)
			}
			w, ok := fitWindow(updates, r, work)
			if !ok {
				t.Logf("%v, seed %d: not found", c, seed)
				continue
			}
			found++
			off := math.Abs(float64(w.window - c.window))
			worst, widest = max(worst, off/1e6), max(widest, float64(w.uncertainty)/1e6)
			if off <= float64(w.uncertainty) {
				covered++
			}
		}
		t.Logf("period %v, window %v, lag %v, settling %v, late %t: worst error %.1f ms, widest ± %.1f ms, covered %d of %d", c.period, c.window, c.lag, c.tau, c.late, worst, widest, covered, found)
		allowed := max(3, 0.05*float64(c.window)/1e6)
		if c.late {
			allowed = max(8, allowed)
		}
		if found < seeds || covered < seeds*9/10 || worst > allowed {
			t.Errorf("period %v, window %v: found %d, covered %d, off by up to %.1f ms", c.period, c.window, found, covered, worst)
		}
	}
}

// waveAfterOne is the load of calibrate --mode active: a request, and at once 10 s of requests and pauses, two of them long,
// which are what is observed.
func waveAfterOne(random *rand.Rand) (work []Work, observedNS int64) {
	const token = 43e6
	at := int64(1e9)
	work = append(work, Work{0, schema.StageIdle})
	request := func(tokens float64) {
		work = append(work, Work{at, schema.StagePrefill}, Work{at + 56e6, schema.StageDecode})
		at += int64(56e6 + (tokens-1)*token)
		work = append(work, Work{at, schema.StageIdle})
	}
	request(8)
	observedNS = at
	for long := at; at < observedNS+10e9; at += int64(40e6 + random.Float64()*200e6) {
		if at > long+2.5e9 {
			at += 1e9
			long = at
		}
		request(max(math.Floor((60e6+random.Float64()*300e6)/token), 2))
	}
	return append(work, Work{at, schema.StageIdle}), observedNS
}

// Under requests that are much shorter than the window, a running average of 1 s hardly moves. What moves it most are long
// pauses, and the second before the requests, of which the board may have slept a part, in a state of power that no pause
// shows.
func TestTheWindowOfARunningAverageIsFoundUnderTheWave(t *testing.T) {
	const window, seeds = time.Second, 30
	for _, board := range []draws{{60, 60, 300, 200}, {16, 45, 130, 85}} {
		found, covered, worst := 0, 0, 0.0
		for seed := range uint64(seeds) {
			random := rand.New(rand.NewPCG(seed, 50))
			work, observedNS := waveAfterOne(random)
			updates := board.shown(random, work, 100*time.Millisecond, window, 0, 7*time.Millisecond, 0.05)
			updates = slices.DeleteFunc(updates, func(u update) bool { return u.afterNS < observedNS })
			r, _ := fitRhythm(edgesOf(updates))
			seen := seenLate(random, work)
			if w, ok := fitWindow(updates, r, seen); ok {
				found++
				off := (w.window - window).Abs()
				if worst = max(worst, off.Seconds()); off <= w.uncertainty {
					covered++
				}
			}
			// Nothing is made of values that hold work which is not told.
			untold := append([]Work{{seen[4].FromNS - int64(time.Second), schema.StageIdle}}, seen[4:]...)
			if w, ok := fitWindow(updates, r, untold); ok && (w.window-window).Abs() > w.uncertainty {
				t.Errorf("%v, seed %d: without the request before, a window of %v ± %v", board, seed, w.window, w.uncertainty)
			}
		}
		if found < seeds || covered < seeds*9/10 || worst > 0.01 {
			t.Errorf("%v: found %d of %d, covered %d, off by up to %.1f ms", board, found, seeds, covered, 1e3*worst)
		}
	}
}

func TestNoWindowIsFoundWhereTheLoadDoesNotExplainThePower(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 5))
	updates := shown(random, squareWave(random), 100*time.Millisecond, 25*time.Millisecond, 0, 0, 2)
	r, _ := fitRhythm(edgesOf(updates))
	if w, ok := fitWindow(updates, r, squareWave(random)); ok {
		t.Errorf("somebody else's load gives a window of %v ± %v", w.window, w.uncertainty)
	}
	if _, ok := fitWindow(updates, r, nil); ok {
		t.Error("a window without a load")
	}
	if _, ok := fitWindow(updates[:10], r, squareWave(random)); ok {
		t.Error("a window from ten values")
	}
}
