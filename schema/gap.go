package schema

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Gap is a stretch of a run from which a board has no rows, though the plan asked for them: from its last reading before
// to its first after, both included, CLOCK_MONOTONIC; of unlabelled readings, from the opening of the oldest request that
// never ended to the last reading. Nothing is invented for it.
type Gap struct {
	FromNS int64         `json:"from_monotonic_ns"`
	ToNS   int64         `json:"to_monotonic_ns"`
	Why    string        `json:"why"`
	Slept  time.Duration `json:"slept_ns,omitempty"` // of a suspend, which CLOCK_MONOTONIC does not count
}

// Why there is a gap.
const (
	GapLost       = "lost"       // the board did not answer
	GapReset      = "reset"      // it asked for a reset
	GapHang       = "hang"       // a call to it did not come back
	GapReopened   = "reopened"   // the driver's library had to be opened anew
	GapSuspend    = "suspend"    // the machine slept
	GapStalled    = "stalled"    // the sampler did not get to it: a slow call to another board, or the process was stopped
	GapDropped    = "dropped"    // its readings found no room in the ring
	GapHost       = "host"       // the remote host was gone, or tracer's agent on it
	GapUnlabelled = "unlabelled" // the run broke off with requests in flight, so that nobody knows its readings' stage
	GapDamaged    = "damaged"    // the run's journal is damaged there
	GapUnknown    = "unknown"    // the run broke off before its sampler could say; the readings themselves show the gap
)

// LongestSilence is how long a board that is read every so often may be without a row before that is a gap: ten updates of
// the usual power sensor, and five readings. What is shorter shows in the number of missed slots.
func LongestSilence(period time.Duration) time.Duration { return max(time.Second, 5*period) }

// LeastClockStep is the smallest step of the wall clock that is told. NTP's slewing moves CLOCK_MONOTONIC too, so that
// between the two clocks only steps show; this is ten times what a look at them may be off by.
const LeastClockStep = 10 * time.Millisecond

// String is the gap as it stands in the runs table.
func (g Gap) String() string {
	s := fmt.Sprintf("from_monotonic_ns=%d to_monotonic_ns=%d why=%s", g.FromNS, g.ToNS, g.Why)
	if g.Slept > 0 {
		s += fmt.Sprintf(" slept_s=%.3f", g.Slept.Seconds())
	}
	return s
}

// ClockStep is a step of the wall clock against CLOCK_MONOTONIC, between two looks at both.
type ClockStep struct {
	FromNS int64         `json:"from_monotonic_ns"` // the look before
	ToNS   int64         `json:"to_monotonic_ns"`   // the look after
	Step   time.Duration `json:"step_ns"`
}

// String is the step as it stands in the runs table.
func (c ClockStep) String() string {
	return fmt.Sprintf("from_monotonic_ns=%d to_monotonic_ns=%d step_s=%+.6f", c.FromNS, c.ToNS, c.Step.Seconds())
}

// ParseGap reads a gap as String wrote it.
func ParseGap(text string) (g Gap, err error) {
	slept := 0.0
	err = parsePairs(text, map[string]any{"from_monotonic_ns": &g.FromNS, "to_monotonic_ns": &g.ToNS, "why": &g.Why, "slept_s": &slept})
	g.Slept = time.Duration(slept * 1e9).Round(time.Millisecond)
	return g, err
}

// ParseClockStep reads a step as String wrote it.
func ParseClockStep(text string) (c ClockStep, err error) {
	step := 0.0
	err = parsePairs(text, map[string]any{"from_monotonic_ns": &c.FromNS, "to_monotonic_ns": &c.ToNS, "step_s": &step})
	c.Step = time.Duration(step * 1e9).Round(time.Microsecond)
	return c, err
}

// ParsePeriodChange reads a change of the period as String wrote it.
func ParsePeriodChange(text string) (c PeriodChange, err error) {
	var from, to float64
	err = parsePairs(text, map[string]any{"monotonic_ns": &c.AtNS, "from_s": &from, "to_s": &to, "call_share": &c.Share})
	c.From, c.To = time.Duration(from*1e9).Round(time.Microsecond), time.Duration(to*1e9).Round(time.Microsecond)
	return c, err
}

// parsePairs reads key=value pairs, separated by spaces, into what the keys point to.
func parsePairs(text string, into map[string]any) (err error) {
	for pair := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(pair, "=")
		switch v := into[key].(type) {
		case *int64:
			*v, err = strconv.ParseInt(value, 10, 64)
		case *float64:
			*v, err = strconv.ParseFloat(value, 64)
		case *string:
			*v = value
		default:
			err = fmt.Errorf("nothing is called %q", key)
		}
		if err != nil {
			return fmt.Errorf("reading %q: %w", text, err)
		}
	}
	return nil
}

// overlaps says whether a request was in flight at some instant between two others, both included.
func (s *Span) overlaps(fromNS, toNS int64) bool { return s.StartNS <= toNS && s.EndNS >= fromNS }

// Missed says whether a board has a gap while the request was in flight.
func (s *Span) Missed(gaps []Gap) bool {
	for i := range gaps {
		if s.overlaps(gaps[i].FromNS, gaps[i].ToNS) {
			return true
		}
	}
	return false
}

// Stepped says whether the wall clock stepped while the request was in flight.
func (s *Span) Stepped(steps []ClockStep) bool {
	for i := range steps {
		if s.overlaps(steps[i].FromNS, steps[i].ToNS) {
			return true
		}
	}
	return false
}
