package nvml

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	gonvml "github.com/NVIDIA/go-nvml/pkg/nvml"
	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

// gpuIsLost is NVML_ERROR_GPU_IS_LOST.
const gpuIsLost = int32(gonvml.ERROR_GPU_IS_LOST)

var deadFromTheStart = []sim.Fault{{Function: sim.EveryFunction, Return: gpuIsLost}}

func TestBoardsDescribeThemselvesAsTheyWereMade(t *testing.T) {
	var specs []sim.Spec
	for i, c := range catalog.Boards() {
		specs = append(specs, sim.Describe(c, i))
	}
	l, s := openFake(t, specs...)
	for i, b := range l.Boards() {
		got, want := b.Board(), s.Boards()[i].Board()
		if !strings.HasPrefix(got.Power.Provenance, "table:") && got.Architecture != sampler.Blackwell {
			t.Errorf("%s: power sensor %+v", got.Name, got.Power)
		}
		if got.Power.GainError != 0 {
			t.Errorf("%s shows the truth, and is taken to be %v off", got.Name, got.Power.GainError)
		}
		got.Power, want.Power = schema.Sensor{}, schema.Sensor{}
		if got != want {
			t.Errorf("through NVML\n%+v\nas made\n%+v", got, want)
		}
	}
}

// The same script, read in process and through the C fake, shows the same values at the same instants. The history is
// written ahead of the readings, so that both see all of it.
func TestTheFakeShowsWhatTheSimulationShows(t *testing.T) {
	grace := withMemoryPower(spec(t, "H100-SXM", 0))
	grace.Name, grace.ModulePower = "sim-GH200", true
	for _, shaky := range []sim.Spec{spec(t, "A10", 0), spec(t, "A100-80", 0), spec(t, "H100-SXM", 0), grace} {
		t.Run(shaky.Name, func(t *testing.T) {
			for which, sensor := range shaky.Sensors {
				sensor.Jitter = sensor.Period / 10
				shaky.Sensors[which] = sensor
			}
			l, s := openFake(t, shaky)
			b, simulated := l.Boards()[0], s.Boards()[0]
			random := rand.New(rand.NewPCG(1, 2))
			for at := clock.Now(); at < clock.Now()+5e9; at += int64(random.ExpFloat64() * 20e6) {
				simulated.Set(at, random.Float64()*300, random.Float64(), random.Float64())
			}
			simulated.SetMemoryUsed(12_345_678_901)
			compared := 0
			for range 300 {
				clock.SleepUntil(clock.Now() + 1e6)
				var got, before, after schema.Reading
				from := clock.Now()
				read(t, b, &got)
				to := clock.Now()
				lanes := sampler.AllLanes &^ sampler.LaneGPM
				if err := errors.Join(simulated.ReadAt(from, lanes, &before), simulated.ReadAt(to, lanes, &after)); err != nil {
					t.Fatal(err)
				}
				if before != after {
					continue // some sensor was renewed meanwhile
				}
				compared++
				if got != before {
					t.Fatalf("through the fake\n%+v\nin process\n%+v", got, before)
				}
			}
			if compared < 100 {
				t.Errorf("only %d readings fell between two updates", compared)
			}
		})
	}
}

func read(t *testing.T, b *Board, r *schema.Reading) {
	t.Helper()
	if err := b.Read(sampler.AllLanes&^sampler.LaneGPM, r); err != nil {
		t.Fatal(err)
	}
}

func TestGPMReadsActivityOnHopperOnly(t *testing.T) {
	l, s := openFake(t, spec(t, "H100-SXM", 0), spec(t, "A10", 1))
	for _, b := range s.Boards() {
		b.Set(clock.Now(), 700, 1, 0.5)
	}
	hopper, a10 := l.Boards()[0], l.Boards()[1]
	var first, early, second, none schema.Reading
	for _, r := range []*schema.Reading{&first, &early, &second} {
		if r == &second {
			clock.SleepUntil(hopper.gpm.takenNS + gpmShortestNS + 1e6)
		}
		if err := errors.Join(hopper.Read(sampler.LaneGPM, r), a10.Read(sampler.LaneGPM, &none)); err != nil {
			t.Fatal(err)
		}
	}
	if first.SMActive.OK || early.SMActive.OK || none.SMActive.OK {
		t.Errorf("first %+v, early %+v, A10 %+v: want none", first.SMActive, early.SMActive, none.SMActive)
	}
	for _, c := range []struct {
		name string
		got  schema.Opt[float64]
		want float64
	}{{"SM", second.SMActive, 0.95}, {"tensor", second.TensorActive, 0.6}, {"DRAM", second.DRAMActive, 0.46}} {
		if !c.got.OK || c.got.V < c.want-1e-6 || c.got.V > c.want+1e-6 {
			t.Errorf("%s activity %+v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestWhatTheBoardDoesNotSupportIsAskedOnce(t *testing.T) {
	a100 := spec(t, "A100-80", 0)
	a100.Faults = []sim.Fault{
		{Function: sim.UtilizationRates, Return: int32(gonvml.ERROR_NOT_SUPPORTED)},
		{Function: sim.FieldValues, Field: gonvml.FI_DEV_MEMORY_TEMP, Scope: sim.EveryScope, Return: int32(gonvml.ERROR_INVALID_ARGUMENT)},
	}
	l, _ := openFake(t, a100)
	b := l.Boards()[0]
	var r schema.Reading
	read(t, b, &r)
	if r.GPUUtilPct.OK || r.PowerAverageW.OK || r.MemoryTempC.OK || !r.PowerInstantW.OK || !r.EnergyTotalJ.OK {
		t.Errorf("read %+v", r)
	}
	if b.functions[utilizationRates] != nil || !b.fields.all[powerAverage].off || !b.fields.all[memoryTemperature].off {
		t.Error("would ask again")
	}
	if got := b.fields.request(sampler.AllLanes); len(got) != 2 {
		t.Errorf("asks for %d fields, want instant power and energy", len(got))
	}
}

func TestAPassingErrorIsAbsentAndAskedAgain(t *testing.T) {
	l, s := openFake(t, spec(t, "A10", 0))
	b := l.Boards()[0]
	end := clock.Now() + 200e6
	for _, f := range []sim.Fault{
		{Function: sim.FieldValues, Field: gonvml.FI_DEV_POWER_INSTANT, Scope: sim.EveryScope, Return: int32(gonvml.ERROR_UNKNOWN), ToNS: end},
		{Function: sim.Temperature, Return: int32(gonvml.ERROR_TIMEOUT), ToNS: end},
	} {
		if err := s.Boards()[0].AddFault(f); err != nil {
			t.Fatal(err)
		}
	}
	var during, after schema.Reading
	read(t, b, &during)
	if clock.Now() < end && (during.PowerInstantW.OK || during.TemperatureC.OK || !during.EnergyTotalJ.OK) {
		t.Errorf("during: %+v", during)
	}
	clock.SleepUntil(end + 1e6)
	read(t, b, &after)
	if !after.PowerInstantW.OK || !after.TemperatureC.OK {
		t.Errorf("after: %+v", after)
	}
}

func TestGPMAfterAPauseBeginsAgain(t *testing.T) {
	l, _ := openFake(t, spec(t, "H100-SXM", 0))
	b := l.Boards()[0]
	var first, late, next schema.Reading
	for _, r := range []*schema.Reading{&first, &late, &next} {
		if r == &late {
			b.gpm.takenNS -= gpmLongestNS // as if the first had been so long ago
		}
		clock.SleepUntil(b.gpm.takenNS + gpmShortestNS + 1e6)
		if err := b.Read(sampler.LaneGPM, r); err != nil {
			t.Fatal(err)
		}
	}
	if late.SMActive.OK || !next.SMActive.OK {
		t.Errorf("after the pause %+v, then %+v", late.SMActive, next.SMActive)
	}
}

func TestALostBoardSaysSoWhicheverCallNotices(t *testing.T) {
	for _, code := range []gonvml.Return{gonvml.ERROR_GPU_IS_LOST, gonvml.ERROR_RESET_REQUIRED, gonvml.ERROR_IRQ_ISSUE} {
		for _, fn := range []sim.Function{sim.EveryFunction, sim.FieldValues, sim.UtilizationRates, sim.MemoryInfo} {
			l, s := openFake(t, spec(t, "A10", 0))
			if err := s.Boards()[0].AddFault(sim.Fault{Function: fn, Return: int32(code)}); err != nil {
				t.Fatal(err)
			}
			var r schema.Reading
			err := l.Boards()[0].Read(sampler.AllLanes, &r)
			if !errors.Is(err, sampler.ErrBoardLost) || !errors.Is(err, code) || !strings.Contains(err.Error(), l.Boards()[0].Board().UUID) {
				t.Errorf("code %d by function %d: %v", int(code), fn, err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// stream is a sink that remembers the last reading of each board.
type stream struct {
	cancel context.CancelFunc
	stopNS int64
	last   [2]schema.Reading
}

func (s *stream) Push(r *schema.Reading) bool {
	s.last[r.Board] = *r
	if r.StartNS >= s.stopNS {
		s.cancel()
	}
	return true
}

func TestABoardLostInMidRunLeavesTheOthersGoing(t *testing.T) {
	l, s := openFake(t, spec(t, "A10", 0), spec(t, "L4", 1))
	devices, err := l.Select("auto")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := sampler.PlanFor([]schema.Board{devices[0].Board(), devices[1].Board()}, 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	gone := clock.Now() + 50e6
	if err := s.Boards()[0].AddFault(sim.Fault{Function: sim.EveryFunction, Return: gpuIsLost, FromNS: gone}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	sink := &stream{cancel: cancel, stopNS: gone + 200e6}
	run, err := sampler.New(devices, plan, sink)
	if err != nil {
		t.Fatal(err)
	}
	stats, err := run.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if lost := stats.Boards[0]; lost.Losses != 1 || !lost.LostNow || sink.last[0].StartNS >= gone {
		t.Errorf("lost board: %+v, last read %d ns after it was gone", lost, sink.last[0].StartNS-gone)
	}
	if well := stats.Boards[1]; well.Losses != 0 || sink.last[1].StartNS < gone {
		t.Errorf("the other board: %+v", well)
	}
}

func TestAReadingAllocatesNothing(t *testing.T) {
	l, _ := openFake(t, spec(t, "H100-SXM", 0))
	b := l.Boards()[0]
	var r schema.Reading
	if n := testing.AllocsPerRun(200, func() {
		b.gpm.takenNS = clock.Now() - gpmShortestNS // so that metrics are asked for each time
		if err := b.Read(sampler.AllLanes, &r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a reading", n)
	}
}

func TestProbeTellsWhatAnswersAndHowOftenItChanges(t *testing.T) {
	l, s := openFake(t, spec(t, "A100-80", 0))
	for at := clock.Now(); at < clock.Now()+3e9; at += 30e6 {
		s.Boards()[0].Set(at, float64(100+at%200), 1, 0.5)
	}
	answers, err := l.Boards()[0].Probe(t.Context(), 600*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]Answer{}
	for _, a := range answers {
		by[a.Sensor] = a
	}
	instant, average, usage := by["instant power (field 186)"], by["average power (field 185)"], by["power usage"]
	if !instant.Value.OK || instant.Value.V < 50 || instant.Code != 0 || instant.Reads < 2 || instant.Changes == 0 || instant.Cost <= 0 {
		t.Errorf("instant power: %+v", instant)
	}
	if instant.Changes > 12 {
		t.Errorf("instant power changed %d times in 0.6 s, its period is 100 ms", instant.Changes)
	}
	if average.Value.OK || average.Code != int(gonvml.ERROR_NOT_SUPPORTED) || average.Reads != 1 || average.Text != "Not Supported" {
		t.Errorf("average power on GA100: %+v", average)
	}
	if !usage.Value.OK || by["GPM SM active"].Value.OK {
		t.Errorf("power usage %+v, GPM %+v", usage, by["GPM SM active"])
	}
}

func TestDecodeFollowsTheTypeThatTheDriverNames(t *testing.T) {
	for _, c := range []struct {
		typ   gonvml.ValueType
		bytes [8]byte
		want  float64
		ok    bool
	}{
		{gonvml.VALUE_TYPE_DOUBLE, [8]byte{6: 0xf8, 7: 0x3f}, 1.5, true},
		{gonvml.VALUE_TYPE_DOUBLE, [8]byte{6: 0xf8, 7: 0x7f}, 0, false}, // NaN
		{gonvml.VALUE_TYPE_UNSIGNED_INT, [8]byte{0xff, 0xff, 0xff, 0xff, 1}, 4294967295, true},
		{gonvml.VALUE_TYPE_UNSIGNED_LONG_LONG, [8]byte{4: 1}, 4294967296, true},
		{gonvml.VALUE_TYPE_SIGNED_LONG_LONG, [8]byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, -2, true},
		{gonvml.VALUE_TYPE_SIGNED_INT, [8]byte{0xfe, 0xff, 0xff, 0xff}, -2, true},
		{gonvml.VALUE_TYPE_UNSIGNED_SHORT, [8]byte{1, 2, 3}, 513, true},
		{gonvml.VALUE_TYPE_COUNT, [8]byte{1}, 0, false},
	} {
		got, ok := decode(&gonvml.FieldValue{ValueType: uint32(c.typ), Value: c.bytes})
		if ok != c.ok || ok && got != c.want {
			t.Errorf("type %d of %v = %v, %t; want %v, %t", c.typ, c.bytes, got, ok, c.want, c.ok)
		}
	}
}

func TestAFieldValueIsNeverZeroNorMoreThanWasSaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := gonvml.FieldValue{
			ValueType: rapid.Uint32Range(0, 8).Draw(t, "type"),
			Value:     [8]byte(rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "bytes")),
		}
		which := rapid.IntRange(0, fieldCount-1).Draw(t, "field")
		var r schema.Reading
		store(which, &v, &r)
		if r.PowerInstantW.OK && r.PowerInstantW.V <= 0 || r.PowerAverageW.OK && r.PowerAverageW.V <= 0 || r.EnergyTotalJ.OK && r.EnergyTotalJ.V <= 0 {
			t.Fatalf("field %d of type %d: %+v", which, v.ValueType, r)
		}
	})
}

func TestArchitectures(t *testing.T) {
	for _, c := range []struct {
		major, minor int
		want         string
	}{{6, 0, "pascal"}, {6, 1, "pascal"}, {7, 0, "volta"}, {7, 5, "turing"}, {8, 0, "ampere-ga100"}, {8, 6, "ampere-ga10x"}, {8, 9, "ada"}, {9, 0, "hopper"}, {10, 0, "blackwell"}, {12, 0, "blackwell"}, {5, 2, "unknown"}, {13, 0, "unknown"}} {
		if got := architectureOfCapability(c.major, c.minor); got != c.want {
			t.Errorf("capability %d.%d is %s, want %s", c.major, c.minor, got, c.want)
		}
	}
	ampere := schema.Some[gonvml.DeviceArchitecture](gonvml.DEVICE_ARCH_AMPERE)
	for name, want := range map[string]string{
		"NVIDIA A100-SXM4-80GB": "ampere-ga100", "NVIDIA A30": "ampere-ga100", "NVIDIA A800 80GB PCIe": "ampere-ga100",
		"NVIDIA A10": "ampere-ga10x", "NVIDIA RTX A3000 Laptop GPU": "ampere-ga10x", "NVIDIA GeForce RTX 3090": "ampere-ga10x", "NVIDIA RTX A1000": "ampere-ga10x",
	} {
		if got := architectureOfChip(ampere, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got := architectureOfChip(schema.Opt[gonvml.DeviceArchitecture]{}, "NVIDIA H100"); got != "unknown" {
		t.Errorf("without a word from the driver: %s", got)
	}
}
