package sim

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// Board is one simulated board. The load side tells it the truth through Set and SetMemoryUsed, from any goroutine; the
// sampler reads it as a sampler.Device, from one.
type Board struct {
	spec   Spec
	header *header
	facts  *facts
	truth  timeline

	mu   sync.Mutex // of the writers
	held uint32     // why clocks are held down besides what the power says

	gpm  mark // of the last GPM sample; belongs to the reader
	lost int32
}

var _ sampler.Device = (*Board)(nil)

// loadedHours is how long ago the driver of a fresh board was loaded, for its energy counter.
const loadedHours = 1

func newBoard(h *header, mem []byte, spec Spec, nowNS int64) *Board {
	f := (*facts)(unsafe.Pointer(&mem[0]))
	spec.write(f)
	b := &Board{
		spec:   spec,
		header: h,
		facts:  f,
		truth:  timeline{f, unsafe.Slice((*slot)(unsafe.Pointer(&mem[factsBytes])), eventCapacity)},
	}
	for _, fault := range spec.Faults {
		_ = b.addFault(fault) // check bounds their number
	}
	first := b.event(nowNS, spec.IdleW, 0, 0)
	first.Integral[power] = spec.IdleW * loadedHours * 3600
	first.TempC = ambientC + perLimitC*spec.IdleW/spec.PowerLimitW
	b.truth.append(first)
	return b
}

// Spec is what the board was made from.
func (b *Board) Spec() Spec { return b.spec }

// Set says what is true from an instant on (CLOCK_MONOTONIC, ns): the power drawn in W, and the shares, 0 to 1, of time
// in which a kernel runs and in which memory is busy. Clocks, activities and p-state follow from these. Instants never
// decrease; one before the last is taken as the last. The board keeps its last 65,536 changes.
func (b *Board) Set(atNS int64, powerW, gpuBusy, memBusy float64) {
	e := b.event(atNS, powerW, gpuBusy, memBusy)
	b.mu.Lock()
	defer b.mu.Unlock()
	e.Throttle |= b.held
	b.truth.append(e)
}

// HoldDown says why else, from an instant on, the board's clocks are held down: bits of nvmlClocksEventReasons.
func (b *Board) HoldDown(atNS int64, reasons uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.truth.at(atNS)
	b.held, e.TNS, e.Throttle = reasons, atNS, e.Throttle|reasons
	b.truth.append(e)
}

// SetMemoryUsed says how much memory is allocated from now on.
func (b *Board) SetMemoryUsed(bytes int64) { atomic.StoreInt64(&b.facts.MemoryUsedB, bytes) }

// EnergyJ is the true energy from one instant to another, which no sensor shows; it reports false when the timeline no
// longer reaches back to the first.
func (b *Board) EnergyJ(fromNS, toNS int64) (joules float64, ok bool) {
	from, ok := b.truth.integralCovered(power, fromNS)
	return b.truth.integral(power, toNS) - from, ok
}

// event makes the other channels plausible. Arithmetic-bound work (prefill) draws near the limit with tensor cores busy
// and memory idle, memory-bound work (decode) draws less with memory busy: so tensor activity grows with power above
// idle and shrinks with memory traffic.
func (b *Board) event(atNS int64, powerW, gpuBusy, memBusy float64) event {
	busy, mem := share(gpuBusy), share(memBusy)
	effort := share((powerW - b.spec.IdleW) / (b.spec.PowerLimitW - b.spec.IdleW))
	e := event{TNS: atNS}
	e.Level[power] = max(powerW, 0)
	e.Level[gpuActive] = busy
	e.Level[memActive] = mem
	e.Level[smActive] = busy * (0.4 + 0.55*effort)
	e.Level[tensorActive] = busy * effort * (1 - 0.8*mem)
	e.Level[dramActive] = 0.92 * mem // peak rates leave refresh out
	e.SMMHz, e.MemMHz = b.facts.MaxSMMHz, b.facts.MaxMemMHz
	switch {
	case busy == 0:
		e.Throttle = reasonIdle
		e.SMMHz = min(idleSMMHz, e.SMMHz)
		if !b.spec.MemoryThermometer { // boards with HBM idle at P0
			e.PState = 8
			e.MemMHz = min(idleMemMHz, e.MemMHz)
		}
	case effort > 0.98: // at the limit the board lowers its clock by some per cent
		e.Throttle = reasonPowerCap
		e.SMMHz = e.SMMHz * 93 / 100
	}
	return e
}

const (
	reasonIdle     = 0x1 // nvmlClocksEventReasonGpuIdle
	reasonPowerCap = 0x4 // nvmlClocksEventReasonSwPowerCap
	idleSMMHz      = 210
	idleMemMHz     = 405
)

func share(v float64) float64 { return min(max(v, 0), 1) }

// Board is what stays the same about the board.
func (b *Board) Board() schema.Board {
	s := &b.spec
	instant := s.Sensors[PowerInstant]
	return schema.Board{
		Index:           int32(s.Index),
		UUID:            s.UUID,
		Name:            s.Name,
		Architecture:    s.Architecture,
		PCIBusID:        s.pciBusID(),
		VBIOS:           vbios,
		Simulated:       true,
		MemoryBytes:     schema.Some(s.MemoryBytes),
		PowerLimitW:     schema.Some(float32(s.PowerLimitW)),
		MaxSMClockMHz:   schema.Some(s.MaxSMMHz),
		MaxMemClockMHz:  schema.Some(s.MaxMemMHz),
		Cores:           schema.Some(s.Cores),
		ECC:             s.ECC,
		MIG:             s.MIG,
		Virtualization:  s.Virtualization,
		PowerScope:      b.powerScope(),
		PersistenceMode: s.Persistence,
		DriverVersion:   driverVersion,
		NVMLVersion:     nvmlVersion,
		CUDAVersion:     fmt.Sprintf("%d.%d", cudaVersion/1000, cudaVersion%1000/10),
		Power:           schema.Sensor{Period: instant.Period, Window: instant.Window, WindowError: instant.Window / 1000, GainError: math.Abs(instant.Gain - 1), Provenance: sampler.ProvenanceSimulated},
	}
}

func (b *Board) powerScope() string {
	switch {
	case !b.has(PowerInstant) && !b.has(PowerAverage):
		return ""
	case b.spec.ModulePower:
		return schema.PowerScopeModule
	default:
		return schema.PowerScopeGPU
	}
}
