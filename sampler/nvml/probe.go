package nvml

import (
	"context"
	"fmt"
	"slices"
	"time"

	gonvml "github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

// probePeriod is the rhythm of a probe's rounds: a twentieth of the usual sensor period, so that the instants of change
// are known to 2 %.
const probePeriod = 5 * time.Millisecond

// gpmProbeInterval is long enough for valid GPM metrics.
const gpmProbeInterval = 120 * time.Millisecond

// Answer is what one sensor said while it was probed.
type Answer struct {
	Sensor  string
	Unit    string
	Value   schema.Opt[float64] // the last; absent where the sensor did not answer
	Code    int                 // nvmlReturn_t of the last call; 13 where the driver lacks the symbol
	Text    string              // the code in NVML's words
	Reads   int
	Changes int           // readings that differed from the one before
	Every   time.Duration // median time between changes; 0 with fewer than three
	Cost    time.Duration // median of one call
}

// Probe asks each sensor of the board again and again for a while, and reports what answered, how often the value
// changed and what a call cost. Sensors that do not answer at first are asked once. An idle board's sensors may change
// more rarely than they are renewed.
func (b *Board) Probe(ctx context.Context, length time.Duration) ([]Answer, error) {
	b.library.enter(b)
	defer b.library.leave(b)
	if err := b.begin(); err != nil {
		return nil, err
	}
	probes := b.probes()
	start := clock.Now()
	rounds := int64(length / probePeriod)
	for round := int64(0); round < max(rounds, 1) && ctx.Err() == nil; round++ {
		clock.SleepUntil(start + round*int64(probePeriod))
		for _, p := range probes {
			p.ask()
		}
	}
	answers := make([]Answer, 0, len(probes)+len(gpmMetricIDs))
	for _, p := range probes {
		answers = append(answers, p.answer())
	}
	return append(answers, b.probeGPM()...), ctx.Err()
}

// probe is one sensor under observation.
type probe struct {
	sensor, unit string
	symbol       string
	missing      bool
	get          func() (float64, gonvml.Return)

	value   schema.Opt[float64]
	ret     gonvml.Return
	changes []int64 // when the value was seen to have changed, ns
	costs   []int64
}

func (p *probe) ask() {
	if p.missing || len(p.costs) > 0 && !p.value.OK {
		return
	}
	start := clock.Now()
	v, ret := p.get()
	end := clock.Now()
	p.ret = ret
	p.costs = append(p.costs, end-start)
	if ret != gonvml.SUCCESS {
		return
	}
	if p.value.OK && p.value.V != v {
		p.changes = append(p.changes, end)
	}
	p.value = schema.Some(v)
}

func (p *probe) answer() Answer {
	a := Answer{
		Sensor:  p.sensor,
		Unit:    p.unit,
		Value:   p.value,
		Code:    int(p.ret),
		Text:    p.ret.Error(),
		Reads:   len(p.costs),
		Changes: len(p.changes),
		Cost:    time.Duration(median(p.costs)),
	}
	if p.missing {
		a.Code, a.Text = int(gonvml.ERROR_FUNCTION_NOT_FOUND), p.symbol+" is not in this driver"
	}
	if len(p.changes) >= 3 {
		gaps := make([]int64, len(p.changes)-1)
		for i := range gaps {
			gaps[i] = p.changes[i+1] - p.changes[i]
		}
		a.Every = time.Duration(median(gaps))
	}
	return a
}

func median(values []int64) int64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// probes lists the board's sensors.
func (b *Board) probes() []*probe {
	d := b.device
	probes := []*probe{
		b.fieldProbe("instant power", "W", gonvml.FI_DEV_POWER_INSTANT, gonvml.POWER_SCOPE_GPU, 1000),
		b.fieldProbe("instant power, module", "W", gonvml.FI_DEV_POWER_INSTANT, gonvml.POWER_SCOPE_MODULE, 1000),
		b.fieldProbe("instant power, memory", "W", gonvml.FI_DEV_POWER_INSTANT, gonvml.POWER_SCOPE_MEMORY, 1000),
		b.fieldProbe("average power", "W", gonvml.FI_DEV_POWER_AVERAGE, gonvml.POWER_SCOPE_GPU, 1000),
		b.fieldProbe("energy counter", "J", gonvml.FI_DEV_TOTAL_ENERGY_CONSUMPTION, 0, 1000),
		b.fieldProbe("memory temperature", "°C", gonvml.FI_DEV_MEMORY_TEMP, 0, 1),
		callProbe("power usage", "W", "nvmlDeviceGetPowerUsage", 1000, d.GetPowerUsage),
		callProbe("energy consumption", "J", "nvmlDeviceGetTotalEnergyConsumption", 1000, d.GetTotalEnergyConsumption),
		callProbe("GPU utilisation", "%", "nvmlDeviceGetUtilizationRates", 1, func() (uint32, gonvml.Return) {
			u, ret := d.GetUtilizationRates()
			return u.Gpu, ret
		}),
		callProbe("memory utilisation", "%", "nvmlDeviceGetUtilizationRates", 1, func() (uint32, gonvml.Return) {
			u, ret := d.GetUtilizationRates()
			return u.Memory, ret
		}),
		callProbe("SM clock", "MHz", "nvmlDeviceGetClockInfo", 1, func() (uint32, gonvml.Return) { return d.GetClockInfo(gonvml.CLOCK_SM) }),
		callProbe("memory clock", "MHz", "nvmlDeviceGetClockInfo", 1, func() (uint32, gonvml.Return) { return d.GetClockInfo(gonvml.CLOCK_MEM) }),
		callProbe("temperature", "°C", "nvmlDeviceGetTemperature", 1, func() (uint32, gonvml.Return) {
			return d.GetTemperature(gonvml.TEMPERATURE_GPU)
		}),
		callProbe("performance state", "", "nvmlDeviceGetPerformanceState", 1, d.GetPerformanceState),
		callProbe("memory used", "B", "nvmlDeviceGetMemoryInfo", 1, func() (uint64, gonvml.Return) {
			m, ret := d.GetMemoryInfo()
			return m.Used, ret
		}),
		callProbe("clocks event reasons", "", symbols[eventReasons][0], 1, d.GetCurrentClocksEventReasons),
		callProbe("enforced power limit", "W", "nvmlDeviceGetEnforcedPowerLimit", 1000, d.GetEnforcedPowerLimit),
		callProbe("buffered power samples", "", "nvmlDeviceGetSamples", 1, func() (int, gonvml.Return) {
			_, samples, ret := d.GetSamples(gonvml.TOTAL_POWER_SAMPLES, 0)
			return len(samples), ret
		}),
	}
	for _, p := range probes {
		p.missing = !b.library.has(p.symbol)
	}
	return probes
}

func (b *Board) fieldProbe(sensor, unit string, id, scope uint32, divisor float64) *probe {
	values := make([]gonvml.FieldValue, 1)
	return &probe{
		sensor: fmt.Sprintf("%s (field %d)", sensor, id),
		unit:   unit,
		symbol: "nvmlDeviceGetFieldValues",
		get: func() (float64, gonvml.Return) {
			values[0] = gonvml.FieldValue{FieldId: id, ScopeId: scope}
			if ret := b.device.GetFieldValues(values); ret != gonvml.SUCCESS {
				return 0, ret
			}
			v, ok := decode(&values[0])
			if ret := gonvml.Return(values[0].NvmlReturn); ret != gonvml.SUCCESS || ok {
				return v / divisor, ret
			}
			return 0, gonvml.ERROR_UNKNOWN // a type that nvml.h does not have
		},
	}
}

func callProbe[N int | int32 | uint32 | uint64 | gonvml.Pstates](sensor, unit, symbol string, divisor float64, get func() (N, gonvml.Return)) *probe {
	return &probe{sensor: sensor, unit: unit, symbol: symbol, get: func() (float64, gonvml.Return) {
		v, ret := get()
		return float64(v) / divisor, ret
	}}
}

// probeGPM takes one interval of GPM metrics.
func (b *Board) probeGPM() []Answer {
	var none, r schema.Reading
	start := clock.Now()
	b.readGPM(&none)
	cost := clock.Now() - start
	if b.gpm.supported {
		clock.SleepUntil(b.gpm.takenNS + int64(gpmProbeInterval))
		b.readGPM(&r)
	}
	var answers []Answer
	for _, m := range []struct {
		sensor string
		share  schema.Opt[float64]
	}{{"GPM SM active", r.SMActive}, {"GPM tensor active", r.TensorActive}, {"GPM DRAM active", r.DRAMActive}} {
		a := Answer{Sensor: m.sensor, Value: m.share, Text: "not supported"}
		switch {
		case m.share.OK:
			a.Reads, a.Cost, a.Text = 1, time.Duration(cost), gonvml.SUCCESS.Error()
		case b.gpm.supported:
			a.Reads, a.Cost, a.Text = 1, time.Duration(cost), "no valid interval"
		}
		answers = append(answers, a)
	}
	return answers
}
