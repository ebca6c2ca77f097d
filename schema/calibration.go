package schema

import (
	"fmt"
	"time"
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
