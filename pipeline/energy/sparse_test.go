package energy

import (
	"math"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// readSparsely reads as the sampler does where the governor holds a board back whose calls take long: every 20 ms, then
// every 40, then every 80, then every 40 again. The sensor is looked at somewhere within the call.
func (w *world) readSparsely(t testing.TB, call time.Duration) []Update {
	t.Helper()
	first, second, third := w.Between(1e9, 3e9), w.Between(3e9, 5e9), w.Between(9e9, 15e9)
	updates, slot := NewUpdates(w.sensor().Period), -1
	err := w.ReadSwaying(w.poll, sampler.LanePower, func(at int64, r *schema.Reading) {
		slot++
		stride := 2
		switch since := float64(at - origin); {
		case since < first:
			stride = 1
		case since > second && since < third:
			stride = 4
		}
		if slot%stride == 0 {
			start := at - w.Rand.Int64N(int64(call)+1)
			updates.Add(start, start+int64(call), r.PowerInstantW.V)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return updates.Located()
}

// Readings that are rare leave it open when a value came into being. A prefill of 12.7 J was once given 24, give or take
// little, because a value had been put one update too early.
func TestSparseReadingsMakeNoEnergyWrong(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"A100-40", "A10"} {
		for _, call := range []time.Duration{0, 2 * time.Millisecond, 10 * time.Millisecond, 22 * time.Millisecond} {
			var s score
			given := 0
			for seed := range uint64(8) {
				w := newWorld(t, kind, *seedFlag+5000+seed, nil)
				if seed%2 == 0 {
					w.Conversations(9, 60, 400)
				} else {
					w.Repetitions(15, w.Between(30, 330), 300)
				}
				m, ok := Fit(w.sensor(), w.limit(), w.readSparsely(t, call), w.segments())
				if !ok {
					t.Fatalf("%s, calls of %v, seed %d: no model", kind, call, seed)
				}
				for _, i := range w.Requests() {
					if m.Blind(i) {
						continue
					}
					given++
					e, truth := m.Energy(i), w.truth(t, i)
					s.add(e, 0, truth)
					if off := math.Abs(e.J - truth); off > 5*e.SD && off > 0.01*truth {
						t.Errorf("%s, calls of %v, seed %d: prefill %d is %.2f ± %.2f J, the truth %.2f", kind, call, seed, i, e.J, 1.96*e.SD, truth)
					}
				}
			}
			t.Logf("%s, calls of %v: %.2f %% at the median, %.1f %% covered, %d of 96 given", kind, call, 100*s.median(), 100*s.covered(), given)
			if s.covered() < 0.93 || given < 90 {
				t.Errorf("%s, calls of %v: %.1f %% of intervals hold the truth, %d of 96 prefills have one", kind, call, 100*s.covered(), given)
			}
		}
	}
}

// Rarer ones than the sensor's values leave nothing to go by.
func TestReadingsAsRareAsTheSensorsValuesAreNotUsed(t *testing.T) {
	for _, poll := range []time.Duration{100 * time.Millisecond, 160 * time.Millisecond} {
		w := conversations(t, "A100-40", 1, 40, nil, func(w *world) { w.poll = poll })
		if updates := w.read(t); len(updates) > 0 {
			t.Errorf("readings every %v: %d updates", poll, len(updates))
		}
	}
}
