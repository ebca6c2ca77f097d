package nvml

import (
	"testing"

	gonvml "github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

func TestGraceHopperHasPowerAtTheScopeOfTheModule(t *testing.T) {
	grace := spec(t, "H100-SXM", 0)
	grace.ModulePower = true
	never := spec(t, "H100-SXM", 1)
	never.Faults = []sim.Fault{{Function: sim.FieldValues, Field: gonvml.FI_DEV_POWER_INSTANT, Scope: sim.EveryScope, Return: int32(gonvml.ERROR_NOT_SUPPORTED)}}
	l, _ := openFake(t, grace, never)
	var r schema.Reading
	read(t, l.Boards()[0], &r)
	if scope := l.Boards()[0].Board().PowerScope; !r.PowerInstantW.OK || !r.PowerAverageW.OK || scope != schema.PowerScopeModule {
		t.Errorf("power %+v, average %+v, of the %q", r.PowerInstantW, r.PowerAverageW, scope)
	}
	r = schema.Reading{}
	read(t, l.Boards()[1], &r)
	if scope := l.Boards()[1].Board().PowerScope; r.PowerInstantW.OK || !r.PowerAverageW.OK || scope != schema.PowerScopeGPU {
		t.Errorf("without field 186: %+v, scope %q; nothing else may take its place", r, scope)
	}
}

// The scope is settled before the run states it: what is not supported later is absent, not something else's power.
func TestThePowerScopeNeverChangesAfterwards(t *testing.T) {
	l, s := openFake(t, spec(t, "H100-SXM", 0))
	b := l.Boards()[0]
	if err := s.Boards()[0].AddFault(sim.Fault{Function: sim.FieldValues, Field: gonvml.FI_DEV_POWER_INSTANT, Scope: 0, Return: int32(gonvml.ERROR_NOT_SUPPORTED)}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var r schema.Reading
		read(t, b, &r)
		if r.PowerInstantW.OK || b.fields.all[powerInstant].scope != gonvml.POWER_SCOPE_GPU {
			t.Errorf("power %+v at scope %d", r.PowerInstantW, b.fields.all[powerInstant].scope)
		}
	}
}

func TestMemoryPowerIsReadWhereTheBoardTellsItApart(t *testing.T) {
	apart, ignoring := withMemoryPower(spec(t, "H100-SXM", 0)), withMemoryPower(spec(t, "H100-SXM", 1))
	// At idle this board's memory draws what all of it does: so answers a driver that knows no scopes.
	ignoring.IdleW = 0.03 * ignoring.PowerLimitW
	l, s := openFake(t, apart, ignoring, spec(t, "H100-SXM", 2))
	s.Boards()[0].Set(clock.Now(), 500, 1, 0.5)
	clock.SleepUntil(clock.Now() + int64(2*apart.Sensors[sim.PowerInstant].Period))
	for i, want := range []schema.Opt[float32]{schema.Some[float32](700 * (0.03 + 0.15*0.5)), {}, {}} {
		var r schema.Reading
		read(t, l.Boards()[i], &r)
		if r.MemoryPowerW != want || !r.PowerInstantW.OK {
			t.Errorf("board %d: memory power %+v, want %+v; power %+v", i, r.MemoryPowerW, want, r.PowerInstantW)
		}
	}
}

// withMemoryPower gives a board a sensor of its memory's power, both without noise.
func withMemoryPower(s sim.Spec) sim.Spec {
	exact := s.Sensors[sim.PowerInstant]
	exact.NoiseW = 0
	s.Sensors[sim.PowerInstant], s.Sensors[sim.PowerMemory] = exact, exact
	return s
}

// A virtual machine with a part of a board, by nvidia-smi's words N/A for all of its power.
func TestAVGPUSaysSoAndHasNoPower(t *testing.T) {
	part := spec(t, "A100-80", 0)
	part.Virtualization = schema.VirtualizationVGPU
	for _, which := range []sim.Sensor{sim.PowerInstant, sim.PowerAverage, sim.EnergyCounter} {
		delete(part.Sensors, which)
	}
	l, s := openFake(t, part)
	got, want := l.Boards()[0].Board(), s.Boards()[0].Board()
	if got.Virtualization != schema.VirtualizationVGPU || got.PowerScope != "" || got.PowerScope != want.PowerScope {
		t.Errorf("virtualization %q, power scope %q", got.Virtualization, got.PowerScope)
	}
	var r schema.Reading
	read(t, l.Boards()[0], &r)
	if r.PowerInstantW.OK || r.PowerAverageW.OK || r.EnergyTotalJ.OK || !r.GPUUtilPct.OK {
		t.Errorf("read %+v", r)
	}
}

func TestUtilisationOfABoardCutIntoInstancesIsAbsent(t *testing.T) {
	cut := spec(t, "A100-80", 0)
	cut.MIG = schema.Some(true)
	l, _ := openFake(t, cut)
	var r schema.Reading
	read(t, l.Boards()[0], &r)
	if l.Boards()[0].Board().MIG != schema.Some(true) || r.GPUUtilPct.OK || !r.PowerInstantW.OK {
		t.Errorf("MIG %+v, utilisation %+v, power %+v", l.Boards()[0].Board().MIG, r.GPUUtilPct, r.PowerInstantW)
	}
}
