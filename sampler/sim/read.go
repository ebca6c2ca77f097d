package sim

import (
	"fmt"
	"sync/atomic"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// Fields of nvmlDeviceGetFieldValues that boards have.
const (
	fieldMemoryTemp   = 82
	fieldEnergy       = 83
	fieldPowerAverage = 185
	fieldPowerInstant = 186
)

// Scopes of the power fields.
const (
	scopeGPU    = 0
	scopeModule = 1
	scopeMemory = 2
)

// gpmShortestNS is the shortest interval that GPM metrics are valid for; one longer than gpmLongestNS is not reported.
const (
	gpmShortestNS = 100e6
	gpmLongestNS  = 1e9
)

// Codes that mean that the board is gone: IRQ issue, GPU is lost, reset required.
func isLost(code int32) bool { return code == 11 || code == 15 || code == resetRequired }

const resetRequired = 16

// Read shows what the sensors show now.
func (b *Board) Read(lanes sampler.Lane, r *schema.Reading) error {
	return b.ReadAt(clock.Now(), lanes, r)
}

// ReadAt shows what the sensors show at an instant, as far as the timeline is known.
func (b *Board) ReadAt(atNS int64, lanes sampler.Lane, r *schema.Reading) error {
	b.lost = 0
	if lanes&sampler.LanePower != 0 {
		b.readPower(atNS, r)
	}
	if lanes&sampler.LaneUtilization != 0 {
		b.readUtilization(atNS, r)
	}
	if lanes&sampler.LaneGPM != 0 && b.spec.GPM {
		b.readGPM(atNS, r)
	}
	if lanes&sampler.LaneSlow != 0 {
		b.readSlow(atNS, r)
	}
	return b.loss()
}

// ReadField shows what one sensor shows now.
func (b *Board) ReadField(f sampler.Field, r *schema.Reading) error {
	b.lost = 0
	read := [...]func(int64, *schema.Reading){
		sampler.FieldPowerInstant: b.readPower, sampler.FieldPowerAverage: b.readAverage,
		sampler.FieldEnergy: b.readEnergy, sampler.FieldUtilization: b.readRates,
	}
	read[f](clock.Now(), r)
	return b.loss()
}

func (b *Board) loss() error {
	switch b.lost {
	case 0:
		return nil
	case resetRequired:
		return fmt.Errorf("reading %s: code %d: %w", b.spec.UUID, b.lost, sampler.ErrResetRequired)
	default:
		return fmt.Errorf("reading %s: code %d: %w", b.spec.UUID, b.lost, sampler.ErrBoardLost)
	}
}

// call spends the time of one call and says whether it succeeds.
func (b *Board) call(fn Function, atNS int64) bool { return b.callOf(fn, 0, 0, atNS) }

func (b *Board) callOf(fn Function, field uint32, scope int32, atNS int64) bool {
	code, costNS := b.facts.failure(fn, field, scope, atNS)
	if fn != FieldValues || field != 0 { // fields are charged one by one
		costNS += b.facts.CallNS
	}
	spend(costNS)
	if isLost(code) {
		b.lost = code
	}
	return code == 0
}

// field is call for one field of a nvmlDeviceGetFieldValues that may fail as a whole.
func (b *Board) field(id uint32, scope int32, atNS int64) bool {
	return b.call(FieldValues, atNS) && b.callOf(FieldValues, id, scope, atNS)
}

func (b *Board) has(which Sensor) bool { return b.facts.Sensors[which].Supported != 0 }

func (b *Board) readPower(atNS int64, r *schema.Reading) {
	if b.field(fieldPowerInstant, b.spec.powerScope(), atNS) && b.has(PowerInstant) {
		r.PowerInstantW = b.watts(PowerInstant, fieldPowerInstant, b.spec.powerScope(), atNS)
	}
	if b.has(PowerMemory) && b.field(fieldPowerInstant, scopeMemory, atNS) {
		r.MemoryPowerW = b.watts(PowerMemory, fieldPowerInstant, scopeMemory, atNS)
	}
}

func (b *Board) readUtilization(atNS int64, r *schema.Reading) {
	b.readAverage(atNS, r)
	b.readRates(atNS, r)
}

func (b *Board) readAverage(atNS int64, r *schema.Reading) {
	if b.field(fieldPowerAverage, b.spec.powerScope(), atNS) && b.has(PowerAverage) {
		r.PowerAverageW = b.watts(PowerAverage, fieldPowerAverage, b.spec.powerScope(), atNS)
	}
}

func (b *Board) readRates(atNS int64, r *schema.Reading) {
	if b.spec.MIG == schema.Some(true) || !b.has(GPUUtilization) {
		return
	}
	if b.call(UtilizationRates, atNS) {
		r.GPUUtilPct = schema.Some(b.truth.percent(GPUUtilization, gpuActive, atNS))
		r.MemoryUtilPct = schema.Some(b.truth.percent(MemoryUtilization, memActive, atNS))
	}
}

func (b *Board) readGPM(atNS int64, r *schema.Reading) {
	if b.gpm.atNS != 0 && atNS-b.gpm.atNS < gpmShortestNS || !b.call(GPMSample, atNS) {
		return
	}
	from, to := b.gpm, b.truth.mark(atNS)
	b.gpm = to
	if from.atNS == 0 || to.atNS-from.atNS > gpmLongestNS || !b.call(GPMMetrics, atNS) {
		return
	}
	seconds := float64(to.atNS-from.atNS) * 1e-9
	r.SMActive = schema.Some((to.sm - from.sm) / seconds)
	r.TensorActive = schema.Some((to.tensor - from.tensor) / seconds)
	r.DRAMActive = schema.Some((to.dram - from.dram) / seconds)
}

func (b *Board) readEnergy(atNS int64, r *schema.Reading) {
	if b.field(fieldEnergy, 0, atNS) && b.has(EnergyCounter) {
		mj := b.truth.millijoules(atNS)
		if twist, fromNS := b.facts.twisted(fieldEnergy, 0, atNS); twist == Restarts {
			mj -= b.truth.millijoules(fromNS)
		}
		r.EnergyTotalJ = schema.Some(float64(mj) / 1000)
	}
}

// watts is what a power sensor shows; 0 W is no reading, as it is none through NVML.
func (b *Board) watts(which Sensor, field uint32, scope int32, atNS int64) schema.Opt[float32] {
	switch twist, fromNS := b.facts.twisted(field, scope, atNS); twist {
	case Freezes:
		atNS = fromNS
	case Zero:
		return schema.Opt[float32]{}
	case Fails, Restarts, Stale:
	}
	mw := b.truth.milliwatts(which, atNS)
	return schema.Opt[float32]{V: float32(mw) / 1000, OK: mw > 0}
}

func (b *Board) readSlow(atNS int64, r *schema.Reading) {
	e := b.truth.at(atNS)
	temperature := int32(b.truth.temperature(&e, atNS) + 0.5)
	b.readEnergy(atNS, r)
	if b.field(fieldMemoryTemp, 0, atNS) && b.spec.MemoryThermometer {
		r.MemoryTempC = schema.Some(temperature + memoryWarmerC)
	}
	if b.call(ClockInfo, atNS) {
		r.SMClockMHz = schema.Some(int32(e.SMMHz))
		r.MemoryClockMHz = schema.Some(int32(e.MemMHz))
	}
	if b.call(Temperature, atNS) {
		r.TemperatureC = schema.Some(temperature)
	}
	if b.call(PerformanceState, atNS) {
		r.PState = schema.Some(int32(e.PState))
	}
	if b.call(MemoryInfo, atNS) {
		r.MemoryUsedB = schema.Some(atomic.LoadInt64(&b.facts.MemoryUsedB))
	}
	if b.call(ClocksEventReasons, atNS) {
		r.Throttle = schema.Some(int64(e.Throttle))
	}
	if b.call(EnforcedPowerLimit, atNS) {
		r.PowerLimitW = schema.Some(float32(b.facts.LimitMW) / 1000)
	}
}

// memoryWarmerC is how much hotter than the GPU its memory is.
const memoryWarmerC = 8
