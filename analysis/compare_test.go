package analysis

import (
	"math"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/schema"
)

// measured is a side whose requests all cost about so many joules of prefill, known to within own and gain (shares, 95 %).
func measured(board string, joules, own, gain float64) Measured {
	m := Measured{Boards: []string{board}, GainError: gain}
	for i := range 20 {
		j := joules * (1 + 0.001*float64(i%5-2))
		m.requests = append(m.requests, measuredRequest{Workload: schema.WorkloadPrefill, Size: 100, TTFT: &j, PrefillJ: &j})
	}
	m.energies = []energyLine{{Workload: schema.WorkloadPrefill, Size: 100, Stage: schema.StagePrefill, J: joules, GainJ: gain * joules, PlusOr: joules * math.Hypot(own, gain)}}
	return m
}

func TestRatiosOfJoulesKnowTheirSensors(t *testing.T) {
	for _, c := range []struct {
		name    string
		a, b    Measured
		half    float64 // of the interval of joules, about
		differs bool
		says    string
	}{
		{"gains of two boards", measured("x", 10, 0, 0.06), measured("y", 10.5, 0, 0.06), 0.085, false, "of ±6 % (A) and ±6 % (B)"},
		{"one board's gain falls out", measured("x", 10, 0, 0.06), measured("x", 10.5, 0, 0.06), 0.001, true, "fall out"},
		{"what the sensors leave open stays", measured("x", 10, 0.08, 0.06), measured("x", 10.5, 0.06, 0.06), 0.1, false, "fall out"},
		{"simulated", measured("x", 10, 0, 0), measured("y", 10.5, 0, 0), 0.001, true, "are known"},
	} {
		r := Compare(c.a, c.b, 500, 1)
		if len(r.Lines) != 2 {
			t.Fatalf("%s: %+v", c.name, r.Lines)
		}
		times, joules := r.Lines[0], r.Lines[1]
		if !times.Differs || math.Abs(times.Ratio-1.05) > 1e-9 {
			t.Errorf("%s: times %+v", c.name, times)
		}
		if half := math.Log(*joules.Hi / *joules.Lo) / 2; math.Abs(half-c.half) > 0.002 || joules.Differs != c.differs {
			t.Errorf("%s: ± %.3f, want %.3f; distinguishable %v", c.name, half, c.half, joules.Differs)
		}
		var out strings.Builder
		if err := r.Print(&out); err != nil || !strings.Contains(out.String(), c.says) || strings.Contains(out.String(), "not distinguishable") == c.differs {
			t.Errorf("%s: %v\n%s", c.name, err, &out)
		}
	}
}

func TestWhatOnlyOneSideHasIsNotCompared(t *testing.T) {
	a, b := measured("x", 10, 0, 0), measured("y", 10, 0, 0)
	for i := range b.requests {
		b.requests[i].PrefillJ = nil
	}
	if r := Compare(a, b, 500, 1); len(r.Lines) != 1 || r.Lines[0].Metric != "TTFT s" {
		t.Errorf("%+v", r.Lines)
	}
	for i := range b.requests {
		b.requests[i].Size = 50
	}
	b.Counts = RequestCounts{Invalid: 3, Reasons: map[string]int{"timeout": 3}}
	r := Compare(a, b, 500, 1)
	var out strings.Builder
	if err := r.Print(&out); err != nil || len(r.Lines) != 0 || !strings.Contains(out.String(), "A: 20 valid requests (prefill 100), 0 not valid\nB: 20 valid requests (prefill 50), 3 not valid: 3 × timeout\n") {
		t.Errorf("%+v, %v\n%s", r.Lines, err, &out)
	}
}
