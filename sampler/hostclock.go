package sampler

import (
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

const (
	// clockEvery bounds what looking at the host's clocks costs: about 0.5 µs each time.
	clockEvery = 10 * time.Millisecond
	// clockBound is the smallest step and the shortest sleep that is told.
	clockBound = schema.LeastClockStep
	// clockWithin is how long a look may take: the thread may lose its core between two clocks.
	clockWithin = time.Millisecond
)

// hostClock follows what happens to the host's clocks.
type hostClock struct {
	read  func() clock.Host
	last  clock.Host
	steps []schema.ClockStep
}

// look notes steps of the wall clock, and returns for how long the machine slept since the last look.
func (c *hostClock) look() (slept time.Duration) {
	h := c.read()
	if h.Within > clockWithin {
		return 0
	}
	last := c.last
	c.last = h
	if last == (clock.Host{}) {
		return 0
	}
	passed := h.MonotonicNS - last.MonotonicNS
	slept = time.Duration(h.BootNS - last.BootNS - passed)
	if slept < clockBound {
		slept = 0
	}
	if step := time.Duration(h.WallNS-last.WallNS-passed) - slept; step > clockBound || step < -clockBound {
		c.steps = append(c.steps, schema.ClockStep{FromNS: last.MonotonicNS, ToNS: h.MonotonicNS, Step: step})
	}
	return slept
}

// due says whether the last look is long enough ago.
func (c *hostClock) due(nowNS int64) bool { return nowNS >= c.last.MonotonicNS+int64(clockEvery) }
