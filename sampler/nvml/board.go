package nvml

import (
	"fmt"
	"sync/atomic"
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
	abandoned atomic.Bool   // a call hangs
	err       error         // why a board that NVML enumerates cannot be used
}

// results is what calls store into, allocated once so that no reading allocates.
type results struct {
	utilization gonvml.Utilization
	memory      gonvml.Memory
	word        uint32
	long        uint64
}

var (
	_ sampler.Device    = (*Board)(nil)
	_ sampler.Abandoner = (*Board)(nil)
)

// Board is what stays the same about the board, as read when the library was opened.
func (b *Board) Board() schema.Board { return b.about }

// Read asks the sensors of the given lanes. What the board or the driver does not support is asked once; what fails is
// absent in this reading and asked again in the next. Where NVML asks to be opened anew, Read does so.
func (b *Board) Read(lanes sampler.Lane, r *schema.Reading) error {
	b.library.enter(b)
	defer b.library.leave(b)
	if err := b.begin(); err != nil {
		return err
	}
	b.readFields(b.fields.request(lanes), r)
	if lanes&sampler.LaneUtilization != 0 {
		b.readUtilization(r)
	}
	if lanes&sampler.LaneGPM != 0 {
		b.readGPM(r)
	}
	if lanes&sampler.LaneSlow != 0 {
		b.readSlow(r)
	}
	return b.loss()
}

// ReadField asks one sensor.
func (b *Board) ReadField(f sampler.Field, r *schema.Reading) error {
	b.library.enter(b)
	defer b.library.leave(b)
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

// Abandon gives NVML to the other boards while a call about this one hangs, which then makes no further call.
func (b *Board) Abandon() {
	b.abandoned.Store(true)
	b.library.abandoned.Store(true)
	b.library.leave(b)
}

// begin makes the board ready for a reading.
func (b *Board) begin() error {
	if b.library.closed {
		return fmt.Errorf("reading %s: NVML is closed: %w", b.about.UUID, sampler.ErrBoardLost)
	}
	if b.abandoned.Load() {
		return fmt.Errorf("reading %s: %w: an earlier call hangs", b.about.UUID, sampler.ErrBoardLost)
	}
	if b.library.stale || b.handle == nil {
		return b.reopen()
	}
	b.lost = gonvml.SUCCESS
	return nil
}

// reopen tries to open NVML anew.
func (b *Board) reopen() error {
	if err := b.library.reopen(); err != nil {
		return fmt.Errorf("reading %s: %w: %w", b.about.UUID, sampler.ErrBoardLost, err)
	}
	if b.handle == nil {
		return fmt.Errorf("reading %s: %w: it is not there any more", b.about.UUID, sampler.ErrBoardLost)
	}
	return fmt.Errorf("reading %s: %w", b.about.UUID, sampler.ErrReopened)
}

// rebind takes the handle that the board has now; nil where it is not there.
func (b *Board) rebind(device gonvml.Device) {
	b.device, b.handle, b.functions = device, nil, b.library.functions
	if device != nil {
		b.handle = handleOf(device)
		b.gpm.prepare(b)
	}
}

func (b *Board) loss() error {
	switch b.lost {
	case gonvml.SUCCESS:
		return nil
	case gonvml.ERROR_UNINITIALIZED, gonvml.ERROR_DRIVER_NOT_LOADED, gonvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return b.reopen()
	case gonvml.ERROR_RESET_REQUIRED:
		return fmt.Errorf("reading %s: %w: %w", b.about.UUID, sampler.ErrResetRequired, b.lost)
	}
	return fmt.Errorf("reading %s: %w: %w", b.about.UUID, sampler.ErrBoardLost, b.lost)
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

// isLost says whether further calls of this reading are in vain.
func (b *Board) isLost() bool { return b.lost != gonvml.SUCCESS || b.abandoned.Load() }

// ok says whether a call succeeded, and notes when the board is gone.
func (b *Board) ok(ret gonvml.Return) bool {
	switch ret {
	case gonvml.ERROR_GPU_IS_LOST, gonvml.ERROR_RESET_REQUIRED, gonvml.ERROR_IRQ_ISSUE,
		gonvml.ERROR_UNINITIALIZED, gonvml.ERROR_DRIVER_NOT_LOADED, gonvml.ERROR_LIB_RM_VERSION_MISMATCH:
		b.lost = ret
	}
	return ret == gonvml.SUCCESS
}

// isUnsupported says whether an answer will not change.
func isUnsupported(ret gonvml.Return) bool {
	return ret == gonvml.ERROR_NOT_SUPPORTED || ret == gonvml.ERROR_FUNCTION_NOT_FOUND
}
