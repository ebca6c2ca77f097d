package sim

import (
	"math"
	"sync/atomic"
	"testing"

	"github.com/sourcegraph/conc"
	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/internal/catalog"
)

// step is a stretch of constant power.
type step struct {
	fromNS int64
	powerW float64
}

func testBoard(t interface{ Fatal(...any) }, name string) *Board {
	c, err := catalog.BoardByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return NewBoard(c, 0)
}

// startNS is the board's first instant.
func startNS(b *Board) int64 { return b.truth.slots[0].timeNS() }

// draw writes a random history.
func draw(t *rapid.T, b *Board) (steps []step) {
	at := startNS(b)
	steps = append(steps, step{at, b.spec.IdleW})
	for range rapid.IntRange(0, 40).Draw(t, "changes") {
		at += rapid.Int64Range(0, 400e6).Draw(t, "pause")
		s := step{at, rapid.Float64Range(0, 400).Draw(t, "power")}
		b.Set(s.fromNS, s.powerW, rapid.Float64Range(0, 1).Draw(t, "busy"), 0)
		steps = append(steps, s)
	}
	return steps
}

// joules sums the history up the long way.
func joules(steps []step, fromNS, toNS int64) (sum float64) {
	for i, s := range steps {
		begin, end := s.fromNS, int64(math.MaxInt64)
		if i == 0 {
			begin = math.MinInt64
		}
		if i+1 < len(steps) {
			end = steps[i+1].fromNS
		}
		if begin, end = max(begin, fromNS), min(end, toNS); end > begin {
			sum += s.powerW * float64(end-begin) * 1e-9
		}
	}
	return sum
}

func TestEnergyIsTheIntegralOfThePowerThatWasSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := testBoard(t, "A100-40")
		steps := draw(t, b)
		from := startNS(b) + rapid.Int64Range(-2e9, 20e9).Draw(t, "from")
		to := from + rapid.Int64Range(0, 10e9).Draw(t, "length")
		got, ok := b.EnergyJ(from, to)
		if want := joules(steps, from, to); !ok || math.Abs(got-want) > 1e-6*max(want, 1) {
			t.Fatalf("EnergyJ = %v, %t; want %v", got, ok, want)
		}
	})
}

func TestAPowerSensorShowsTheMeanOfItsWindowBeforeTheLastEdge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := testBoard(t, "A10")
		steps := draw(t, b)
		at := startNS(b) + rapid.Int64Range(0, 20e9).Draw(t, "at")
		for _, which := range []Sensor{PowerInstant, PowerAverage} {
			s := &b.facts.Sensors[which]
			edge := at - (at-s.PhaseNS)%s.PeriodNS
			want := joules(steps, edge-s.WindowNS, edge) / (float64(s.WindowNS) * 1e-9)
			got := float64(b.truth.milliwatts(which, at)) / 1000
			if math.Abs(got-want) > s.Noise+0.001 {
				t.Fatalf("sensor %d shows %v W, want %v ± %v", which, got, want, s.Noise)
			}
			if next := b.truth.milliwatts(which, edge+s.PeriodNS-1); next != b.truth.milliwatts(which, edge) {
				t.Fatalf("sensor %d changed between its edges", which)
			}
		}
	})
}

func TestTheEnergyCounterNeverDecreasesAndStepsAtItsEdges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := testBoard(t, "H100-SXM")
		draw(t, b)
		b.facts.Sensors[EnergyCounter].JitterNS = rapid.Int64Range(0, 49e6).Draw(t, "jitter")
		at, last := startNS(b), uint64(0)
		for range 30 {
			at += rapid.Int64Range(0, 200e6).Draw(t, "step")
			got := b.truth.millijoules(at)
			if got < last {
				t.Fatalf("the counter fell from %d to %d mJ", last, got)
			}
			if edge, _ := b.truth.edge(EnergyCounter, at); b.truth.millijoules(edge) != got {
				t.Fatal("the counter changed between its edges")
			}
			last = got
		}
	})
}

func TestNoiseIsSmallCentredAndTheSameForEver(t *testing.T) {
	var sum, squares float64
	const n = 10000
	for k := range int64(n) {
		v := noise(42, PowerInstant, k)
		if v < -1 || v >= 1 || v != noise(42, PowerInstant, k) {
			t.Fatalf("draw %d is %v", k, v)
		}
		sum += v
		squares += v * v
	}
	if mean, variance := sum/n, squares/n; math.Abs(mean) > 0.02 || math.Abs(variance-1.0/6) > 0.01 {
		t.Errorf("mean %v, variance %v; want 0 and 1/6", mean, variance)
	}
}

func TestEdgesFloorOnBothSidesOfTheEpoch(t *testing.T) {
	b := testBoard(t, "A10")
	b.facts.Sensors[PowerInstant] = sensor{PeriodNS: 100, PhaseNS: 30}
	for _, c := range []struct{ at, edge, update int64 }{{30, 30, 0}, {129, 30, 0}, {130, 130, 1}, {29, -70, -1}, {-70, -70, -1}, {-71, -170, -2}} {
		if edge, update := b.truth.edge(PowerInstant, c.at); edge != c.edge || update != c.update {
			t.Errorf("edge(%d) = %d, %d; want %d, %d", c.at, edge, update, c.edge, c.update)
		}
	}
}

func TestJitteredUpdatesKeepTheirOrderTheirBoundsAndTheirInstants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := testBoard(t, "A10")
		s := &b.facts.Sensors[PowerInstant]
		s.JitterNS = rapid.Int64Range(1, s.PeriodNS/2-1).Draw(t, "jitter")
		first := rapid.Int64Range(-100, 1e6).Draw(t, "update")
		spread := int64(0)
		for update := first; update < first+100; update++ {
			at, off := b.truth.updateAt(PowerInstant, update), b.truth.updateAt(PowerInstant, update)-s.PhaseNS-update*s.PeriodNS
			if off < -s.JitterNS || off > s.JitterNS {
				t.Fatalf("update %d is off by %d, jitter is %d", update, off, s.JitterNS)
			}
			spread = max(spread, off, -off)
			for _, c := range []struct{ at, update int64 }{{at, update}, {at - 1, update - 1}} {
				if edge, got := b.truth.edge(PowerInstant, c.at); got != c.update || edge != b.truth.updateAt(PowerInstant, c.update) {
					t.Fatalf("at %d update %d (edge %d) holds, want %d", c.at, got, edge, c.update)
				}
			}
		}
		if 2*spread < s.JitterNS {
			t.Fatalf("100 updates are off by %d at most, jitter is %d", spread, s.JitterNS)
		}
	})
}

func TestInstantsNeverRunBackwards(t *testing.T) {
	b := testBoard(t, "A10")
	at := startNS(b)
	b.Set(at+10e9, 100, 1, 0)
	b.Set(at+5e9, 150, 1, 0) // taken as at+10e9
	got, _ := b.EnergyJ(at, at+11e9)
	if want := b.spec.IdleW*10 + 150; math.Abs(got-want) > 1e-6 {
		t.Errorf("energy %v J, want %v", got, want)
	}
}

func TestTheRingForgetsTheOldestAndSaysSo(t *testing.T) {
	b := testBoard(t, "A10")
	at := startNS(b)
	for i := range int64(eventCapacity + 5000) {
		b.Set(at+i*1e6, 100, 1, 0.5)
	}
	end := at + (eventCapacity+5000)*1e6
	if got, ok := b.EnergyJ(end-10e9, end); !ok || math.Abs(got-1000) > 1e-6 {
		t.Errorf("the last 10 s: %v J, %t; want 1000", got, ok)
	}
	if _, ok := b.EnergyJ(at, end); ok {
		t.Error("claims to know what it has forgotten")
	}
}

// A writer laps the ring while readers look: each reading must be one that some prefix of the history explains. Power is
// constant, so every integral is known from its instant alone, and a torn event would show.
func TestReadersNeverSeeATornEvent(t *testing.T) {
	b := testBoard(t, "A10")
	at := startNS(b)
	const watts = 100
	b.Set(at, watts, 1, 0)
	base := b.truth.integral(power, at)
	var done atomic.Bool
	var wg conc.WaitGroup
	wg.Go(func() {
		defer done.Store(true)
		for i := range int64(4 * eventCapacity) {
			b.Set(at+i*1e6, watts, 1, 0)
		}
	})
	for range 2 {
		wg.Go(func() {
			for i := int64(0); !done.Load(); i++ {
				instant := at + i%(4*eventCapacity)*1e6 + 500
				got, want := b.truth.integral(power, instant)-base, watts*float64(instant-at)*1e-9
				if math.Abs(got-want) > 1e-3 {
					t.Errorf("integral at %d is %v J, want %v", instant-at, got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}
