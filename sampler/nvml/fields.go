package nvml

import (
	"encoding/binary"
	"math"

	gonvml "github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// field is one sensor that nvmlDeviceGetFieldValues reads.
type field struct {
	id    uint32
	scope uint32
	lane  sampler.Lane
	off   bool // not supported: not asked again
}

const (
	powerInstant = iota
	powerAverage
	memoryPower
	energy
	memoryTemperature
	fieldCount
)

// fields are asked for in one call, as many as are due.
type fields struct {
	all    [fieldCount]field
	asked  [fieldCount]int // position in all
	values [fieldCount]gonvml.FieldValue
}

func (f *fields) reset() {
	f.all = [fieldCount]field{
		powerInstant:      {id: gonvml.FI_DEV_POWER_INSTANT, lane: sampler.LanePower},
		powerAverage:      {id: gonvml.FI_DEV_POWER_AVERAGE, lane: sampler.LaneUtilization},
		memoryPower:       {id: gonvml.FI_DEV_POWER_INSTANT, scope: gonvml.POWER_SCOPE_MEMORY, lane: sampler.LanePower},
		energy:            {id: gonvml.FI_DEV_TOTAL_ENERGY_CONSUMPTION, lane: sampler.LaneSlow},
		memoryTemperature: {id: gonvml.FI_DEV_MEMORY_TEMP, lane: sampler.LaneSlow},
	}
}

// request fills in what to ask for.
func (f *fields) request(lanes sampler.Lane) []gonvml.FieldValue {
	n := 0
	for i := range f.all {
		if lanes&f.all[i].lane != 0 {
			n = f.add(i, n)
		}
	}
	return f.values[:n]
}

// only fills in one field to ask for.
func (f *fields) only(which int) []gonvml.FieldValue { return f.values[:f.add(which, 0)] }

// add asks for a field after n others, if it is supported. Values are zeroed: drivers leave them as they were when a field
// fails.
func (f *fields) add(which, n int) int {
	field := &f.all[which]
	if field.off {
		return n
	}
	f.asked[n] = which
	f.values[n] = gonvml.FieldValue{FieldId: field.id, ScopeId: field.scope}
	return n + 1
}

// powerScopes in the order of preference: a driver refuses the scope of the GPU on boards, such as Grace Hopper's, that
// know only the power of the module.
var powerScopes = [...]struct {
	scope uint32
	name  string
}{{gonvml.POWER_SCOPE_GPU, schema.PowerScopeGPU}, {gonvml.POWER_SCOPE_MODULE, schema.PowerScopeModule}}

// settleScope finds the scope of the board's power, once and for all: the runs table states it. Instant and average power
// are asked for at the same one, which instant power decides, or average power where there is no other. A field that
// fails in passing keeps its scope.
func (b *Board) settleScope() (name string) {
	instant, average := &b.fields.all[powerInstant], &b.fields.all[powerAverage]
	for _, decides := range []*field{instant, average} {
		for _, s := range powerScopes {
			instant.scope, instant.off = s.scope, false
			average.scope, average.off = s.scope, false
			var r schema.Reading
			b.lost = gonvml.SUCCESS
			b.readFields(b.fields.request(sampler.LanePower|sampler.LaneUtilization), &r)
			// A driver that knows no scopes answers each with the board's power, to the milliwatt.
			if r.MemoryPowerW.OK && r.MemoryPowerW == r.PowerInstantW {
				b.fields.all[memoryPower].off = true
			}
			if !decides.off {
				return s.name
			}
		}
	}
	return ""
}

func (b *Board) readFields(values []gonvml.FieldValue, r *schema.Reading) {
	if len(values) == 0 || !b.ok(b.device.GetFieldValues(values)) || b.abandoned.Load() {
		return
	}
	for i := range values {
		which := b.fields.asked[i]
		if ret := gonvml.Return(values[i].NvmlReturn); b.ok(ret) {
			store(which, &values[i], r)
		} else if isUnsupported(ret) || ret == gonvml.ERROR_INVALID_ARGUMENT { // how drivers refuse fields they do not know
			b.fields.all[which].off = true
		}
	}
}

// largest is the largest value that is believed: 9 TW, 285,000 years at 1 kW. Up to it a float64 holds each mJ exactly.
const largest = 1 << 53

// store decodes one value. Zeros are absent: drivers give them in passing for sensors that they could not read, and a
// board that answers draws power and has a temperature.
func store(which int, v *gonvml.FieldValue, r *schema.Reading) {
	value, ok := decode(v)
	if !ok || value < 1 || value > largest {
		return
	}
	switch which {
	case powerInstant:
		r.PowerInstantW = schema.Some(float32(value) / 1000)
	case powerAverage:
		r.PowerAverageW = schema.Some(float32(value) / 1000)
	case memoryPower:
		r.MemoryPowerW = schema.Some(float32(value) / 1000)
	case energy:
		r.EnergyTotalJ = schema.Some(value / 1000)
	case memoryTemperature:
		r.MemoryTempC = schema.Some(int32(value))
	}
}

// decode reads a value in the type that the driver says it has.
func decode(v *gonvml.FieldValue) (float64, bool) {
	bits := binary.NativeEndian.Uint64(v.Value[:])
	word := binary.NativeEndian.Uint32(v.Value[:])
	switch gonvml.ValueType(v.ValueType) {
	case gonvml.VALUE_TYPE_DOUBLE:
		d := math.Float64frombits(bits)
		return d, !math.IsNaN(d) && !math.IsInf(d, 0)
	case gonvml.VALUE_TYPE_UNSIGNED_INT:
		return float64(word), true
	case gonvml.VALUE_TYPE_UNSIGNED_LONG, gonvml.VALUE_TYPE_UNSIGNED_LONG_LONG:
		return float64(bits), true
	case gonvml.VALUE_TYPE_SIGNED_LONG_LONG:
		return float64(int64(bits)), true
	case gonvml.VALUE_TYPE_SIGNED_INT:
		return float64(int32(word)), true
	case gonvml.VALUE_TYPE_UNSIGNED_SHORT:
		return float64(binary.NativeEndian.Uint16(v.Value[:])), true
	default:
		return 0, false
	}
}
