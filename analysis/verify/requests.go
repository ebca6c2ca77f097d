package verify

import (
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/llm-tracer/tracer/schema"
)

// request is what the other tables are held against.
type request struct {
	id, prompt, workload string
	size                 int32
	warmup               bool
	start, end           int64
	prefill, first, last schema.Opt[int64]
	input, requested     schema.Opt[int32]
	errorType            string
	status               schema.Opt[int32]
	givenUp              schema.Opt[bool] // absent in older files
	befallen             bool             // it says what befell the boards, as older files do not
	valid                bool             // as it says itself, and so
	shared               []string         // the reason codes that do not follow from its own columns
	throttle             schema.Opt[int64]
	block                bool // of tracer overhead
	prefillJ, decodeJ    schema.Opt[float64]
}

// requests judges the rows of a requests file by themselves.
type requests struct{ *file }

func (q *requests) end() {}

func (q *requests) batch(r arrow.Record) {
	run, host := column[*array.String](r, "run_id"), column[*array.String](r, "host")
	gpu, llm := column[*array.String](r, "gpu_name"), column[*array.String](r, "llm_name")
	for i := range int(r.NumRows()) {
		name := strings.Clone(q.filed(run.Value(i), host.Value(i)))
		for key, value := range map[string]string{"gpu": schema.Slug(gpu.Value(i)), "llm": schema.Slug(llm.Value(i))} {
			if q.parts[key] != value {
				q.bad("partition "+key, "row %d belongs under %s=%s, not %s=%s", q.row+int64(i), key, value, key, q.parts[key])
			}
		}
		own := q.of(name)
		if own == nil {
			continue
		}
		found := q.judge(r, i, own)
		if q.clock[name] == nil {
			q.clock[name] = &offsets{}
		}
		for _, at := range []string{"start", "first_token", "end"} {
			wall, mono := column[*array.Timestamp](r, at+"_timestamp"), column[*array.Int64](r, at+"_monotonic_ns")
			if wall.IsValid(i) && mono.IsValid(i) {
				q.clock[name].add(int64(wall.Value(i)), mono.Value(i))
			}
		}
		own.mu.Lock()
		own.requests = append(own.requests, found)
		own.mu.Unlock()
	}
}

// judge reads one row, and holds it against itself.
func (q *requests) judge(r arrow.Record, i int, of *run) request {
	str := func(name string) string { return strings.Clone(text(column[*array.String](r, name), i)) }
	i32 := func(name string) schema.Opt[int32] { return optional(column[*array.Int32](r, name), i) }
	i64 := func(name string) schema.Opt[int64] { return optional(column[*array.Int64](r, name), i) }
	f64 := func(name string) schema.Opt[float64] { return optional(column[*array.Float64](r, name), i) }
	yes := func(name string) schema.Opt[bool] { return optional(column[*array.Boolean](r, name), i) }
	span := schema.Span{
		RequestID: str("request_id"), StartNS: i64("start_monotonic_ns").V, EndNS: i64("end_monotonic_ns").V,
		FirstTokenNS: i64("first_token_monotonic_ns"), LastTokenNS: i64("last_token_monotonic_ns"), PrefillStartNS: i64("prefill_start_monotonic_ns"),
		TextTokens: i32("text_tokens").V, InputTokens: i32("input_tokens"), CachedInputTokens: i32("cached_input_tokens"),
		OutputTokensRequested: i32("output_tokens_requested"), OutputTokens: i32("output_tokens"), ErrorType: str("error_type"),
	}
	codes := list(column[*array.List](r, "invalid_reasons"), i)
	row := request{
		id: span.RequestID, prompt: str("prompt_id"), workload: str("workload"), size: i32("target_tokens").V, warmup: yes("warmup").V,
		start: span.StartNS, end: span.EndNS, prefill: span.PrefillStartNS, first: span.FirstTokenNS, last: span.LastTokenNS,
		input: span.InputTokens, requested: span.OutputTokensRequested, errorType: span.ErrorType, status: i32("http_status"), givenUp: yes("given_up"),
		valid: yes("valid").V, shared: slices.DeleteFunc(slices.Clone(codes), func(c string) bool { return slices.Contains(ownCodes, c) }),
		throttle: i64("throttle_reasons"), befallen: column[*array.Int64](r, "throttle_reasons") != nil, block: i32("overhead_round").OK,
		prefillJ: f64("prefill_energy_j"), decodeJ: f64("decode_energy_j"),
	}
	id := row.id
	if row.valid != (len(codes) == 0) {
		q.bad("valid", "request %s: valid is %t, with %d reason codes", id, row.valid, len(codes))
	}
	q.judgeCodes(&span, codes, of)
	instants := []int64{row.start, span.PrefillStartNS.V, span.FirstTokenNS.V, span.LastTokenNS.V, row.end}
	instants = slices.DeleteFunc(instants, func(ns int64) bool { return ns == 0 })
	if !slices.IsSorted(instants) {
		q.bad("instants", "request %s: its start, first token, last token and end do not follow one another", id)
	}
	for name, want := range map[string]schema.Opt[float64]{"ttft_s": span.TTFT(), "tpot_s": span.TPOT(), "latency_s": schema.Some(span.LatencyS())} {
		if have := f64(name); have.OK != want.OK || have.OK && math.Abs(have.V-want.V) > 1e-6 {
			q.bad(name, "request %s: %s is %s, its instants give %s", id, name, number(have), number(want))
		}
	}
	for _, of := range []string{"prefill_energy_j", "decode_energy_j", "energy_j"} {
		q.interval("request "+id, of, f64(of), f64(of+"_lo"), f64(of+"_hi"))
	}
	if both := f64("energy_j"); both.OK && row.prefillJ.OK && row.decodeJ.OK && !near(both.V, row.prefillJ.V+row.decodeJ.V, 1e-6) {
		q.bad("sum", "request %s: energy_j is %g, prefill and decode give %g", id, both.V, row.prefillJ.V+row.decodeJ.V)
	}
	return row
}

// interval holds an energy against its own interval.
func (f *file) interval(of, name string, j, lo, hi schema.Opt[float64]) {
	if j.OK != lo.OK || j.OK != hi.OK || j.OK && !(lo.V >= 0 && lo.V <= j.V && j.V <= hi.V) {
		f.bad("interval "+name, "%s: %s is %s, outside its own interval from %s to %s", of, name, number(j), number(lo), number(hi))
	}
}

// judgeCodes recomputes the reason codes. What only the sender knew, whether an exact length could be asked for and how
// long the context is, leaves some open: those may be there or not.
func (q *requests) judgeCodes(span *schema.Span, codes []string, of *run) {
	asked := schema.Asked{Template: of.templateTokens()}
	least := span.Reasons(asked)
	asked.Exactly, asked.MaxContext = true, span.InputTokens.V
	most := span.Reasons(asked)
	for _, code := range least {
		if !slices.Contains(codes, code) {
			q.bad("lacks "+code, "request %s: its columns call for the reason code %s, which it lacks", span.RequestID, code)
		}
	}
	for _, code := range codes {
		if slices.Contains(ownCodes, code) && !slices.Contains(most, code) {
			q.bad("has "+code, "request %s: it has the reason code %s, which its columns do not call for", span.RequestID, code)
		}
	}
}

// ownCodes are those that follow from a request's own columns.
var ownCodes = []string{
	schema.ReasonFailed, schema.ReasonInterrupted, schema.ReasonPrefixCacheHit, schema.ReasonTokensCut, schema.ReasonTokenCount,
	schema.ReasonLength, schema.ReasonStreamBroken, schema.ReasonNoFirstToken,
}
