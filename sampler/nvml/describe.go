package nvml

import (
	"strings"

	gonvml "github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// value calls an optional getter whose symbol the driver may lack.
func value[T any](l *Library, symbol string, get func() (T, gonvml.Return)) schema.Opt[T] {
	if !l.has(symbol) {
		return schema.Opt[T]{}
	}
	v, ret := get()
	return schema.Opt[T]{V: v, OK: ret == gonvml.SUCCESS}
}

// converted is an optional value as another type.
func converted[To, From any](v schema.Opt[From], convert func(From) To) schema.Opt[To] {
	if !v.OK {
		return schema.Opt[To]{}
	}
	return schema.Some(convert(v.V))
}

// describe fills in what stays the same about a board, and learns which sensors it has.
func (b *Board) describe(index int) {
	l, d := b.library, b.device
	about := schema.Board{
		Index:         int32(index),
		UUID:          b.about.UUID,
		DriverVersion: l.driverVersion,
		NVMLVersion:   l.nvmlVersion,
		CUDAVersion:   l.cudaVersion,
	}
	about.Name = value(l, "nvmlDeviceGetName", d.GetName).V
	about.Simulated = strings.HasPrefix(about.Name, "sim-")
	about.Architecture = b.architecture(about.Name)
	about.PCIBusID = b.pciBusID()
	about.VBIOS = value(l, "nvmlDeviceGetVbiosVersion", d.GetVbiosVersion).V
	about.MemoryBytes = converted(value(l, "nvmlDeviceGetMemoryInfo", d.GetMemoryInfo), func(m gonvml.Memory) int64 { return int64(m.Total) })
	about.PowerLimitW = converted(value(l, "nvmlDeviceGetEnforcedPowerLimit", d.GetEnforcedPowerLimit), func(mw uint32) float32 { return float32(mw) / 1000 })
	about.MaxSMClockMHz = b.maxClock(gonvml.CLOCK_SM)
	about.MaxMemClockMHz = b.maxClock(gonvml.CLOCK_MEM)
	about.Cores = converted(value(l, "nvmlDeviceGetNumGpuCores", d.GetNumGpuCores), func(n int) int32 { return int32(n) })
	about.ECC = converted(value(l, "nvmlDeviceGetEccMode", func() (gonvml.EnableState, gonvml.Return) {
		now, _, ret := d.GetEccMode()
		return now, ret
	}), enabled)
	about.MIG = converted(value(l, "nvmlDeviceGetMigMode", func() (int, gonvml.Return) {
		now, _, ret := d.GetMigMode()
		return now, ret
	}), func(mode int) bool { return mode == gonvml.DEVICE_MIG_ENABLE })
	about.Virtualization = converted(value(l, "nvmlDeviceGetVirtualizationMode", d.GetVirtualizationMode), virtualization).V
	about.PersistenceMode = converted(value(l, "nvmlDeviceGetPersistenceMode", d.GetPersistenceMode), enabled)
	about.Power = sampler.InstantPower(about.Architecture, about.DriverVersion)
	if about.Simulated {
		about.Power.GainError = 0 // the fake's sensors show the truth that was written
	}
	b.about = about
	b.settle()
}

// settle learns which of the power fields the board has.
func (b *Board) settle() {
	b.functions = b.library.functions
	b.fields.reset()
	if b.library.has("nvmlDeviceGetFieldValues") {
		b.about.PowerScope = b.settleScope()
	} else {
		for i := range b.fields.all {
			b.fields.all[i].off = true
		}
	}
	b.gpm.prepare(b)
}

// virtualization names a mode; one that nvml.h does not have is not known.
func virtualization(mode gonvml.GpuVirtualizationMode) string {
	return map[gonvml.GpuVirtualizationMode]string{
		gonvml.GPU_VIRTUALIZATION_MODE_NONE:        schema.VirtualizationNone,
		gonvml.GPU_VIRTUALIZATION_MODE_PASSTHROUGH: schema.VirtualizationPassthrough,
		gonvml.GPU_VIRTUALIZATION_MODE_VGPU:        schema.VirtualizationVGPU,
		gonvml.GPU_VIRTUALIZATION_MODE_HOST_VGPU:   schema.VirtualizationHostVGPU,
		gonvml.GPU_VIRTUALIZATION_MODE_HOST_VSGA:   schema.VirtualizationHostVSGA,
	}[mode]
}

func enabled(s gonvml.EnableState) bool { return s == gonvml.FEATURE_ENABLED }

func (b *Board) maxClock(which gonvml.ClockType) schema.Opt[int32] {
	mhz := value(b.library, "nvmlDeviceGetMaxClockInfo", func() (uint32, gonvml.Return) { return b.device.GetMaxClockInfo(which) })
	return converted(mhz, func(v uint32) int32 { return int32(v) })
}

func (b *Board) pciBusID() string {
	// go-nvml takes the newest of the three that there is, and version 2 would do.
	for _, symbol := range []string{"nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2"} {
		if info := value(b.library, symbol, b.device.GetPciInfo); info.OK {
			id := make([]byte, 0, len(info.V.BusId))
			for _, c := range info.V.BusId {
				if c == 0 {
					break
				}
				id = append(id, byte(c))
			}
			return string(id)
		}
	}
	return ""
}

// architecture names the board's architecture in the catalog's words. GA100 shares NVML's word with the rest of Ampere
// but has another power sensor; its compute capability is 8.0.
func (b *Board) architecture(name string) string {
	type capability struct{ major, minor int }
	cuda := value(b.library, "nvmlDeviceGetCudaComputeCapability", func() (capability, gonvml.Return) {
		major, minor, ret := b.device.GetCudaComputeCapability()
		return capability{major, minor}, ret
	})
	if cuda.OK {
		return architectureOfCapability(cuda.V.major, cuda.V.minor)
	}
	return architectureOfChip(value(b.library, "nvmlDeviceGetArchitecture", b.device.GetArchitecture), name)
}

func architectureOfCapability(major, minor int) string {
	switch {
	case major == 6:
		return sampler.Pascal
	case major == 7 && minor < 5:
		return sampler.Volta
	case major == 7:
		return sampler.Turing
	case major == 8 && minor == 0:
		return sampler.AmpereGA100
	case major == 8 && minor == 9:
		return sampler.Ada
	case major == 8:
		return sampler.AmpereGA10x
	case major == 9:
		return sampler.Hopper
	case major >= 10 && major <= 12: // 10 in data centres, 12 in workstations
		return sampler.Blackwell
	default:
		return sampler.Unknown
	}
}

// architectureOfChip is for drivers that do not tell the compute capability; of Ampere, the boards with a GA100 are few.
func architectureOfChip(chip schema.Opt[gonvml.DeviceArchitecture], name string) string {
	if !chip.OK {
		return sampler.Unknown
	}
	switch chip.V {
	case gonvml.DEVICE_ARCH_PASCAL:
		return sampler.Pascal
	case gonvml.DEVICE_ARCH_VOLTA:
		return sampler.Volta
	case gonvml.DEVICE_ARCH_TURING:
		return sampler.Turing
	case gonvml.DEVICE_ARCH_AMPERE:
		for _, product := range []string{"A100", "A800", "A30"} {
			if strings.Contains(name, product) && !strings.Contains(name, product+"0") {
				return sampler.AmpereGA100
			}
		}
		return sampler.AmpereGA10x
	case gonvml.DEVICE_ARCH_ADA:
		return sampler.Ada
	case gonvml.DEVICE_ARCH_HOPPER:
		return sampler.Hopper
	case gonvml.DEVICE_ARCH_BLACKWELL:
		return sampler.Blackwell
	default:
		return sampler.Unknown
	}
}
