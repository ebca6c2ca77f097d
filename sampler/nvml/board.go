package nvml

import (
	"fmt"
	"unsafe"

	gonvml "github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// Board is one GPU. It is a sampler.Device.
type Board struct {
	library   *Library
	device    gonvml.Device
	handle    unsafe.Pointer
	about     schema.Board
	functions [functionCount]unsafe.Pointer // nil where the driver or the board lacks one
	fields    fields
	gpm       gpm
	out       *results
	lost      gonvml.Return // of the reading under way
	err       error         // why a board that NVML enumerates cannot be used
}

// results is what calls store into, allocated once so that no reading allocates.
type results struct {
	utilization gonvml.Utilization
	memory      gonvml.Memory
	word        uint32
	long        uint64
}

var _ sampler.Device = (*Board)(nil)

// Board is what stays the same about the board, as read when the library was opened.
func (b *Board) Board() schema.Board { return b.about }

// Read asks the sensors of the given lanes. What the board or the driver does not support is asked once; what fails is
// absent in this reading and asked again in the next.
func (b *Board) Read(lanes sampler.Lane, r *schema.Reading) error {
	b.library.enter()
	defer b.library.leave()
	if err := b.begin(); err != nil {
		return err
	}
	b.readFields(b.fields.request(lanes), r)
	if lanes&sampler.LaneUtilization != 0 && !b.isLost() {
		b.readUtilization(r)
	}
	if lanes&sampler.LaneGPM != 0 && !b.isLost() {
		b.readGPM(r)
	}
	if lanes&sampler.LaneSlow != 0 && !b.isLost() {
		b.readSlow(r)
	}
	return b.loss()
}

// ReadField asks one sensor.
func (b *Board) ReadField(f sampler.Field, r *schema.Reading) error {
	b.library.enter()
	defer b.library.leave()
	if err := b.begin(); err != nil {
		return err
	}
	switch f {
	case sampler.FieldPowerInstant:
		b.readFields(b.fields.only(powerInstant), r)
	case sampler.FieldPowerAverage:
		b.readFields(b.fields.only(powerAverage), r)
	case sampler.FieldEnergy:
		b.readFields(b.fields.only(energy), r)
	case sampler.FieldUtilization:
		b.readUtilization(r)
	}
	return b.loss()
}

// begin makes the board ready for a reading.
func (b *Board) begin() error {
	if b.library.closed {
		return fmt.Errorf("reading %s: NVML is closed: %w", b.about.UUID, sampler.ErrBoardLost)
	}
	b.lost = gonvml.SUCCESS
	return nil
}

func (b *Board) loss() error {
	if b.isLost() {
		return fmt.Errorf("reading %s: %w: %w", b.about.UUID, sampler.ErrBoardLost, b.lost)
	}
	return nil
}

func (b *Board) readUtilization(r *schema.Reading) {
	if b.about.MIG == schema.Some(true) {
		return // NVML has no utilisation of a board cut into instances
	}
	if b.get(utilizationRates, unsafe.Pointer(&b.out.utilization)) {
		r.GPUUtilPct = schema.Some(int32(b.out.utilization.Gpu))
		r.MemoryUtilPct = schema.Some(int32(b.out.utilization.Memory))
	}
}

// readSlow takes zeros, where a working board cannot have them, for what they are: sensors that the driver could not read.
func (b *Board) readSlow(r *schema.Reading) {
	word, out := unsafe.Pointer(&b.out.word), b.out
	if b.getOf(smClock, int32(gonvml.CLOCK_SM), word) && out.word != 0 {
		r.SMClockMHz = schema.Some(int32(out.word))
	}
	if b.getOf(memoryClock, int32(gonvml.CLOCK_MEM), word) && out.word != 0 {
		r.MemoryClockMHz = schema.Some(int32(out.word))
	}
	if b.getOf(temperature, int32(gonvml.TEMPERATURE_GPU), word) && out.word != 0 {
		r.TemperatureC = schema.Some(int32(out.word))
	}
	if b.get(performanceState, word) && out.word != uint32(gonvml.PSTATE_UNKNOWN) {
		r.PState = schema.Some(int32(out.word))
	}
	if b.get(memoryInfo, unsafe.Pointer(&out.memory)) {
		r.MemoryUsedB = schema.Some(int64(out.memory.Used))
	}
	if b.get(eventReasons, unsafe.Pointer(&out.long)) {
		r.Throttle = schema.Some(int64(out.long))
	}
	if b.get(powerLimit, word) && out.word != 0 {
		r.PowerLimitW = schema.Some(float32(out.word) / 1000)
	}
}

func (b *Board) isLost() bool { return b.lost != gonvml.SUCCESS }

// ok says whether a call succeeded, and notes when the board is gone.
func (b *Board) ok(ret gonvml.Return) bool {
	switch ret {
	case gonvml.ERROR_GPU_IS_LOST, gonvml.ERROR_RESET_REQUIRED, gonvml.ERROR_IRQ_ISSUE:
		b.lost = ret
	}
	return ret == gonvml.SUCCESS
}

// isUnsupported says whether an answer will not change.
func isUnsupported(ret gonvml.Return) bool {
	return ret == gonvml.ERROR_NOT_SUPPORTED || ret == gonvml.ERROR_FUNCTION_NOT_FOUND
}
