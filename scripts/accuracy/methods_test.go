package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

const ms = int64(time.Millisecond)

func TestPeersEnergiesAreThoseOfTheirReadings(t *testing.T) {
	s := series{atNS: []int64{10 * ms, 20 * ms, 30 * ms}, w: []float64{100, 200, 400}}
	for _, c := range []struct {
		name     string
		got      float64
		wantWatt float64 // over the 10 ms between two instants
	}{
		{"held within one reading", s.held(20*ms, 30*ms), 200},
		{"held over two", s.held(15*ms, 25*ms), 150},
		{"held before the first", s.held(0, 10*ms), 100},
		{"held after the last", s.held(40*ms, 50*ms), 400},
		{"averaged, both ends included", s.averaged(20*ms, 30*ms), 300},
		{"averaged over one", s.averaged(15*ms, 25*ms), 200},
		{"averaged over none: the one before", s.averaged(31*ms, 41*ms), 400},
		{"averaged before the first", s.averaged(-5*ms, 5*ms), 100},
	} {
		if want := c.wantWatt * 0.010; math.Abs(c.got-want) > 1e-9 {
			t.Errorf("%s: %v J, want %v", c.name, c.got, want)
		}
	}
}

func TestNewValuesStandForThePeriodAroundTheirWindow(t *testing.T) {
	// A sensor of 100 ms that looks at the last 20 ms of each, updated at 100 and at 200.
	s := series{atNS: []int64{90 * ms, 110 * ms, 190 * ms, 210 * ms}, w: []float64{50, 300, 300, 50}}
	p := s.placedIn(schema.Sensor{Period: 100 * time.Millisecond, Window: 20 * time.Millisecond})
	if got, want := p.held(40*ms, 140*ms), 30.0; math.Abs(got-want) > 1e-9 {
		t.Errorf("%v J between 40 and 140 ms, the middle of the window at 90: want %v", got, want)
	}
}

func TestScoresCountWhatTheyAreTold(t *testing.T) {
	var s score
	s.add(interval{j: 11, half: 2, stated: true}, 10)
	s.add(interval{j: 13, half: 2, stated: true}, 10)
	s.add(interval{}, 10)
	if s.zero != 1 || s.stated != 2 || s.holds != 1 || math.Abs(s.quantile(0.5)-0.3) > 1e-9 {
		t.Errorf("%+v, median %v", s, s.quantile(0.5))
	}
}

func TestThePageSaysWhatItIsMadeOf(t *testing.T) {
	o := outcome{config: &config{version: "v9", kinds: []string{"A10"}}, load: "0.25"}
	page, err := o.page()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"tracer v9", "0.25 before it began"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("%q is not in it", want)
		}
	}
}
