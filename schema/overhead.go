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

func percent(name, doc string, get func(*Overhead) Opt[float64]) Column[RunBoard] {
	return Column[RunBoard]{Name: name, Type: typeFloat64, Nullable: true, Unit: "%", Doc: doc, bind: optional(func(r *RunBoard) Opt[float64] { return get(&r.Run.Overhead) })}
}
