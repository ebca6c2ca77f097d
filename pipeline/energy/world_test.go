package energy

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/sampler/sim/load"
	"github.com/llm-tracer/tracer/schema"
)

const (
	ms     = int64(time.Millisecond)
	origin = int64(1e18) // later than the making of any simulated board: worlds play in a time of their own
)

// world is a simulated board under a load whose truth is known, read as the sampler reads.
type world struct {
	*load.Load
	spec sim.Spec
	poll time.Duration
	deaf float64 // share of readings that are not taken
}

func newWorld(t testing.TB, kind string, seed uint64, change func(*sim.SensorSpec)) *world {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	spec, err := load.Spec(kind, int(seed), rng)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		sensor := spec.Sensors[sim.PowerInstant]
		change(&sensor)
		spec.Sensors[sim.PowerInstant] = sensor
	}
	script, err := sim.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return &world{Load: load.On(script.Boards()[0], rng, origin), spec: spec, poll: 20 * time.Millisecond}
}

func (w *world) sensor() schema.Sensor { return w.Board().Board().Power }

func (w *world) limit() schema.Opt[float32] { return w.Board().Board().PowerLimitW }

// segments are the load's stages, as the model takes them.
func (w *world) segments() []Segment {
	segments := make([]Segment, len(w.Stages))
	for i, s := range w.Stages {
		segments[i] = Segment{FromNS: s.FromNS, ToNS: s.ToNS, Idle: s.Stage == schema.StageIdle, Kind: s.Kind}
	}
	return segments
}

// read reads the sensor over the whole time and places what it said.
func (w *world) read(t testing.TB) []Update { return w.updates(t).Located() }

// updates reads the sensor over the whole time, at the sampler's rhythm.
func (w *world) updates(t testing.TB) *Updates {
	t.Helper()
	updates := NewUpdates(w.spec.Sensors[sim.PowerInstant].Period)
	err := w.ReadSwaying(w.poll, sampler.LanePower, func(at int64, r *schema.Reading) {
		if w.Rand.Float64() >= w.deaf && r.PowerInstantW.OK {
			updates.Add(at, at, r.PowerInstantW.V)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return updates
}

func (w *world) fit(t testing.TB, sensor schema.Sensor) *Model {
	t.Helper()
	m, ok := Fit(sensor, w.limit(), w.read(t), w.segments())
	if !ok {
		t.Fatal("no model")
	}
	return m
}

func (w *world) truth(t testing.TB, stages ...int) float64 {
	t.Helper()
	joules, err := w.EnergyJ(stages...)
	if err != nil {
		t.Fatal(err)
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
