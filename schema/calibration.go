package schema

import (
	"fmt"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
)

// Calibration is what was measured about a board's sensors before a run. The zero value is none.
type Calibration struct {
	AtUnixMS int64  `json:"at_unix_ms"`
	Load     string `json:"load"` // what the board did meanwhile

	PowerInstant FieldCalibration `json:"power_instant"` // field 186
	PowerAverage FieldCalibration `json:"power_average"` // field 185
	Energy       FieldCalibration `json:"energy"`        // field 83
	Utilization  FieldCalibration `json:"utilization"`
}

// FieldCalibration is what was measured about one sensor. All is zero where it does not answer.
type FieldCalibration struct {
	Reads       int64         `json:"reads"`
	Changes     int64         `json:"changes"`                  // reads that differed from the one before
	Period      time.Duration `json:"period_ns,omitzero"`       // 0: not found
	Confidence  float64       `json:"confidence,omitzero"`      // mean resultant length of the changes at Period
	Window      time.Duration `json:"window_ns,omitzero"`       // 0: not measured
	WindowError time.Duration `json:"window_error_ns,omitzero"` // ±, 95 %
	CallP50     time.Duration `json:"call_p50_ns"`
	CallP99     time.Duration `json:"call_p99_ns"`
}

// PeriodChange says when a board's calls began to take too much, or little enough, of the time, and what was done.
type PeriodChange struct {
	AtNS  int64         `json:"monotonic_ns"` // CLOCK_MONOTONIC
	From  time.Duration `json:"from_ns"`      // between readings of power
	To    time.Duration `json:"to_ns"`
	Share float64       `json:"call_share"` // of wall time, over the seconds before
}

// String is the change as it stands in the dataset.
func (c PeriodChange) String() string {
	return fmt.Sprintf("monotonic_ns=%d from_s=%g to_s=%g call_share=%.4g", c.AtNS, c.From.Seconds(), c.To.Seconds(), c.Share)
}

// calibrationColumns are what a calibration found out, field by field; all NULL in a run without one.
func calibrationColumns() []Column[RunBoard] {
	of := func(r *RunBoard) *Calibration { return &r.Board.Calibration }
	columns := []Column[RunBoard]{
		{Name: "calibrated_timestamp", Type: typeTimestamp, Nullable: true, Encoding: Delta, Unit: "µs since 1970, UTC", Doc: "when the board's sensors were calibrated; NULL where they were not", bind: optional(func(r *RunBoard) Opt[arrow.Timestamp] {
			return Opt[arrow.Timestamp]{V: instant(of(r).AtUnixMS * 1e6), OK: of(r).AtUnixMS > 0}
		})},
		optText("calibration_load", "what the board did meanwhile", func(r *RunBoard) string { return of(r).Load }),
	}
	for _, f := range []struct {
		name, what string
		get        func(*Calibration) *FieldCalibration
	}{
		{"power_instant", "instant power (field 186)", func(c *Calibration) *FieldCalibration { return &c.PowerInstant }},
		{"power_average", "average power (field 185)", func(c *Calibration) *FieldCalibration { return &c.PowerAverage }},
		{"energy", "the energy counter (field 83)", func(c *Calibration) *FieldCalibration { return &c.Energy }},
		{"utilization", "utilisation", func(c *Calibration) *FieldCalibration { return &c.Utilization }},
	} {
		get, name := func(r *RunBoard) *FieldCalibration { return f.get(of(r)) }, "calibrated_"+f.name
		columns = append(columns,
			optLength(name+"_period_s", "update period of "+f.what+"; NULL where it was not found", func(r *RunBoard) time.Duration { return get(r).Period }),
			Column[RunBoard]{Name: name + "_confidence", Type: typeFloat64, Nullable: true, Doc: "mean resultant length of its changes at that period, 0 to 1", bind: optional(func(r *RunBoard) Opt[float64] {
				return Opt[float64]{V: get(r).Confidence, OK: get(r).Period > 0}
			})},
			Column[RunBoard]{Name: name + "_changes", Type: typeInt64, Nullable: true, Encoding: Delta, Doc: "of its value, seen while calibrating", bind: optional(func(r *RunBoard) Opt[int64] {
				return Opt[int64]{V: get(r).Changes, OK: get(r).Reads > 0}
			})},
			optLength(name+"_call_p50_s", "of one call", func(r *RunBoard) time.Duration { return get(r).CallP50 }),
			optLength(name+"_call_p99_s", "of one call", func(r *RunBoard) time.Duration { return get(r).CallP99 }),
		)
	}
	return columns
}
