package energy

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

const (
	ms     = int64(time.Millisecond)
	origin = int64(1e18) // later than the making of any simulated board: worlds play in a time of their own
)

// world is a simulated board under a load whose truth is known, read as the sampler reads.
type world struct {
	rng      *rand.Rand
	spec     sim.Spec
	board    *sim.Board
	now      int64
	w        float64 // true power now
	grain    float64 // standard deviation of the true power within a stage, W, anew every 10 ms
	early    int64   // requests are sent so long before the board begins
	late     int64   // tokens arrive so long after the board gave them
	poll     int64
	deaf     float64 // share of readings that are not taken
	segments []Segment
}

// The shares of the way that a board has covered at a change of its work and every 5 ms after it: the simulated server's.
var slew = [...]float64{0.35, 0.60, 0.77, 0.88, 0.95, 1}

func newWorld(t testing.TB, kind string, seed uint64, change func(*sim.SensorSpec)) *world {
	t.Helper()
	c, err := catalog.BoardByName(kind)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), spec: sim.Describe(c, int(seed)), now: origin, poll: 20 * ms}
	sensor := w.spec.Sensors[sim.PowerInstant]
	sensor.Phase = time.Duration(w.rng.Int64N(int64(sensor.Period)))
	if change != nil {
		change(&sensor)
	}
	w.spec.Sensors[sim.PowerInstant] = sensor
	script, err := sim.New(w.spec)
	if err != nil {
		t.Fatal(err)
	}
	w.board = script.Boards()[0]
	return w
}

// between is a draw from a uniform distribution.
func (w *world) between(lo, hi float64) float64 { return lo + (hi-lo)*w.rng.Float64() }

// does lets the board do one thing for a while.
func (w *world) does(watts, milliseconds float64, stage schema.Stage, kind int) {
	from, start := w.w, w.now
	for at := int64(0); at < int64(milliseconds*float64(ms)); at += 5 * ms {
		share := slew[min(int(at/(5*ms)), len(slew)-1)]
		if w.grain == 0 && at > int64(len(slew))*5*ms {
			break
		}
		if at%(10*ms) == 0 || w.grain == 0 {
			w.w = from + share*(watts-from) + w.grain*w.rng.NormFloat64()
		}
		w.board.Set(start+at, w.w, 1, 0.5)
	}
	w.now += int64(milliseconds * float64(ms))
	// Requests are sent early, and everything else is learnt late.
	begin := start + w.late
	if n := len(w.segments); n == 0 || w.segments[n-1].Idle {
		begin = start - w.early
	}
	if n := len(w.segments); n > 0 {
		begin = max(begin, w.segments[n-1].FromNS+ms/100)
		w.segments[n-1].ToNS = begin
	}
	w.segments = append(w.segments, Segment{FromNS: begin, ToNS: w.now, Idle: stage == schema.StageIdle, Kind: kind})
}

// read reads the sensor over the whole time, at the sampler's rhythm, and places what it said.
func (w *world) read() []Update {
	updates := NewUpdates(w.spec.Sensors[sim.PowerInstant].Period)
	for slot := int64(0); ; slot++ {
		_, swing := math.Modf(float64(slot) * 0.0191)
		at := origin + slot*w.poll + int64(float64(w.poll)*math.Abs(2*swing-1)) + w.rng.Int64N(ms/10)
		if at > w.now {
			return updates.Located()
		}
		if w.rng.Float64() < w.deaf {
			continue
		}
		var r schema.Reading
		if err := w.board.ReadAt(at, sampler.LanePower, &r); err == nil && r.PowerInstantW.OK {
			updates.Add(at, at, r.PowerInstantW.V)
		}
	}
}

func (w *world) fit(t testing.TB, sensor schema.Sensor) *Model {
	t.Helper()
	m, ok := Fit(sensor, w.read(), w.segments)
	if !ok {
		t.Fatal("no model")
	}
	return m
}

func (w *world) truth(t testing.TB, segments ...int) (joules float64) {
	t.Helper()
	for _, i := range segments {
		j, ok := w.board.EnergyJ(w.segments[i].FromNS, w.segments[i].ToNS)
		if !ok {
			t.Fatal("the board's truth no longer reaches back")
		}
		joules += j
	}
	return joules
}

// score gathers how far estimates are from the truth.
type score struct{ errors, z []float64 }

func (s *score) add(e Estimate, gainError, truth float64) {
	s.errors = append(s.errors, math.Abs(e.J-truth)/truth)
	s.z = append(s.z, math.Abs(e.J-truth)/math.Hypot(e.SD, gainError*e.J/1.96))
}

func (s *score) median() float64 { return quantile(s.errors, 0.5) }

// covered is the share of 95 % intervals that hold the truth.
func (s *score) covered() float64 {
	n := 0
	for _, z := range s.z {
		if z <= 1.96 {
			n++
		}
	}
	return float64(n) / float64(len(s.z))
}

func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[int(q*float64(len(v)-1))]
}
