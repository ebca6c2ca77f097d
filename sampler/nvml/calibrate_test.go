package nvml

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

// Boards with unlike sensors behind the C fake, one of them jittered, one with an energy counter that is dear to read.
func TestCalibrationFindsTheSensorsThroughNVML(t *testing.T) {
	const ms = time.Millisecond
	sensors := []sim.SensorSpec{
		{Period: 20 * ms, Window: 10 * ms, Phase: 3 * ms, Gain: 1, NoiseW: 0.5},
		{Period: 100 * ms, Window: 25 * ms, Jitter: 4 * ms, Phase: 13 * ms, Gain: 1, NoiseW: 0.5},
		{Period: 167 * ms, Window: 100 * ms, Phase: 23 * ms, Gain: 1, NoiseW: 0.5},
	}
	var specs []sim.Spec
	for i, s := range sensors {
		board := spec(t, "H100-SXM", i)
		board.Sensors[sim.PowerInstant] = s
		board.CallCost = 5 * time.Microsecond
		specs = append(specs, board)
	}
	const dear = 500 * time.Microsecond
	specs[2].Faults = []sim.Fault{{Function: sim.FieldValues, Field: 83, Scope: sim.EveryScope, Extra: dear}}
	l, s := openFake(t, specs...)
	var readers []sampler.FieldReader
	for _, b := range l.Boards() {
		readers = append(readers, b)
	}
	random := rand.New(rand.NewPCG(3, 4))
	var work []sampler.Work
	for at := clock.Now(); at < clock.Now()+5e9; {
		for i, stage := range []schema.Stage{schema.StageIdle, schema.StageDecode} {
			for _, b := range s.Boards() {
				b.Set(at, 100+float64(i)*400, float64(i), 0.5*float64(i))
			}
			work = append(work, sampler.Work{FromNS: at, Stage: stage})
			at += int64(20e6 + random.Float64()*90e6)
		}
	}
	observed, err := sampler.Observe(t.Context(), readers, sampler.CalibrationLength, sampler.DefaultPatience)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range observed {
		c, want := o.Calibration(work), sensors[i]
		t.Logf("%+v", c)
		if off := float64(c.PowerInstant.Period)/float64(want.Period) - 1; math.Abs(off) > 0.01 {
			t.Errorf("period %v, want %v", c.PowerInstant.Period, want.Period)
		}
		if off := (c.PowerInstant.Window - want.Window).Abs(); off > 2*c.PowerInstant.WindowError || c.PowerInstant.Window == 0 {
			t.Errorf("window %v ± %v, want %v", c.PowerInstant.Window, c.PowerInstant.WindowError, want.Window)
		}
		for name, f := range map[string]schema.FieldCalibration{"average power": c.PowerAverage, "energy": c.Energy} {
			if off := float64(f.Period)/100e6 - 1; math.Abs(off) > 0.01 || f.CallP50 < 5*time.Microsecond {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if off := float64(c.Utilization.Period)/200e6 - 1; math.Abs(off) > 0.01 {
			t.Errorf("utilisation: %+v", c.Utilization)
		}
	}
	if c := observed[2].Calibration(nil); c.Energy.CallP50 < dear || c.Energy.Reads > int64(sampler.CalibrationLength/(10*dear)) || c.PowerInstant.Window != 0 {
		t.Errorf("a dear energy counter: %+v; without a load the window is %v", c.Energy, c.PowerInstant.Window)
	}
}

func TestCalibrationGoesOnWithoutALostBoard(t *testing.T) {
	lost, well := spec(t, "A100-80", 0), spec(t, "A100-80", 1)
	lost.Faults = []sim.Fault{{Function: sim.UtilizationRates, Return: gpuIsLost}}
	l, _ := openFake(t, lost, well)
	observed, err := sampler.Observe(t.Context(), []sampler.FieldReader{l.Boards()[0], l.Boards()[1]}, time.Second, sampler.DefaultPatience)
	if err != nil {
		t.Fatal(err)
	}
	gone, there := observed[0].Calibration(nil), observed[1].Calibration(nil)
	if gone.PowerInstant.Reads != 1 || gone.PowerInstant.Period != 0 || math.Abs(float64(there.PowerInstant.Period)/100e6-1) > 0.01 {
		t.Errorf("lost: %+v, well: %+v", gone.PowerInstant, there.PowerInstant)
	}
	if there.PowerAverage != (schema.FieldCalibration{}) {
		t.Errorf("a sensor that the board does not have: %+v", there.PowerAverage)
	}
	if _, err := sampler.Observe(t.Context(), []sampler.FieldReader{l.Boards()[0]}, time.Minute, sampler.DefaultPatience); !errors.Is(err, sampler.ErrBoardLost) {
		t.Errorf("with every board lost: %v", err)
	}
}

func TestTheGovernorSeesSlowCallsThroughNVML(t *testing.T) {
	const usual, slow = 20 * time.Microsecond, 400 * time.Microsecond
	board := spec(t, "A100-80", 0)
	board.CallCost = usual
	l, s := openFake(t, board)
	devices, err := l.Select("auto")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := sampler.PlanFor([]schema.Board{devices[0].Board()}, 0)
	if err != nil {
		t.Fatal(err)
	}
	slowFrom := clock.Now() + 2e9
	if err := s.Boards()[0].AddFault(sim.Fault{Function: sim.FieldValues, FromNS: slowFrom, Extra: slow - usual}); err != nil {
		t.Fatal(err)
	}
	run, err := sampler.New(devices, plan, discard{})
	if err != nil {
		t.Fatal(err)
	}
	run.Govern(sampler.DefaultBudget)
	ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
	defer cancel()
	stats, err := run.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	changes := stats.Boards[0].Changes
	t.Log(changes, stats.CPU)
	if len(changes) == 0 || changes[0].AtNS < slowFrom || changes[0].From != plan.Power || changes[0].To != 2*plan.Power {
		t.Errorf("calls became slow at %d; changes %v", slowFrom, changes)
	}
	if stats.CPU <= 0 || stats.CPU > stats.Elapsed {
		t.Errorf("the thread used %v of CPU in %v", stats.CPU, stats.Elapsed)
	}
}
