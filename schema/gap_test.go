package schema

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestGapsAndStepsComeBackFromTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := Gap{
			FromNS: rapid.Int64().Draw(t, "from"), ToNS: rapid.Int64().Draw(t, "to"),
			Why:   rapid.SampledFrom([]string{GapLost, GapReset, GapHang, GapReopened, GapSuspend, GapStalled, GapDropped, GapHost, GapUnlabelled, GapDamaged, GapUnknown}).Draw(t, "why"),
			Slept: time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "slept")) * time.Millisecond,
		}
		if back, err := ParseGap(g.String()); err != nil || back != g {
			t.Fatalf("%v came back as %v, %v", g, back, err)
		}
		c := ClockStep{FromNS: g.FromNS, ToNS: g.ToNS, Step: time.Duration(rapid.Int64Range(-1e12, 1e12).Draw(t, "step")) * time.Microsecond}
		if back, err := ParseClockStep(c.String()); err != nil || back != c {
			t.Fatalf("%v came back as %v, %v", c, back, err)
		}
		p := PeriodChange{AtNS: g.FromNS, From: 20 * time.Millisecond, To: time.Duration(rapid.Int64Range(1, 1e6).Draw(t, "to, µs")) * time.Microsecond, Share: 0.0625}
		if back, err := ParsePeriodChange(p.String()); err != nil || back != p {
			t.Fatalf("%v came back as %v, %v", p, back, err)
		}
	})
	for _, text := range []string{"from_monotonic_ns=x", "until=1", "from_monotonic_ns", "slept_s=long"} {
		if g, err := ParseGap(text); err == nil {
			t.Errorf("%q was read as %v", text, g)
		}
	}
}

func TestARequestMissesTheGapsThatItTouches(t *testing.T) {
	s := &Span{StartNS: 100, EndNS: 200}
	for _, c := range []struct {
		from, to int64
		missed   bool
	}{{0, 99, false}, {0, 100, true}, {120, 130, true}, {200, 300, true}, {201, 300, false}, {0, 300, true}} {
		if got := s.Missed([]Gap{{FromNS: c.from, ToNS: c.to}}); got != c.missed {
			t.Errorf("a gap from %d to %d: %v", c.from, c.to, got)
		}
		if got := s.Stepped([]ClockStep{{FromNS: c.from, ToNS: c.to}}); got != c.missed {
			t.Errorf("a step from %d to %d: %v", c.from, c.to, got)
		}
	}
}
