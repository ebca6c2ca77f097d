package sampler

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/schema"
)

const driver = "570.124.06"

func boardOf(architecture string) schema.Board {
	return schema.Board{Architecture: architecture, Power: InstantPower(architecture, driver)}
}

func TestPlanForTakesItsRhythmFromTheFastestSensor(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		name   string
		boards []schema.Board
		period time.Duration
		want   Plan
	}{
		{"ampere", []schema.Board{boardOf(AmpereGA10x)}, 0, Plan{20 * ms, 100 * ms, 0, 1000 * ms}},
		{"hopper has GPM", []schema.Board{boardOf(Hopper)}, 0, Plan{20 * ms, 100 * ms, 200 * ms, 1000 * ms}},
		{"volta is bounded below", []schema.Board{boardOf(Volta)}, 0, Plan{10 * ms, 100 * ms, 0, 1000 * ms}},
		{"unknown", []schema.Board{boardOf(Unknown)}, 0, Plan{20 * ms, 100 * ms, 0, 1000 * ms}},
		{"no sensor facts", []schema.Board{{}}, 0, Plan{20 * ms, 100 * ms, 0, 1000 * ms}},
		{"slow sensor is bounded above", []schema.Board{{Power: schema.Sensor{Period: time.Second}}}, 0, Plan{50 * ms, 100 * ms, 0, 1000 * ms}},
		{"mixed", []schema.Board{boardOf(AmpereGA100), boardOf(Volta), boardOf(Hopper)}, 0, Plan{10 * ms, 100 * ms, 200 * ms, 1000 * ms}},
		{"asked for, lanes round up", []schema.Board{boardOf(Hopper)}, 30 * ms, Plan{30 * ms, 120 * ms, 210 * ms, 1020 * ms}},
		{"asked for, slower than the lanes", []schema.Board{boardOf(Hopper)}, 1500 * ms, Plan{1500 * ms, 1500 * ms, 1500 * ms, 1500 * ms}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := PlanFor(c.boards, c.period)
			if err != nil || got != c.want {
				t.Errorf("PlanFor = %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestPlanForRefusesWhatCannotBeKept(t *testing.T) {
	if _, err := PlanFor(nil, 0); err == nil {
		t.Error("planned for no boards")
	}
	for _, period := range []time.Duration{-time.Second, time.Microsecond} {
		if _, err := PlanFor([]schema.Board{boardOf(Hopper)}, period); err == nil {
			t.Errorf("planned a period of %v", period)
		}
	}
	for _, plan := range []Plan{{}, {Power: time.Second, Slow: 1500 * time.Millisecond}, {Power: time.Second, GPM: -time.Second}} {
		if plan.check() == nil {
			t.Errorf("plan %v passed", plan)
		}
	}
}

func TestPlanForAlwaysMakesAPlanThatCanBeKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		period := time.Duration(rapid.Int64Range(int64(MinPeriod), int64(10*time.Second)).Draw(t, "period"))
		plan, err := PlanFor([]schema.Board{boardOf(Hopper)}, period)
		if err != nil {
			t.Fatal(err)
		}
		if err := plan.check(); err != nil {
			t.Fatal(err)
		}
		if plan.GPM < gpmPeriod || plan.Utilization < utilizationPeriod || plan.Slow < slowPeriod {
			t.Fatalf("a lane of %v is faster than its sensors", plan)
		}
	})
}

func TestLanesAreDueTogetherAndNoneIsLostToAMissedSlot(t *testing.T) {
	plan := Plan{Power: 10 * time.Millisecond, Utilization: 100 * time.Millisecond, GPM: 200 * time.Millisecond, Slow: time.Second}
	for _, c := range []struct {
		first, last int64
		want        Lane
	}{
		{0, 0, AllLanes},
		{1, 1, LanePower},
		{10, 10, LanePower | LaneUtilization},
		{20, 20, LanePower | LaneUtilization | LaneGPM},
		{100, 100, AllLanes},
		{101, 109, LanePower},
		{95, 105, AllLanes},
		{1, 10, LanePower | LaneUtilization},
	} {
		if got := plan.due(c.first, c.last); got != c.want {
			t.Errorf("slots %d to %d: %v, want %v", c.first, c.last, got, c.want)
		}
	}

	rapid.Check(t, func(t *rapid.T) {
		var slow, owed int64
		for slot := int64(0); slot < 1000; {
			last := slot + rapid.Int64Range(0, 40).Draw(t, "missed")
			for s := slot; s <= last; s++ {
				if s%100 == 0 {
					owed++
				}
			}
			if plan.due(slot, last)&LaneSlow != 0 {
				slow++
			}
			slot = last + 1
		}
		if slow != owed {
			t.Fatalf("the slow lane was read %d times, due %d times", slow, owed)
		}
	})
}

func TestSensorsKnowWhatTheyDoNotKnow(t *testing.T) {
	for _, c := range []struct {
		architecture, driver string
		want                 schema.Sensor
	}{
		{Hopper, driver, schema.Sensor{Period: 100 * time.Millisecond, Window: 25 * time.Millisecond, GainError: 0.06, Provenance: "table:hopper"}},
		{Volta, "", schema.Sensor{Period: 20 * time.Millisecond, Window: 10 * time.Millisecond, GainError: 0.06, Provenance: "table:volta"}},
		{AmpereGA100, "530.30.02", schema.Sensor{Period: 100 * time.Millisecond, Window: 25 * time.Millisecond, GainError: 0.06, Provenance: "assumed:ampere-ga100"}},
		{Blackwell, driver, schema.Sensor{Period: 100 * time.Millisecond, GainError: 0.06, Provenance: "unknown"}},
		{"rubin", driver, schema.Sensor{Period: 100 * time.Millisecond, GainError: 0.06, Provenance: "unknown"}},
	} {
		if got := InstantPower(c.architecture, c.driver); got != c.want {
			t.Errorf("%s with driver %q: %+v, want %+v", c.architecture, c.driver, got, c.want)
		}
	}
	if _, ok := AveragePower(AmpereGA100, driver); ok {
		t.Error("GA100 has no 1 s average, by nvml.h")
	}
	if s, ok := AveragePower(Ada, driver); !ok || s.Window != time.Second || !s.Average {
		t.Errorf("Ada's average power: %+v, %t", s, ok)
	}
}

func TestEveryCatalogBoardHasAKnownArchitecture(t *testing.T) {
	for _, b := range catalog.Boards() {
		if _, ok := powerTable[b.Architecture]; !ok && b.Architecture != Blackwell {
			t.Errorf("%s: architecture %q is in no table", b.Name, b.Architecture)
		}
	}
}
