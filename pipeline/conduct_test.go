package pipeline

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/schema"
)

const (
	ms     = int64(time.Millisecond)
	second = int64(time.Second)
)

// told is a board whose sensors show, at each instant, what some functions say: power every 20 ms, utilisation every 100,
// the energy counter every second.
func told(length time.Duration, watts func(ns int64) float32, percent func(ns int64) int32, drawn func(ns int64) float64) *conduct {
	b := &schema.Board{Power: schema.Sensor{Period: 100 * time.Millisecond}, PowerScope: schema.PowerScopeGPU}
	var c conduct
	var joules float64
	for ns := second; ns < second+int64(length); ns += 20 * ms {
		r := schema.Reading{StartNS: ns, EndNS: ns, PowerInstantW: schema.Some(watts(ns))}
		if ns%(100*ms) == 0 {
			r.GPUUtilPct = schema.Some(percent(ns))
		}
		joules += drawn(ns) * 0.02
		if ns%second == 0 {
			r.EnergyTotalJ = schema.Some(joules)
		}
		c.add(&r, b, false)
	}
	c.end(b)
	return &c
}

func always[T any](v T) func(int64) T { return func(int64) T { return v } }

// after is one value before an instant, and another from there on.
func after[T any](ns int64, before, then T) func(int64) T {
	return func(at int64) T {
		if at < ns {
			return before
		}
		return then
	}
}

func TestAPowerSensorIsStuckOnlyWhereOthersSayThatTheWorkChanged(t *testing.T) {
	for _, c := range []struct {
		name    string
		watts   func(int64) float32
		percent func(int64) int32
		drawn   func(int64) float64
		stuck   bool
	}{
		{"idle all along, to the milliwatt", always[float32](60), always[int32](0), always(60.0), false},
		{"busy all along, at the limit", always[float32](350), always[int32](98), always(352.0), false},
		{"utilisation comes and goes under one power", always[float32](60), after[int32](5*second, 0, 98), always(60.0), true},
		{"the counter tells of another power", always[float32](60), always[int32](98), always(300.0), true},
		{"the counter stands still too", always[float32](60), always[int32](98), always(0.0), false},
		{"idle, then work: utilisation is seen first", after[float32](5*second+200*ms, 60, 300), after[int32](5*second, 0, 98), after(5*second, 60.0, 300.0), false},
		{"work, then idle: utilisation lags", after[float32](5*second, 300, 60), after[int32](5*second+300*ms, 98, 0), after(5*second+100*ms, 300.0, 60.0), false},
		{"for too short a while", after[float32](2500*ms, 60, 300), after[int32](1700*ms, 0, 98), after(2500*ms, 60.0, 300.0), false},
		{"stuck from an instant on", after[float32](4*second, 300, 61), after[int32](6*second, 98, 0), always(300.0), true},
	} {
		found := told(9*time.Second, c.watts, c.percent, c.drawn)
		if got := len(found.stuck) > 0; got != c.stuck {
			t.Errorf("%s: stuck %v, want %v", c.name, found.stuck, c.stuck)
		}
	}
}

func TestAStuckStretchIsWhereTheValueStood(t *testing.T) {
	found := told(9*time.Second, after[float32](4*second, 300, 61), after[int32](6*second, 98, 0), always(300.0)).stuck
	if len(found) != 1 || found[0].FromNS != 4*second || found[0].ToNS != 10*second-20*ms {
		t.Errorf("stuck %v", found)
	}
}

func TestForeignLoadIsABusyBaseline(t *testing.T) {
	for name, c := range map[string]struct {
		percent func(int64) int32
		length  time.Duration
		foreign bool
	}{
		"idle":                              {always[int32](0), 3 * time.Second, false},
		"a desktop":                         {always[int32](4), 3 * time.Second, false},
		"busy":                              {always[int32](60), 3 * time.Second, true},
		"busy only before the run":          {after[int32](second+400*ms, 60, 0), 3 * time.Second, false},
		"busy for less than half":           {after[int32](2*second, 60, 0), 3 * time.Second, false},
		"no baseline that could tell of it": {always[int32](60), 600 * time.Millisecond, false},
	} {
		var l load
		for ns := second; ns < second+int64(c.length); ns += 100 * ms {
			l.add(&schema.Reading{StartNS: ns, EndNS: ns, GPUUtilPct: schema.Some(c.percent(ns))})
		}
		if l.foreign() != c.foreign {
			t.Errorf("%s: foreign %v", name, l.foreign())
		}
	}
}

// What is kept of the event reasons says of every request what all readings would: those from the last before it to the
// first after it.
func TestThrottlingIsKeptInFewReadings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c conduct
		var all []throttling
		ns := int64(0)
		for range rapid.IntRange(0, 40).Draw(t, "readings") {
			ns += rapid.Int64Range(1, 10).Draw(t, "after")
			all = append(all, throttling{ns, rapid.SampledFrom([]int64{0, 1, 4, 0x20, 0x40}).Draw(t, "reasons")})
			c.held(all[len(all)-1])
		}
		s := &schema.Span{StartNS: rapid.Int64Range(0, ns+5).Draw(t, "start")}
		s.EndNS = s.StartNS + rapid.Int64Range(0, 30).Draw(t, "length")
		want := schema.Opt[int64]{}
		for i, r := range all {
			lastBefore := r.ns <= s.StartNS && (i+1 == len(all) || all[i+1].ns > s.StartNS)
			firstAfter := r.ns >= s.EndNS && (i == 0 || all[i-1].ns < s.EndNS)
			if lastBefore || firstAfter || r.ns > s.StartNS && r.ns < s.EndNS {
				want = schema.Some(want.V | r.reasons)
			}
		}
		if got := c.throttled(s); got != want {
			t.Fatalf("%v, want %v, of %v for a request from %d to %d", got, want, all, s.StartNS, s.EndNS)
		}
	})
}
