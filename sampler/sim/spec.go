package sim

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// Versions that simulated boards report. The branch is one that the sensor table was measured with; the suffix says in
// every dataset that no driver was there.
const (
	driverVersion = "570.00.sim"
	nvmlVersion   = "12.570.00.sim"
	cudaVersion   = 12080
)

// Spec describes a board before it is made.
type Spec struct {
	Name              string // begins with sim-
	UUID              string
	Index             int
	Architecture      string
	ComputeCapability [2]int
	Cores             int32
	MemoryBytes       int64
	PowerLimitW       float64
	IdleW             float64
	MaxSMMHz          int32
	MaxMemMHz         int32
	ECC               schema.Opt[bool]
	MIG               schema.Opt[bool]
	Persistence       schema.Opt[bool]
	Virtualization    string // a schema.Virtualization constant
	ModulePower       bool   // power fields answer at the scope of the module alone, as on Grace Hopper
	GPM               bool
	MemoryThermometer bool
	Seed              uint64
	CallCost          time.Duration // of one call, or of one field
	Sensors           map[Sensor]SensorSpec
	Faults            []Fault
}

// SensorSpec is how a sensor behaves; one that is not in Spec.Sensors is not supported.
type SensorSpec struct {
	Period, Phase, Window time.Duration
	Jitter                time.Duration // updates are up to this early or late; less than half the period
	Gain                  float64       // 1 is exact; real boards are −4 to −6 % off (arXiv 2312.02741)
	NoiseW                float64       // half width of a triangular distribution
}

// Rhythms of the sensors that are no power sensors: the energy counter steps about every 100 ms, utilisation is renewed
// every 167 ms on V100 and 200 ms on A100 and 3090, measured on public traces.
const (
	energyPeriod           = 100 * time.Millisecond
	utilizationPeriod      = 200 * time.Millisecond
	voltaUtilizationPeriod = 167 * time.Millisecond
)

// What nobody has published for Blackwell is taken from Hopper.
const blackwellWindow = 25 * time.Millisecond

// powerNoiseW makes successive values of an idle board differ, as real ones do.
const powerNoiseW = 0.5

// Describe is the board of a catalog entry at an NVML index: sensors of its architecture, exact gain, no call costs and
// no faults. The same entry at the same index has the same UUID and noise for ever.
func Describe(c catalog.Board, index int) Spec {
	name := "sim-" + c.Name
	id := sha256.Sum256(fmt.Appendf(nil, "%s/%d", name, index))
	hbm := c.Architecture != sampler.AmpereGA10x && c.Architecture != sampler.Ada
	s := Spec{
		Name:              name,
		UUID:              fmt.Sprintf("GPU-%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16]),
		Index:             index,
		Architecture:      c.Architecture,
		ComputeCapability: capabilities[c.Architecture].cuda,
		Cores:             c.Cores,
		MemoryBytes:       int64(c.MemoryGB * 1e9),
		PowerLimitW:       c.TDPW,
		IdleW:             c.IdleW,
		MaxSMMHz:          c.MaxSMMHz,
		MaxMemMHz:         c.MaxMemMHz,
		ECC:               schema.Some(true),
		Persistence:       schema.Some(true),
		Virtualization:    schema.VirtualizationNone,
		GPM:               sampler.HasGPM(c.Architecture),
		MemoryThermometer: hbm,
		Seed:              uint64(index)*1e9 + uint64(id[0]),
		Sensors:           sensorsOf(c.Architecture),
	}
	if hbm {
		s.MIG = schema.Some(false)
	}
	return s
}

func sensorsOf(architecture string) map[Sensor]SensorSpec {
	instant := sampler.InstantPower(architecture, driverVersion)
	if instant.Window == 0 {
		instant.Window = blackwellWindow
	}
	utilization := utilizationPeriod
	if architecture == sampler.Volta {
		utilization = voltaUtilizationPeriod
	}
	// Phases differ so that the sensors' edges do not coincide.
	sensors := map[Sensor]SensorSpec{
		PowerInstant:      {Period: instant.Period, Phase: 3 * time.Millisecond, Window: instant.Window, Gain: 1, NoiseW: powerNoiseW},
		EnergyCounter:     {Period: energyPeriod, Phase: 41 * time.Millisecond, Gain: 1},
		GPUUtilization:    {Period: utilization, Phase: 17 * time.Millisecond, Window: utilization, Gain: 1},
		MemoryUtilization: {Period: utilization, Phase: 17 * time.Millisecond, Window: utilization, Gain: 1},
	}
	if average, ok := sampler.AveragePower(architecture, driverVersion); ok {
		sensors[PowerAverage] = SensorSpec{Period: average.Period, Phase: 3 * time.Millisecond, Window: average.Window, Gain: 1, NoiseW: powerNoiseW / 10}
	}
	return sensors
}

type capability struct {
	nvml uint32 // nvmlDeviceArchitecture_t
	cuda [2]int // compute capability of the data-centre part
}

var capabilities = map[string]capability{
	sampler.Pascal:      {4, [2]int{6, 0}},
	sampler.Volta:       {5, [2]int{7, 0}},
	sampler.Turing:      {6, [2]int{7, 5}},
	sampler.AmpereGA100: {7, [2]int{8, 0}},
	sampler.AmpereGA10x: {7, [2]int{8, 6}},
	sampler.Ada:         {8, [2]int{8, 9}},
	sampler.Hopper:      {9, [2]int{9, 0}},
	sampler.Blackwell:   {10, [2]int{10, 0}},
}

// write lays a spec out.
func (s *Spec) write(f *facts) {
	copyText(f.Name[:], s.Name)
	copyText(f.UUID[:], s.UUID)
	copyText(f.PCIBusID[:], s.pciBusID())
	copyText(f.VBIOS[:], vbios)
	copyText(f.Serial[:], fmt.Sprintf("sim%010d", s.Index))
	f.MemoryBytes = uint64(s.MemoryBytes)
	f.Seed = s.Seed
	f.CallNS = int64(s.CallCost)
	f.Index = uint32(s.Index)
	f.Architecture = capabilities[s.Architecture].nvml
	f.Major, f.Minor = uint32(s.ComputeCapability[0]), uint32(s.ComputeCapability[1])
	f.Cores = uint32(s.Cores)
	f.LimitMW = uint32(s.PowerLimitW * 1000)
	f.MinLimitMW = f.LimitMW / 2
	f.MaxLimitMW = f.LimitMW
	f.MaxSMMHz, f.MaxMemMHz = uint32(s.MaxSMMHz), uint32(s.MaxMemMHz)
	f.PCIDeviceID = 0x10de // vendor NVIDIA, device 0: no product has it
	f.GPM = uint32(ordinal(s.GPM))
	f.PowerScopes = 1 << s.powerScope()
	f.Virtualized = uint32(slices.Index(virtualizations, s.Virtualization))
	f.ECC, f.MIG, f.Persistence = mode(s.ECC), mode(s.MIG), mode(s.Persistence)
	f.MemoryTemp = ordinal(s.MemoryThermometer)
	for which, sp := range s.Sensors {
		f.Sensors[which] = sensor{
			PeriodNS:  int64(sp.Period),
			PhaseNS:   int64(sp.Phase),
			JitterNS:  int64(sp.Jitter),
			WindowNS:  int64(sp.Window),
			Gain:      sp.Gain,
			Noise:     sp.NoiseW,
			Supported: 1,
		}
	}
}

const vbios = "00.00.00.00.sim"

func (s *Spec) pciBusID() string { return fmt.Sprintf("00000000:%02X:00.0", s.Index+1) }

// virtualizations are the modes in the order of nvmlGpuVirtualizationMode_t.
var virtualizations = []string{
	schema.VirtualizationNone, schema.VirtualizationPassthrough, schema.VirtualizationVGPU, schema.VirtualizationHostVGPU, schema.VirtualizationHostVSGA,
}

// powerScope is the one at which the board tells its power.
func (s *Spec) powerScope() int32 {
	if s.ModulePower {
		return scopeModule
	}
	return scopeGPU
}

func ordinal(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

func mode(o schema.Opt[bool]) int32 {
	if !o.OK {
		return -1
	}
	return ordinal(o.V)
}

// copyText leaves at least one zero at the end, as C wants it.
func copyText(dst []byte, s string) { copy(dst[:len(dst)-1], s) }

// check says what is wrong with a spec.
func (s *Spec) check() error {
	if s.PowerLimitW <= 0 {
		return fmt.Errorf("board %s: power limit %v W", s.Name, s.PowerLimitW)
	}
	if len(s.Faults) > maxFaults {
		return fmt.Errorf("board %s: %d faults, at most %d", s.Name, len(s.Faults), maxFaults)
	}
	if !slices.Contains(virtualizations, s.Virtualization) {
		return fmt.Errorf("board %s: virtualization %q", s.Name, s.Virtualization)
	}
	for which, sp := range s.Sensors {
		if which < 0 || which > PowerMemory || sp.Period <= 0 || sp.Window < 0 || sp.Jitter < 0 || 2*sp.Jitter >= sp.Period {
			return fmt.Errorf("board %s: sensor %d: period %v, window %v, jitter %v", s.Name, which, sp.Period, sp.Window, sp.Jitter)
		}
	}
	return nil
}
