package schema

import "time"

// Overhead is what sampling itself costs the requests that are being traced, as tracer overhead measured it.
type Overhead struct {
	RunID  string        // that measured it; empty where none has
	Period time.Duration // between readings of instant power
	TTFT   Effect
	TPOT   Effect
}

// Effect is a change against the same requests without sampling, in per cent, with its 95 % confidence interval; absent
// where too little was measured for one.
type Effect struct {
	Pct Opt[float64] `json:"change_pct"`
	Lo  Opt[float64] `json:"change_pct_lo"`
	Hi  Opt[float64] `json:"change_pct_hi"`
}

// OverheadBlock is where a request of tracer overhead stood. Each round holds one block of requests for each period.
type OverheadBlock struct {
	Round  Opt[int32]    // counted from 1; absent in other runs
	Period time.Duration // between readings of instant power; 0: the boards were not sampled
}

// overheadColumns of the runs table.
var overheadColumns = []Column[RunBoard]{
	optText("overhead_run_id", "the run of tracer overhead that the next columns are from: this one, or the latest before it with the same host, boards, driver, server, model and, within a tenth, period; NULL where there is none", func(r *RunBoard) string { return r.Run.Overhead.RunID }),
	optLength("overhead_period_s", "between readings of instant power when the overhead was measured", func(r *RunBoard) time.Duration { return r.Run.Overhead.Period }),
	percent("overhead_ttft_pct", "how much longer the time to first token is with sampling than without", func(o *Overhead) Opt[float64] { return o.TTFT.Pct }),
	percent("overhead_ttft_pct_lo", "95 % confidence interval, lower bound", func(o *Overhead) Opt[float64] { return o.TTFT.Lo }),
	percent("overhead_ttft_pct_hi", "95 % confidence interval, upper bound", func(o *Overhead) Opt[float64] { return o.TTFT.Hi }),
	percent("overhead_tpot_pct", "how much longer the time per output token is with sampling than without", func(o *Overhead) Opt[float64] { return o.TPOT.Pct }),
	percent("overhead_tpot_pct_lo", "95 % confidence interval, lower bound", func(o *Overhead) Opt[float64] { return o.TPOT.Lo }),
	percent("overhead_tpot_pct_hi", "95 % confidence interval, upper bound", func(o *Overhead) Opt[float64] { return o.TPOT.Hi }),
}

func percent(name, doc string, get func(*Overhead) Opt[float64]) Column[RunBoard] {
	return Column[RunBoard]{Name: name, Type: typeFloat64, Nullable: true, Unit: "%", Doc: doc, bind: optional(func(r *RunBoard) Opt[float64] { return get(&r.Run.Overhead) })}
}
