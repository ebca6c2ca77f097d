package schema

import "github.com/apache/arrow/go/v17/arrow"

// Request is one attempt at one request, with the boards it ran on.
type Request struct {
	Span
	Run           *Run
	GPUName       string // of all boards; distinct names joined by "+"
	GPUUUIDs      []string
	PrefillEnergy Energy
	DecodeEnergy  Energy
	Energy        Energy // of both stages together
	EnergyMethod  string
	Throttle      Opt[int64]   // of all boards
	ClockErrorS   Opt[float32] // the most of its readings'
}

// Valid says whether nothing speaks against using the request.
func (r *Request) Valid() bool { return len(r.Invalid) == 0 }

func (r *Request) wall(ns Opt[int64]) Opt[arrow.Timestamp] {
	return Opt[arrow.Timestamp]{V: r.Run.at(ns.V), OK: ns.OK}
}

// seconds is the span from a to b.
func seconds(a, b Opt[int64]) Opt[float64] {
	return Opt[float64]{V: float64(b.V-a.V) / 1e9, OK: a.OK && b.OK}
}

// TTFT is the time from the request to its first token, in seconds.
func (s *Span) TTFT() Opt[float64] { return seconds(Some(s.StartNS), s.FirstTokenNS) }

// TPOT is the mean time per output token after the first, in seconds; absent under two tokens.
func (s *Span) TPOT() Opt[float64] {
	if !s.OutputTokens.OK || s.OutputTokens.V < 2 {
		return Opt[float64]{}
	}
	d := seconds(s.FirstTokenNS, s.LastTokenNS)
	d.V /= float64(s.OutputTokens.V - 1)
	return d
}

// LatencyS is the whole attempt, in seconds.
func (s *Span) LatencyS() float64 { return float64(s.EndNS-s.StartNS) / 1e9 }

// Requests is the table of attempts; a failed one keeps its row.
var Requests = Table[Request]{
	Name:    "requests",
	Doc:     "one row per attempt at a request; a failed one keeps its row",
	SortKey: "start_timestamp",
	Columns: []Column[Request]{
		{Name: "request_id", Type: typeString, Doc: "unique in the dataset", bind: required(func(r *Request) string { return r.RequestID })},
		{Name: "run_id", Type: typeString, Encoding: Dictionary, Doc: "the run that sent it", bind: required(func(r *Request) string { return r.Run.ID })},
		{Name: "host", Type: typeString, Encoding: Dictionary, Doc: "the machine that measured", bind: required(func(r *Request) string { return r.Run.Host })},
		{Name: "prompt_id", Type: typeString, Doc: "the prompt in the run's corpus", bind: required(func(r *Request) string { return r.Prompt.ID })},
		{
			Name: "workload", Type: typeString, Encoding: Dictionary, Doc: "prefill (long prompt, one-word answer) or decode (short prompt, long answer)",
			bind: required(func(r *Request) string { return string(r.Prompt.Workload) }),
		},
		{
			Name: "target_tokens", Type: typeInt32, Encoding: Delta, Unit: "tokens", Doc: "the size asked for: of the prompt (prefill) or of the answer (decode)",
			bind: required(func(r *Request) int32 { return r.Prompt.TargetTokens }),
		},
		{
			Name: "llm_name", Type: typeString, Encoding: Dictionary, OTel: "OTel gen_ai.request.model", Doc: "exact name of the model asked for",
			bind: required(func(r *Request) string { return r.LLM }),
		},
		{
			Name: "response_model", Type: typeString, Nullable: true, Encoding: Dictionary, OTel: "OTel gen_ai.response.model", Doc: "the model that answered, by its own word",
			bind: optional(func(r *Request) Opt[string] { return named(r.Model) }),
		},
		{Name: "endpoint", Type: typeString, Encoding: Dictionary, Doc: "base URL, without credentials", bind: required(func(r *Request) string { return r.Endpoint })},
		{
			Name: "gpu_name", Type: typeString, Encoding: Dictionary, Doc: "the boards sampled meanwhile; distinct names joined by +",
			bind: required(func(r *Request) string { return r.GPUName }),
		},
		{Name: "gpu_uuids", Type: typeStrings, Doc: "the boards sampled meanwhile", bind: stringList(func(r *Request) []string { return r.GPUUUIDs })},
		{Name: "warmup", Type: typeBool, Doc: "sent to warm the server up; leave out of statistics", bind: required(func(r *Request) bool { return r.Warmup })},
		added(Column[Request]{Name: "repetition", Type: typeInt32, Encoding: Delta, Doc: "of the prompt in this run; 1 is the first", bind: required(func(r *Request) int32 { return max(r.Prompt.Repetition, 1) })}),
		{Name: "attempt", Type: typeInt32, Encoding: Delta, Doc: "1 is the first", bind: required(func(r *Request) int32 { return r.Attempt })},
		{
			Name: "start_timestamp", Type: typeTimestamp, Encoding: Delta, Unit: "µs since 1970, UTC", Doc: "the request was handed to the kernel",
			bind: required(func(r *Request) arrow.Timestamp { return r.Run.at(r.StartNS) }),
		},
		{Name: "start_monotonic_ns", Type: typeInt64, Encoding: Delta, Unit: "ns", Doc: "the same on CLOCK_MONOTONIC", bind: required(func(r *Request) int64 { return r.StartNS })},
		{
			Name: "prefill_start_monotonic_ns", Type: typeInt64, Nullable: true, Encoding: Delta, Unit: "ns",
			Doc:  "prefill's beginning by the server's own timing, queueing excluded; NULL where the server does not say and start_monotonic_ns stands for it",
			bind: optional(func(r *Request) Opt[int64] { return r.PrefillStartNS }),
		},
		{
			Name: "first_token_timestamp", Type: typeTimestamp, Nullable: true, Encoding: Delta, Unit: "µs since 1970, UTC", Doc: "the first token arrived: prefill's end",
			bind: optional(func(r *Request) Opt[arrow.Timestamp] { return r.wall(r.FirstTokenNS) }),
		},
		{
			Name: "first_token_monotonic_ns", Type: typeInt64, Nullable: true, Encoding: Delta, Unit: "ns", Doc: "the same on CLOCK_MONOTONIC",
			bind: optional(func(r *Request) Opt[int64] { return r.FirstTokenNS }),
		},
		{
			Name: "last_token_monotonic_ns", Type: typeInt64, Nullable: true, Encoding: Delta, Unit: "ns", Doc: "the last token arrived: decode's end",
			bind: optional(func(r *Request) Opt[int64] { return r.LastTokenNS }),
		},
		{
			Name: "end_timestamp", Type: typeTimestamp, Encoding: Delta, Unit: "µs since 1970, UTC", Doc: "the stream, or the attempt, ended",
			bind: required(func(r *Request) arrow.Timestamp { return r.Run.at(r.EndNS) }),
		},
		{Name: "end_monotonic_ns", Type: typeInt64, Encoding: Delta, Unit: "ns", Doc: "the same on CLOCK_MONOTONIC", bind: required(func(r *Request) int64 { return r.EndNS })},
		{
			Name: "opening", Type: typeString, Nullable: true, Doc: "unique words sent in place of those that the prompt's text begins with, or before a text that begins otherwise; NULL where it was sent as it is",
			bind: optional(func(r *Request) Opt[string] { return named(r.Opening) }),
		},
		{
			Name: "text_tokens", Type: typeInt32, Encoding: Delta, Unit: "tokens", Doc: "of what was sent, before the chat template, by runs.tokenizer; input_tokens should be this and runs.template_tokens",
			bind: required(func(r *Request) int32 { return r.TextTokens }), Added: true,
		},
		{
			Name: "input_tokens", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "tokens", OTel: "OTel gen_ai.usage.input_tokens", Doc: "the prompt as the server counted it, chat template included",
			bind: optional(func(r *Request) Opt[int32] { return r.InputTokens }),
		},
		{
			Name: "cached_input_tokens", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "tokens", Doc: "of these, taken from a prefix cache instead of prefilled",
			bind: optional(func(r *Request) Opt[int32] { return r.CachedInputTokens }),
		},
		{
			Name: "output_tokens_requested", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "tokens", Doc: "the answer's length as asked for",
			bind: optional(func(r *Request) Opt[int32] { return r.OutputTokensRequested }),
		},
		{
			Name: "output_tokens", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "tokens", OTel: "OTel gen_ai.usage.output_tokens", Doc: "the answer as the server counted it, reasoning included; never counted from chunks",
			bind: optional(func(r *Request) Opt[int32] { return r.OutputTokens }),
		},
		{
			Name: "reasoning_tokens", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "tokens", Doc: "of these, reasoning",
			bind: optional(func(r *Request) Opt[int32] { return r.ReasoningTokens }),
		},
		{
			Name: "token_count_source", Type: typeString, Nullable: true, Encoding: Dictionary, Doc: "usage or timings; NULL where the server counted nothing",
			bind: optional(func(r *Request) Opt[string] { return named(r.TokenCountSource) }),
		},
		{
			Name: "ttft_s", Type: typeFloat64, Nullable: true, Unit: "s", OTel: "OTel gen_ai.server.time_to_first_token, here at the client", Doc: "start to first token",
			bind: optional(func(r *Request) Opt[float64] { return r.TTFT() }),
		},
		{
			Name: "tpot_s", Type: typeFloat64, Nullable: true, Unit: "s", OTel: "OTel gen_ai.server.time_per_output_token, here at the client", Doc: "mean time per output token after the first; NULL under two tokens",
			bind: optional(func(r *Request) Opt[float64] { return r.TPOT() }),
		},
		{Name: "latency_s", Type: typeFloat64, Unit: "s", Doc: "start to end", bind: required(func(r *Request) float64 { return r.LatencyS() })},
		{Name: "queue_s", Type: typeFloat64, Nullable: true, Unit: "s", Doc: "queueing, by the server", bind: optional(func(r *Request) Opt[float64] { return r.QueueS })},
		{Name: "server_prefill_s", Type: typeFloat64, Nullable: true, Unit: "s", Doc: "prefill, by the server", bind: optional(func(r *Request) Opt[float64] { return r.ServerPrefillS })},
		{Name: "server_decode_s", Type: typeFloat64, Nullable: true, Unit: "s", Doc: "decode, by the server", bind: optional(func(r *Request) Opt[float64] { return r.ServerDecodeS })},
		{Name: "inter_token_latency_p50_s", Type: typeFloat64, Nullable: true, Unit: "s", Doc: "median gap between arrivals of tokens at the client", bind: optional(func(r *Request) Opt[float64] { return r.ITLP50S })},
		{Name: "inter_token_latency_p99_s", Type: typeFloat64, Nullable: true, Unit: "s", Doc: "99th percentile of these gaps", bind: optional(func(r *Request) Opt[float64] { return r.ITLP99S })},
		{Name: "finish_reason", Type: typeString, Nullable: true, Encoding: Dictionary, Doc: "stop, length, …, by the server", bind: optional(func(r *Request) Opt[string] { return named(r.FinishReason) })},
		{Name: "http_status", Type: typeInt32, Nullable: true, Encoding: Delta, Doc: "NULL where no answer came", bind: optional(func(r *Request) Opt[int32] { return r.HTTPStatus })},
		{Name: "error_type", Type: typeString, Nullable: true, Encoding: Dictionary, Doc: "NULL where the request succeeded", bind: optional(func(r *Request) Opt[string] { return named(r.ErrorType) })},
		{
			Name: "given_up", Type: typeBool, Nullable: true, Doc: "the client stopped listening before the server had stopped answering: the board may have worked on",
			bind: required(func(r *Request) bool { return r.GivenUp }),
		},
		{Name: "concurrency", Type: typeInt32, Encoding: Delta, Doc: "requests that the run keeps in flight", bind: required(func(r *Request) int32 { return r.Concurrency })},
		energyJ("prefill_energy_j", "prefill", func(r *Request) Opt[float64] { return r.PrefillEnergy.J }),
		energyJ("prefill_energy_j_lo", "prefill, lower bound", func(r *Request) Opt[float64] { return r.PrefillEnergy.Lo }),
		energyJ("prefill_energy_j_hi", "prefill, upper bound", func(r *Request) Opt[float64] { return r.PrefillEnergy.Hi }),
		energyJ("decode_energy_j", "decode", func(r *Request) Opt[float64] { return r.DecodeEnergy.J }),
		energyJ("decode_energy_j_lo", "decode, lower bound", func(r *Request) Opt[float64] { return r.DecodeEnergy.Lo }),
		energyJ("decode_energy_j_hi", "decode, upper bound", func(r *Request) Opt[float64] { return r.DecodeEnergy.Hi }),
		energyJ("energy_j", "prefill and decode together", func(r *Request) Opt[float64] { return r.Energy.J }),
		energyJ("energy_j_lo", "both, lower bound: narrower than the sum of theirs, since what one stage gains the other loses", func(r *Request) Opt[float64] { return r.Energy.Lo }),
		energyJ("energy_j_hi", "both, upper bound", func(r *Request) Opt[float64] { return r.Energy.Hi }),
		{Name: "energy_method", Type: typeString, Nullable: true, Encoding: Dictionary, Doc: "how the energies were estimated; NULL where they were not", bind: optional(func(r *Request) Opt[string] { return named(r.EnergyMethod) })},
		{Name: "power_updates_prefill", Type: typeInt32, Nullable: true, Encoding: Delta, Doc: "new power values within prefill, fewest over the boards", bind: optional(func(r *Request) Opt[int32] { return r.PrefillEnergy.Updates })},
		{Name: "power_updates_decode", Type: typeInt32, Nullable: true, Encoding: Delta, Doc: "new power values within decode, fewest over the boards", bind: optional(func(r *Request) Opt[int32] { return r.DecodeEnergy.Updates })},
		{Name: "power_coverage_prefill", Type: typeFloat64, Nullable: true, Unit: "0 to 1", Doc: "share of prefill that the sensor's averaging windows saw, least over the boards", bind: optional(func(r *Request) Opt[float64] { return r.PrefillEnergy.Coverage })},
		{Name: "power_coverage_decode", Type: typeFloat64, Nullable: true, Unit: "0 to 1", Doc: "share of decode that the sensor's averaging windows saw, least over the boards", bind: optional(func(r *Request) Opt[float64] { return r.DecodeEnergy.Coverage })},
		{Name: "sensor_resolved_prefill", Type: typeBool, Nullable: true, Doc: "the power sensor gave a value that is this prefill's alone, on every board; else its energy leans on requests like it", bind: optional(func(r *Request) Opt[bool] { return r.PrefillEnergy.Resolved })},
		{Name: "sensor_resolved_decode", Type: typeBool, Nullable: true, Doc: "the power sensor gave a value that is this decode's alone, on every board", bind: optional(func(r *Request) Opt[bool] { return r.DecodeEnergy.Resolved })},
		{
			Name: "overhead_round", Type: typeInt32, Nullable: true, Encoding: Delta, Doc: "round of tracer overhead, counted from 1; NULL in other runs",
			bind: optional(func(r *Request) Opt[int32] { return r.Overhead.Round }),
		},
		{
			Name: "overhead_period_s", Type: typeFloat64, Nullable: true, Unit: "s", Doc: "between readings of instant power in that block; NULL where the boards were not sampled, and in other runs",
			bind: optional(func(r *Request) Opt[float64] {
				return Opt[float64]{V: r.Overhead.Period.Seconds(), OK: r.Overhead.Period > 0}
			}),
		},
		{
			Name: "clock_error_s", Type: typeFloat32, Nullable: true, Unit: "s",
			Doc:  "the most that this request's instants and the boards' rows may be off from each other, the most of samples.clock_error_s; energies' intervals hold it; NULL where all boards are in the host that measured",
			bind: optional(func(r *Request) Opt[float32] { return r.ClockErrorS }),
		},
		{
			Name: "throttle_reasons", Type: typeInt64, Nullable: true, Encoding: Delta,
			Doc:  "bits of samples.throttle_reasons of all boards, from the last reading before the request to the first after it; 0x8, 0x20, 0x40 and 0x80 (slowdowns) make it throttled, 0x4 (at the power limit) does not",
			bind: optional(func(r *Request) Opt[int64] { return r.Throttle }),
		},
		{Name: "valid", Type: typeBool, Doc: "nothing speaks against using the request", bind: required(func(r *Request) bool { return r.Valid() })},
		{Name: "invalid_reasons", Type: typeStrings, Doc: "codes, empty where valid", bind: stringList(func(r *Request) []string { return r.Invalid })},
	},
}

func energyJ(name, of string, get func(*Request) Opt[float64]) Column[Request] {
	return Column[Request]{Name: name, Type: typeFloat64, Nullable: true, Unit: "J", Doc: "energy of " + of + ", all boards; NULL where it was not estimated", bind: optional(get)}
}
