package schema

import "time"

// Reading is one look at one board: the sensors read between StartNS and EndNS. It holds no pointers, so that a ring of
// readings costs the garbage collector nothing.
type Reading struct {
	Board   int32 // position in the run's list of boards
	StartNS int64 // CLOCK_MONOTONIC before the first call
	EndNS   int64 // CLOCK_MONOTONIC after the last call

	PowerInstantW  Opt[float32] // field 186
	PowerAverageW  Opt[float32] // field 185
	MemoryPowerW   Opt[float32] // field 186 of the memory alone
	PowerIsNew     Opt[bool]    // absent on the first reading and where power was not read
	EnergyTotalJ   Opt[float64] // field 83, J since the driver was loaded
	PowerLimitW    Opt[float32]
	GPUUtilPct     Opt[int32]
	MemoryUtilPct  Opt[int32]
	SMActive       Opt[float64] // GPM, 0 to 1
	TensorActive   Opt[float64] // GPM, 0 to 1
	DRAMActive     Opt[float64] // GPM, 0 to 1
	SMClockMHz     Opt[int32]
	MemoryClockMHz Opt[int32]
	TemperatureC   Opt[int32]
	MemoryTempC    Opt[int32]
	PState         Opt[int32]
	MemoryUsedB    Opt[int64]
	Throttle       Opt[int64] // bitmask of nvmlClocksEventReasons

	ClockErrorS Opt[float32] // s by which StartNS and EndNS may be off, where another host's clock stamped them
}

// MidNS is the instant that the reading stands for.
func (r *Reading) MidNS() int64 { return r.StartNS + (r.EndNS-r.StartNS)/2 }

// Board is what stays the same about one GPU during a run.
type Board struct {
	Host         string // that it is in; empty where that is the run's
	Index        int32  // NVML index
	UUID         string // GPU-… or sim-…: the key of the board everywhere
	Name         string // exact; begins with "sim-" where the board is simulated
	Architecture string // ampere, ada, hopper, …; unknown where NVML does not say
	PCIBusID     string
	VBIOS        string
	Simulated    bool

	MemoryBytes     Opt[int64]
	PowerLimitW     Opt[float32] // enforced at start
	MaxSMClockMHz   Opt[int32]
	MaxMemClockMHz  Opt[int32]
	Cores           Opt[int32]
	ECC             Opt[bool]
	MIG             Opt[bool]
	Virtualization  string // a Virtualization constant; empty where NVML does not say
	PersistenceMode Opt[bool]

	DriverVersion string
	NVMLVersion   string
	CUDAVersion   string

	Power       Sensor // the instant power sensor
	PowerScope  string // a PowerScope constant; empty where the board tells no power
	Calibration Calibration
}

// What a board's power is the power of.
const (
	PowerScopeGPU    = "gpu"
	PowerScopeModule = "module" // the CPU and memory beside the GPU too, as on Grace Hopper
)

// How a board is shared among machines.
const (
	VirtualizationNone        = "none"
	VirtualizationPassthrough = "passthrough" // the whole board, in a virtual machine
	VirtualizationVGPU        = "vgpu"        // a part of the board, in a virtual machine
	VirtualizationHostVGPU    = "host-vgpu"   // the whole board, on the host of such machines
	VirtualizationHostVSGA    = "host-vsga"
)

// Sensor is how a board's sensor behaves: a new value every Period, the mean over the Window before it.
type Sensor struct {
	Period           time.Duration
	PeriodConfidence Opt[float64]  // mean resultant length of the changes at Period, 0 to 1; absent where the period was not measured
	Window           time.Duration // 0: not known
	WindowError      time.Duration // ±, 95 %, where the window was measured; else 0
	Average          bool          // a running average over many updates: it resolves no stage
	GainError        float64       // relative to an external meter, 95 %; 0 only where the gain is known, as on simulated boards
	Provenance       string        // where period and window come from: "table:hopper", "period calibrated, window table:hopper", "unknown"
}
