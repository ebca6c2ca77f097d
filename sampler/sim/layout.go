package sim

import (
	"math"
	"sync/atomic"
	"unsafe"
)

// The layout of a script in memory and on disk, in the host's byte order. The C fake of libnvidia-ml maps the same bytes
// by sampler/nvml/fake/fake.h; a test compiles that header and compares every offset and size with these structs.
//
//	header | board 0: facts, 65,536 events | board 1 | …
const (
	magic         = "TRCRNVML"
	layoutVersion = 3
	headerBytes   = 4096
	factsBytes    = 8192
	eventCapacity = 1 << 16 // a power of two
	boardBytes    = factsBytes + eventCapacity*int(unsafe.Sizeof(event{}))
	maxFaults     = 64
)

// header begins a script.
type header struct {
	Magic       [8]byte
	Version     uint32
	Boards      uint32
	BoardsAt    uint64 // offset of the first board
	BoardStride uint64 // bytes from board to board
	InitReturn  int32  // what nvmlInit answers
	CUDAVersion int32  // 12080 is 12.8
	Driver      [80]byte
	NVML        [80]byte
	InitNS      int64 // what nvmlInit takes
	ShutdownNS  int64 // what the last nvmlShutdown takes
}

// facts is what stays the same about a board, but for the words at its end.
type facts struct {
	Name         [96]byte
	UUID         [96]byte
	PCIBusID     [32]byte
	VBIOS        [32]byte
	Serial       [32]byte
	MemoryBytes  uint64
	Seed         uint64
	CallNS       int64  // cost of one call, or of one field in nvmlDeviceGetFieldValues
	Index        uint32 // NVML index
	Architecture uint32 // nvmlDeviceArchitecture_t
	Major, Minor uint32 // CUDA compute capability
	Cores        uint32
	LimitMW      uint32 // enforced power limit
	MinLimitMW   uint32
	MaxLimitMW   uint32
	MaxSMMHz     uint32
	MaxMemMHz    uint32
	PCIDeviceID  uint32
	GPM          uint32 // 1 where GPM metrics are supported
	PowerScopes  uint32 // bit n is set where the power fields answer at scope n
	Virtualized  uint32 // nvmlGpuVirtualizationMode_t
	ECC          int32  // 1 on, 0 off, -1 not supported; so are the next two
	MIG          int32
	Persistence  int32
	MemoryTemp   int32 // 1 where there is a memory thermometer
	Sensors      [sensorCount]sensor
	Faults       [maxFaults]fault

	// Words that change while readers look: each is loaded and stored atomically, and an entry of Faults or an event is
	// written before the count that covers it.
	FaultCount  uint64
	MemoryUsedB int64
	EventCount  uint64 // events ever written; event i lies in slot i mod 65,536
}

// sensor is how one sensor turns the true timeline into values: a new one at PhaseNS + k·PeriodNS, up to JitterNS early or
// late, the mean over the WindowNS before, times Gain, plus noise.
type sensor struct {
	PeriodNS  int64
	PhaseNS   int64
	JitterNS  int64 // less than half the period, so that updates keep their order
	WindowNS  int64
	Gain      float64
	Noise     float64 // half width of a triangular distribution, in the sensor's unit
	Supported uint64  // 0 or 1
}

// fault is one entry of the fault list.
type fault struct {
	Function uint32 // 0 is every function
	Field    uint32 // for nvmlDeviceGetFieldValues: 0 fails the whole call, else only that field
	Scope    int32  // of the field; -1 is every scope
	Return   int32  // nvmlReturn_t; 0 only adds latency
	FromNS   int64  // CLOCK_MONOTONIC
	ToNS     int64  // 0 is never
	ExtraNS  int64  // added to the call's cost
	Twist    int64
}

// event is a change of the board's true state: the levels that hold from TNS on, and the integrals of the levels up to
// TNS. With the integrals, the mean over any window is two searches, however many events it spans.
type event struct {
	TNS      int64
	Integral [channelCount]float64 // level × s: J for power, busy seconds for shares
	TempC    float64
	Level    [channelCount]float64 // W for power, 0 to 1 for shares
	SMMHz    uint32
	MemMHz   uint32
	PState   uint32
	Throttle uint32 // nvmlClocksEventReasons
}

// channel is one of the quantities that a timeline holds.
type channel int

const (
	power     channel = iota
	gpuActive         // any kernel running
	memActive         // memory being read or written
	smActive
	tensorActive
	dramActive
	channelCount
)

// slot is the place of an event as its atomically accessed words. Go's memory model has no other way to write what
// another thread or process may be reading: a reader copies words, then looks at EventCount again and throws away what
// the writer may have touched meanwhile.
type slot [unsafe.Sizeof(event{}) / 8]uint64

func (s *slot) store(e *event) {
	words := (*slot)(unsafe.Pointer(e))
	for i := range s {
		atomic.StoreUint64(&s[i], words[i])
	}
}

func (s *slot) load() (e event) {
	words := (*slot)(unsafe.Pointer(&e))
	for i := range s {
		words[i] = atomic.LoadUint64(&s[i])
	}
	return e
}

func (s *slot) timeNS() int64 { return int64(atomic.LoadUint64(&s[0])) }

func (s *slot) float(offset uintptr) float64 {
	return math.Float64frombits(atomic.LoadUint64(&s[offset/8]))
}

func (s *slot) integral(c channel) float64 {
	return s.float(unsafe.Offsetof(event{}.Integral) + 8*uintptr(c))
}

func (s *slot) level(c channel) float64 {
	return s.float(unsafe.Offsetof(event{}.Level) + 8*uintptr(c))
}
