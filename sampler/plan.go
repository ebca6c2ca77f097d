package sampler

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// Nominal rhythms of the lanes beside the power lane.
const (
	utilizationPeriod = 100 * time.Millisecond // boards renew utilisation every 167 (V100) to 200 ms (A100, 3090)
	gpmPeriod         = 200 * time.Millisecond // NVML calls GPM intervals under 100 ms invalid
	slowPeriod        = time.Second            // an energy counter read can cost 2.4 ms
)

// Bounds of the power lane's period.
const (
	MinPeriod     = time.Millisecond // below, a tick's own lateness (some tens of µs) is no longer small beside it
	minAutoPeriod = 10 * time.Millisecond
	maxAutoPeriod = 50 * time.Millisecond
)

// Plan is how often each lane is read. The power lane's period is the tick; the others are multiples of it, so that a
// lane that is due is read in the same reading as the power. A lane with period zero is not read.
type Plan struct {
	Power       time.Duration
	Utilization time.Duration
	GPM         time.Duration
	Slow        time.Duration
}

// PlanFor plans for boards that are read together. Period zero asks for the rhythm that the fastest of their power
// sensors deserves: a fifth of its period, between 10 and 50 ms. Polling faster than that gains nothing, polling at the
// sensor's own period aliases with it. Boards without GPM cost nothing when others have it: they skip the lane.
func PlanFor(boards []schema.Board, period time.Duration) (Plan, error) {
	if len(boards) == 0 {
		return Plan{}, errors.New("no boards to plan for")
	}
	if period == 0 {
		period = maxAutoPeriod
		for _, b := range boards {
			period = min(period, autoPeriod(b.Power))
		}
	}
	if period < MinPeriod {
		return Plan{}, fmt.Errorf("sampling period %v is below %v", period, MinPeriod)
	}
	plan := Plan{
		Power:       period,
		Utilization: roundUp(utilizationPeriod, period),
		Slow:        roundUp(slowPeriod, period),
	}
	for _, b := range boards {
		if HasGPM(b.Architecture) {
			plan.GPM = roundUp(gpmPeriod, period)
		}
	}
	return plan, nil
}

func autoPeriod(s schema.Sensor) time.Duration {
	period := s.Period
	if period <= 0 {
		period = unknownPeriod
	}
	// Whole milliseconds, so that a period measured as 99.98 ms does not move the other lanes' multiples.
	return min(max((period/5).Round(time.Millisecond), minAutoPeriod), maxAutoPeriod)
}

func roundUp(period, tick time.Duration) time.Duration { return (period + tick - 1) / tick * tick }

// check says whether the plan can be kept.
func (p Plan) check() error {
	if p.Power < MinPeriod {
		return fmt.Errorf("power lane's period %v is below %v", p.Power, MinPeriod)
	}
	for _, lane := range []struct {
		name   string
		period time.Duration
	}{{"utilisation", p.Utilization}, {"GPM", p.GPM}, {"slow", p.Slow}} {
		if lane.period < 0 || lane.period%p.Power != 0 {
			return fmt.Errorf("%s lane's period %v is no multiple of the power lane's %v", lane.name, lane.period, p.Power)
		}
	}
	return nil
}

// due is the set of lanes that fall due in the slots from first to last, both included. Slots that were missed pass what
// they owed on to the one that is taken, so that a late tick never costs the slow lane a whole second.
func (p Plan) due(first, last int64) Lane {
	lanes := LanePower
	if dueIn(p.Utilization/p.Power, first, last) {
		lanes |= LaneUtilization
	}
	if dueIn(p.GPM/p.Power, first, last) {
		lanes |= LaneGPM
	}
	if dueIn(p.Slow/p.Power, first, last) {
		lanes |= LaneSlow
	}
	return lanes
}

// dueIn says whether a multiple of every lies in [first, last].
func dueIn(every time.Duration, first, last int64) bool {
	return every > 0 && last/int64(every)*int64(every) >= first
}

// String lists the lanes with their periods.
func (p Plan) String() string {
	var parts []string
	for _, lane := range []struct {
		name   string
		period time.Duration
	}{{"power", p.Power}, {"utilisation", p.Utilization}, {"gpm", p.GPM}, {"slow", p.Slow}} {
		if lane.period > 0 {
			parts = append(parts, fmt.Sprintf("%s %v", lane.name, lane.period))
		}
	}
	return strings.Join(parts, ", ")
}
