package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// unlike are boards whose instant power sensors differ, all under one load.
func unlike(t *testing.T) (specs []Spec) {
	t.Helper()
	c, err := catalog.BoardByName("A10")
	if err != nil {
		t.Fatal(err)
	}
	const ms = time.Millisecond
	for i, s := range []SensorSpec{
		{Period: 20 * ms, Window: 10 * ms},
		{Period: 50 * ms, Window: 50 * ms},
		{Period: 100 * ms, Window: 25 * ms},
		{Period: 100 * ms, Window: 100 * ms},
		{Period: 167 * ms, Window: 25 * ms},
		{Period: 100 * ms, Window: 25 * ms, Jitter: 5 * ms},
		{Period: 20 * ms, Window: 10 * ms, Jitter: 2 * ms},
	} {
		spec := Describe(c, i)
		s.Phase, s.Gain, s.NoiseW = time.Duration(3+7*i)*ms, 1, powerNoiseW
		spec.Sensors[PowerInstant] = s
		specs = append(specs, spec)
	}
	return specs
}

// wave writes a square wave of random pauses and requests into the near future of boards: some 60 edges in 4 s, so that
// the windows of any phase see enough of them.
func wave(boards []*Board, length time.Duration) (work []sampler.Work) {
	random := rand.New(rand.NewPCG(1, 2))
	start := clock.Now()
	for at := start; at < start+int64(length); {
		for _, b := range boards {
			b.Set(at, 50, 0, 0)
		}
		work = append(work, sampler.Work{FromNS: at, Stage: schema.StageIdle})
		at += int64(20e6 + random.Float64()*90e6)
		for _, b := range boards {
			b.Set(at, 140, 0.98, 0.5)
		}
		work = append(work, sampler.Work{FromNS: at, Stage: schema.StageDecode})
		at += int64(20e6 + random.Float64()*90e6)
	}
	return work
}

func TestCalibrationFindsTheSensorsOfABoardFromFourSeconds(t *testing.T) {
	script, err := New(unlike(t)...)
	if err != nil {
		t.Fatal(err)
	}
	boards := script.Boards()
	readers := make([]sampler.FieldReader, len(boards))
	for i, b := range boards {
		readers[i] = b
	}
	work := wave(boards, sampler.CalibrationLength+time.Second)
	observed, err := sampler.Observe(t.Context(), readers, sampler.CalibrationLength, sampler.DefaultPatience)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range observed {
		truth, c := boards[i].Spec().Sensors, o.Calibration(work)
		name := fmt.Sprintf("%v/%v jitter %v", truth[PowerInstant].Period, truth[PowerInstant].Window, truth[PowerInstant].Jitter)
		t.Logf("%s: %+v", name, c.PowerInstant)
		for _, f := range []struct {
			which Sensor
			got   schema.FieldCalibration
		}{{PowerInstant, c.PowerInstant}, {PowerAverage, c.PowerAverage}, {EnergyCounter, c.Energy}, {GPUUtilization, c.Utilization}} {
			if off := float64(f.got.Period)/float64(truth[f.which].Period) - 1; math.Abs(off) > 0.01 {
				t.Errorf("%s: sensor %d: period %v, want %v", name, f.which, f.got.Period, truth[f.which].Period)
			}
			if f.got.CallP50 <= 0 || f.got.CallP99 < f.got.CallP50 || f.got.Reads < 200 {
				t.Errorf("%s: sensor %d: %+v", name, f.which, f.got)
			}
		}
		if off := (c.PowerInstant.Window - truth[PowerInstant].Window).Abs(); off > 2*c.PowerInstant.WindowError || c.PowerInstant.Window == 0 {
			t.Errorf("%s: window %v ± %v", name, c.PowerInstant.Window, c.PowerInstant.WindowError)
		}
		if !sampler.Calibrated(boards[i].Board().Power, c.PowerAverage).Average || sampler.Calibrated(boards[i].Board().Power, c.PowerInstant).Average {
			t.Errorf("%s: windows of %v and %v: which is a running average?", name, c.PowerInstant.Window, c.PowerAverage.Window)
		}
	}
}
