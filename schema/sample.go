package schema

import "github.com/apache/arrow/go/v17/arrow"

// Sample is a reading that knows its stage and, where one request alone had the board, its request.
type Sample struct {
	Reading
	Run        *Run
	Board      *Board
	Stage      Stage
	Span       *Span    // nil when idle, and when several requests share the board
	Workload   Workload // empty when idle, and when requests of both workloads share the board
	Warmup     bool
	Concurrent int32 // requests in flight
}

func ofSpan[T any](get func(*Span) Opt[T]) func(*Sample) Opt[T] {
	return func(s *Sample) Opt[T] {
		if s.Span == nil {
			return Opt[T]{}
		}
		return get(s.Span)
	}
}

func nameOf(get func(*Span) string) func(*Sample) string {
	return func(s *Sample) string {
		if s.Span == nil {
			return ""
		}
		return get(s.Span)
	}
}

// Samples is the table of labelled readings.
var Samples = Table[Sample]{
	Name:    "samples",
	Doc:     "one row per GPU and reading",
	SortKey: "gpu_uuid,timestamp",
	alike: func(a, b *Sample) bool {
		return a.Span == b.Span && a.Stage == b.Stage && a.Board == b.Board && a.Run == b.Run && a.Workload == b.Workload && a.Warmup == b.Warmup && a.Concurrent == b.Concurrent
	},
	Columns: []Column[Sample]{
		{
			Name: "timestamp", Type: typeTimestamp, Encoding: Delta, Unit: "µs since 1970, UTC",
			Doc:  "midpoint of the reading on the wall clock, derived from monotonic_ns through one pair of clock readings taken when tracer started, so that it never steps",
			bind: required(func(s *Sample) arrow.Timestamp { return s.Run.at(s.MidNS()) }),
		},
		{
			Name: "monotonic_ns", Type: typeInt64, Encoding: Delta, Unit: "ns",
			Doc:  "the same instant on the host's CLOCK_MONOTONIC, shared with requests",
			bind: required(func(s *Sample) int64 { return s.MidNS() }),
		},
		{
			Name: "run_id", Type: typeString, Encoding: RunLength, Doc: "the run that took the reading",
			bind: runs(func(s *Sample) string { return s.Run.ID }),
		},
		{
			Name: "host", Type: typeString, Encoding: RunLength, Doc: "the machine that measured; a board that is in another has that in runs.gpu_host",
			bind: runs(func(s *Sample) string { return s.Run.Host }),
		},
		{
			Name: "gpu_index", Type: typeInt32, Encoding: Delta, Doc: "NVML index; may change across reboots, gpu_uuid does not",
			bind: steady(always(func(s *Sample) int32 { return s.Board.Index })),
		},
		{
			Name: "gpu_uuid", Type: typeString, Encoding: RunLength, Doc: "the board",
			bind: runs(func(s *Sample) string { return s.Board.UUID }),
		},
		{
			Name: "gpu_name", Type: typeString, Encoding: RunLength, OTel: "OTel hw.name", Doc: "exact product name; begins with sim- where the board is simulated",
			bind: runs(func(s *Sample) string { return s.Board.Name }),
		},
		{
			Name: "llm_name", Type: typeString, Encoding: RunLength, OTel: "OTel gen_ai.request.model", Doc: "exact name of the model that the run asked for",
			bind: runs(func(s *Sample) string { return s.Run.Model }),
		},
		{
			Name: "inference_stage", Type: typeString, Encoding: RunLength,
			Doc:  "prefill, decode, mixed (overlapping requests in different stages) or idle (baseline, gaps, queueing); same as the partition key",
			bind: runs(func(s *Sample) string { return string(s.Stage) }),
		},
		{
			Name: "workload", Type: typeString, Nullable: true, Encoding: RunLength,
			Doc:  "prefill or decode: the kind of prompt in flight; NULL when idle, or when both kinds are in flight",
			bind: runs(func(s *Sample) string { return string(s.Workload) }),
		},
		{
			Name: "prompt_id", Type: typeString, Nullable: true, Encoding: RunLength,
			Doc:  "the prompt that the board was working on; NULL when idle, or when several requests shared the board",
			bind: runs(nameOf(func(p *Span) string { return p.Prompt.ID })),
		},
		{
			Name: "request_id", Type: typeString, Nullable: true, Encoding: RunLength,
			Doc:  "the request that the board was working on; NULL like prompt_id",
			bind: runs(nameOf(func(p *Span) string { return p.RequestID })),
		},
		{
			Name: "input_tokens", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "tokens", OTel: "OTel gen_ai.usage.input_tokens",
			Doc:  "the request's prompt as the server counted it",
			bind: steady(ofSpan(func(p *Span) Opt[int32] { return p.InputTokens })),
		},
		{
			Name: "output_tokens_requested", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "tokens",
			Doc:  "the answer's length as asked for",
			bind: steady(ofSpan(func(p *Span) Opt[int32] { return p.OutputTokensRequested })),
		},
		{
			Name: "concurrent_requests", Type: typeInt32, Encoding: Delta, Doc: "requests in flight at that instant, queueing ones included",
			bind: steady(always(func(s *Sample) int32 { return s.Concurrent })),
		},
		{
			Name: "warmup", Type: typeBool, Doc: "the request in flight was a warm-up",
			bind: steady(always(func(s *Sample) bool { return s.Warmup })),
		},
		{
			Name: "power_instant_w", Type: typeFloat32, Nullable: true, Unit: "W", Doc: "instant power, NVML field 186; repeats until the sensor updates",
			bind: field(func(s *Sample) *Opt[float32] { return &s.PowerInstantW }),
		},
		{
			Name: "power_average_w", Type: typeFloat32, Nullable: true, Unit: "W", OTel: "DCGM POWER_USAGE",
			Doc:  "average power, NVML field 185; on most boards over the last second",
			bind: field(func(s *Sample) *Opt[float32] { return &s.PowerAverageW }),
		},
		{
			Name: "memory_power_w", Type: typeFloat32, Nullable: true, Unit: "W", Doc: "instant power of the device memory alone, NVML field 186 at the scope of the memory; NULL where the board does not tell it apart",
			bind: field(func(s *Sample) *Opt[float32] { return &s.MemoryPowerW }),
		},
		{
			Name: "power_is_new", Type: typeBool, Nullable: true, Doc: "power_instant_w differs from the board's reading before: the sensor updated in between",
			bind: optional(func(s *Sample) Opt[bool] { return s.PowerIsNew }),
		},
		{
			Name: "energy_total_j", Type: typeFloat64, Nullable: true, Unit: "J", OTel: "DCGM TOTAL_ENERGY_CONSUMPTION, there in mJ",
			Doc:  "the board's own energy counter since its driver was loaded, NVML field 83",
			bind: field(func(s *Sample) *Opt[float64] { return &s.EnergyTotalJ }),
		},
		{
			Name: "gpu_utilization_pct", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "%", OTel: "DCGM GPU_UTIL; not OTel's ratio",
			Doc:  "share of the sensor's last period (about 0.2 s) in which any kernel ran",
			bind: field(func(s *Sample) *Opt[int32] { return &s.GPUUtilPct }),
		},
		{
			Name: "memory_utilization_pct", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "%",
			OTel: "DCGM MEM_COPY_UTIL; not OTel hw.gpu.memory.utilization, which is used/limit",
			Doc:  "share of the sensor's last period in which device memory was read or written",
			bind: field(func(s *Sample) *Opt[int32] { return &s.MemoryUtilPct }),
		},
		{
			Name: "sm_active_ratio", Type: typeFloat64, Nullable: true, Unit: "0 to 1", Doc: "GPM SM utilisation, Hopper and later",
			bind: field(func(s *Sample) *Opt[float64] { return &s.SMActive }),
		},
		{
			Name: "tensor_active_ratio", Type: typeFloat64, Nullable: true, Unit: "0 to 1", Doc: "GPM any-tensor utilisation, Hopper and later",
			bind: field(func(s *Sample) *Opt[float64] { return &s.TensorActive }),
		},
		{
			Name: "dram_active_ratio", Type: typeFloat64, Nullable: true, Unit: "0 to 1", Doc: "GPM DRAM bandwidth utilisation, Hopper and later",
			bind: field(func(s *Sample) *Opt[float64] { return &s.DRAMActive }),
		},
		{
			Name: "sm_clock_mhz", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "MHz", Doc: "SM clock",
			bind: field(func(s *Sample) *Opt[int32] { return &s.SMClockMHz }),
		},
		{
			Name: "memory_clock_mhz", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "MHz", Doc: "memory clock",
			bind: field(func(s *Sample) *Opt[int32] { return &s.MemoryClockMHz }),
		},
		{
			Name: "temperature_c", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "°C", Doc: "GPU die",
			bind: field(func(s *Sample) *Opt[int32] { return &s.TemperatureC }),
		},
		{
			Name: "memory_temperature_c", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "°C", Doc: "device memory",
			bind: field(func(s *Sample) *Opt[int32] { return &s.MemoryTempC }),
		},
		{
			Name: "pstate", Type: typeInt32, Nullable: true, Encoding: Delta, Doc: "performance state: 0 is the fastest, 15 the slowest",
			bind: field(func(s *Sample) *Opt[int32] { return &s.PState }),
		},
		{
			Name: "memory_used_bytes", Type: typeInt64, Nullable: true, Encoding: Delta, Unit: "bytes", Doc: "device memory in use",
			bind: field(func(s *Sample) *Opt[int64] { return &s.MemoryUsedB }),
		},
		{
			Name: "power_limit_w", Type: typeFloat32, Nullable: true, Encoding: Dictionary, Unit: "W", Doc: "enforced power limit",
			bind: field(func(s *Sample) *Opt[float32] { return &s.PowerLimitW }),
		},
		{
			Name: "throttle_reasons", Type: typeInt64, Nullable: true, Encoding: Delta, Doc: "bitmask of nvmlClocksEventReasons: why clocks are held down",
			bind: field(func(s *Sample) *Opt[int64] { return &s.Throttle }),
		},
		{
			Name: "clock_error_s", Type: typeFloat32, Nullable: true, Unit: "s", Doc: "the most that timestamp and monotonic_ns may be off by, of a board in another host, whose clock stamped them; NULL of a board in the host that measured",
			bind: field(func(s *Sample) *Opt[float32] { return &s.ClockErrorS }),
		},
		{
			Name: "read_duration_us", Type: typeInt32, Encoding: Delta, Unit: "µs", Doc: "how long the reading took",
			bind: required(func(s *Sample) int32 { return int32((s.EndNS - s.StartNS) / 1000) }),
		},
	},
}
