package sim

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

func read(t *testing.T, b *Board, atNS int64, lanes sampler.Lane) (r schema.Reading) {
	t.Helper()
	if err := b.ReadAt(atNS, lanes, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryCatalogBoardCanBeSimulatedAndSaysSo(t *testing.T) {
	seen := map[string]bool{}
	for i, c := range catalog.Boards() {
		about := NewBoard(c, i).Board()
		if about.Name != "sim-"+c.Name || !about.Simulated || about.Power.Provenance != sampler.ProvenanceSimulated {
			t.Errorf("%+v does not say that it is simulated", about)
		}
		if about.Architecture != c.Architecture || about.Power.Period == 0 || about.Power.Window == 0 {
			t.Errorf("%s: %+v", c.Name, about)
		}
		if len(about.UUID) != len("GPU-00000000-0000-0000-0000-000000000000") || seen[about.UUID] {
			t.Errorf("%s: UUID %q", c.Name, about.UUID)
		}
		seen[about.UUID] = true
		if again := NewBoard(c, i).Board(); again.UUID != about.UUID {
			t.Errorf("%s: another UUID the second time", c.Name)
		}
		if NewBoard(c, i+1).Board().UUID == about.UUID {
			t.Errorf("%s: the same UUID at another index", c.Name)
		}
	}
}

func TestABoardAtRestShowsItsIdlePower(t *testing.T) {
	for _, c := range catalog.Boards() {
		b := NewBoard(c, 0)
		r := read(t, b, startNS(b)+5e9, sampler.AllLanes)
		if !r.PowerInstantW.OK || float64(r.PowerInstantW.V) < c.IdleW-1 || float64(r.PowerInstantW.V) > c.IdleW+1 {
			t.Errorf("%s: %+v W, idle is %v", c.Name, r.PowerInstantW, c.IdleW)
		}
		if r.GPUUtilPct != schema.Some[int32](0) || r.Throttle != schema.Some[int64](reasonIdle) {
			t.Errorf("%s: utilisation %+v, reasons %+v", c.Name, r.GPUUtilPct, r.Throttle)
		}
	}
}

func TestLanesReadWhatBelongsToThem(t *testing.T) {
	b := testBoard(t, "H100-SXM")
	at := startNS(b)
	b.Set(at, 650, 1, 0.3)
	b.SetMemoryUsed(20e9)
	none := schema.Reading{}

	r := read(t, b, at+2e9, sampler.LanePower)
	if !r.PowerInstantW.OK {
		t.Error("no power")
	}
	r.PowerInstantW = none.PowerInstantW
	if r != none {
		t.Errorf("the power lane also reads %+v", r)
	}

	r = read(t, b, at+2e9, sampler.LaneUtilization)
	if r.GPUUtilPct.V != 100 || r.MemoryUtilPct.V != 30 || !r.PowerAverageW.OK {
		t.Errorf("utilisation lane: %+v", r)
	}

	r = read(t, b, at+3e9, sampler.LaneSlow)
	if r.MemoryUsedB.V != 20e9 || r.PState != schema.Some[int32](0) || r.SMClockMHz.V != 1980 || r.PowerLimitW.V != 700 {
		t.Errorf("slow lane: %+v", r)
	}
	if hot := r.TemperatureC.V; hot <= int32(ambientC) || r.MemoryTempC.V != hot+memoryWarmerC {
		t.Errorf("temperatures %+v and %+v", r.TemperatureC, r.MemoryTempC)
	}
}

func TestGPMIsTheMeanBetweenTwoSamplesAtLeast100MillisecondsApart(t *testing.T) {
	b := testBoard(t, "H100-SXM")
	at := startNS(b)
	b.Set(at+500e6, 700, 1, 0)
	if r := read(t, b, at, sampler.LaneGPM); r.SMActive.OK {
		t.Errorf("a first sample has no interval: %+v", r.SMActive)
	}
	if r := read(t, b, at+99e6, sampler.LaneGPM); r.SMActive.OK {
		t.Errorf("99 ms are too short: %+v", r.SMActive)
	}
	r := read(t, b, at+1000e6, sampler.LaneGPM)
	if want := 0.5 * 0.95; !r.SMActive.OK || r.SMActive.V < want-1e-6 || r.SMActive.V > want+1e-6 {
		t.Errorf("SM active %+v, want %v: idle for half of the interval", r.SMActive, want)
	}
	if a10 := testBoard(t, "A10"); read(t, a10, at, sampler.LaneGPM).SMActive.OK || read(t, a10, at+1e9, sampler.LaneGPM).SMActive.OK {
		t.Error("an A10 has no GPM")
	}
}

func TestUnsupportedSensorsAreAbsent(t *testing.T) {
	ga100 := testBoard(t, "A100-80")
	if r := read(t, ga100, startNS(ga100)+2e9, sampler.AllLanes); r.PowerAverageW.OK || !r.PowerInstantW.OK {
		t.Errorf("GA100: average %+v, instant %+v", r.PowerAverageW, r.PowerInstantW)
	}
	spec := Describe(catalog.Boards()[3], 0)
	spec.MIG = schema.Some(true)
	s, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	mig := s.Boards()[0]
	if r := read(t, mig, startNS(mig)+2e9, sampler.AllLanes); r.GPUUtilPct.OK || !r.PowerInstantW.OK {
		t.Errorf("MIG: utilisation %+v, power %+v", r.GPUUtilPct, r.PowerInstantW)
	}
}

func TestFaultsHitWhatTheyNameWhileTheyLast(t *testing.T) {
	b := testBoard(t, "A10")
	at := startNS(b)
	for _, f := range []Fault{
		{Function: FieldValues, Field: fieldPowerInstant, Scope: EveryScope, Return: 999, FromNS: at + 10e9, ToNS: at + 11e9},
		{Function: UtilizationRates, Return: 9, FromNS: at + 20e9, ToNS: at + 21e9},
		{Function: FieldValues, Return: 999, FromNS: at + 30e9, ToNS: at + 31e9},
		{Function: EveryFunction, Return: 15, FromNS: at + 40e9, ToNS: at + 41e9},
	} {
		if err := b.AddFault(f); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		at                int64
		instant, avg, use bool
	}{{9, true, true, true}, {10, false, true, true}, {11, true, true, true}, {20, true, true, false}, {30, false, false, true}, {41, true, true, true}} {
		r := read(t, b, at+c.at*1e9, sampler.LanePower|sampler.LaneUtilization)
		if r.PowerInstantW.OK != c.instant || r.PowerAverageW.OK != c.avg || r.GPUUtilPct.OK != c.use {
			t.Errorf("at %d s: instant %t, average %t, utilisation %t", c.at, r.PowerInstantW.OK, r.PowerAverageW.OK, r.GPUUtilPct.OK)
		}
	}
	var r schema.Reading
	if err := b.ReadAt(at+40e9, sampler.LanePower, &r); !errors.Is(err, sampler.ErrBoardLost) {
		t.Errorf("lost board: %v", err)
	}
}

func TestAScriptIsPutInPlaceWholeAndRefusesWhatItCannotHold(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run.script")
	c := catalog.Boards()[0]
	s, err := Create(path, Describe(c, 0), Describe(c, 1))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Boards()) != 2 || s.Boards()[1].Board().Index != 1 {
		t.Errorf("boards: %v", s.Boards())
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != int64(size(2)) {
		t.Errorf("%v, %v", info, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}

	bad := Describe(c, 0)
	bad.Sensors = map[Sensor]SensorSpec{PowerInstant: {Period: 0}}
	many := Describe(c, 0)
	many.Faults = make([]Fault, maxFaults+1)
	for name, specs := range map[string][]Spec{"no boards": nil, "a sensor without a period": {bad}, "too many faults": {many}, "no power limit": {{}}} {
		if _, err := Create(filepath.Join(dir, "bad.script"), specs...); err == nil {
			t.Errorf("%s: made a script", name)
		}
	}
	if _, err := Create(filepath.Join(dir, "missing", "run.script"), Describe(c, 0)); err == nil || !strings.Contains(err.Error(), "creating script") {
		t.Errorf("in a missing folder: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".script-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCallsCostWhatTheSpecSays(t *testing.T) {
	spec := Describe(catalog.Boards()[0], 0)
	spec.CallCost = 2 * time.Millisecond
	s, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	read(t, s.Boards()[0], startNS(s.Boards()[0]), sampler.LanePower)
	if took := time.Since(start); took < spec.CallCost {
		t.Errorf("one field took %v, want at least %v", took, spec.CallCost)
	}
}

func BenchmarkRead(b *testing.B) {
	board := testBoard(b, "H100-SXM")
	at := startNS(board)
	for i := range int64(eventCapacity) {
		board.Set(at+i*1e6, float64(100+i%500), 1, 0.5)
	}
	for _, c := range []struct {
		name  string
		lanes sampler.Lane
	}{{"power", sampler.LanePower}, {"all", sampler.AllLanes}} {
		b.Run(c.name, func(b *testing.B) {
			var r schema.Reading
			b.ReportAllocs()
			for i := int64(0); b.Loop(); i++ {
				if err := board.ReadAt(at+i%eventCapacity*1e6, c.lanes, &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSet(b *testing.B) {
	board := testBoard(b, "A10")
	at := startNS(board)
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		board.Set(at+i, 100, 1, 0.5)
	}
}
