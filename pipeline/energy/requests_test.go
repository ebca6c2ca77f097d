package energy

import (
	"math"
	"testing"

	"github.com/llm-tracer/tracer/schema"
)

// A run of a few short requests may pass the sensor by: nothing that it said then tells what they drew, and intervals say so.
func TestIntervalsOfAFewRequestsReckonWithWhatTheSensorMissed(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"A10", "H200"} {
		for _, n := range []int{1, 2, 5} {
			for _, answer := range []float64{5, 45} { // ms
				var prefills, decodes, requests score
				for seed := range uint64(60) {
					w := newWorld(t, kind, *seedFlag+200_000+seed, nil)
					w.Early, w.Late, w.Haste = ms, 3*ms/10, 0.1e6
					idle, limit := 1.3*w.spec.IdleW, w.spec.PowerLimitW
					w.Does(idle, 5000, schema.StageIdle, 0)
					for range n {
						w.Does(0.7*limit*w.Between(0.99, 1.01), 20, schema.StagePrefill, 1)
						w.Does(0.55*limit*w.Between(0.99, 1.01), answer, schema.StageDecode, 2)
						w.Does(idle, w.Between(100, 300), schema.StageIdle, 0)
					}
					m := w.fit(t, w.sensor())
					for _, i := range w.Requests() {
						prefills.add(m.Energy(i), 0, w.truth(t, i))
						decodes.add(m.Energy(i+1), 0, w.truth(t, i+1))
						requests.add(m.Energy(i, i+1), 0, w.truth(t, i, i+1))
					}
				}
				t.Logf("%s, %d requests, answers of %v ms: %.0f %% of prefills covered, %.0f %% of decodes, %.0f %% of requests", kind, n, answer, 100*prefills.covered(), 100*decodes.covered(), 100*requests.covered())
				for what, s := range map[string]*score{"prefill": &prefills, "decode": &decodes, "request": &requests} {
					if s.covered() < 0.85 {
						t.Errorf("%s, %d requests, answers of %v ms: %s intervals hold the truth in %.0f %% of cases", kind, n, answer, what, 100*s.covered())
					}
				}
			}
		}
	}
}

// Before a board works on a prompt its server has read it: tokenizers take a microsecond or two a token, which is milliseconds
// of a long prompt's prefill, and nothing of a short one's.
func TestLongPromptsReachTheBoardLater(t *testing.T) {
	t.Parallel()
	sizes := []struct {
		prefill, decode float64 // ms
		tokens          int
	}{{19, 5, 10}, {62, 5, 1000}, {526, 6, 10_000}, {4000, 6, 100_000}, {19, 45, 10}, {19, 480, 10}}
	for _, kind := range []string{"A10", "H200"} {
		for _, rate := range []float64{0, 2} { // µs a token
			prefills, all := make([]score, len(sizes)), score{}
			for seed := range uint64(8) {
				w := newWorld(t, kind, *seedFlag+300_000+seed, nil)
				w.Late, w.Haste = 3*ms/10, 0.1e6
				idle, limit := 1.3*w.spec.IdleW, w.spec.PowerLimitW
				w.Does(idle, 5000, schema.StageIdle, 0)
				var of []int
				for range 10 {
					for _, k := range w.Rand.Perm(len(sizes)) {
						of = append(of, k)
						w.Early = ms + int64(rate*1e3*float64(sizes[k].tokens))
						w.Does(0.7*limit*w.Between(0.99, 1.01), sizes[k].prefill, schema.StagePrefill, 2*k+1)
						w.Does(0.55*limit*w.Between(0.99, 1.01), sizes[k].decode, schema.StageDecode, 2*k+2)
						w.Does(idle, w.Between(300, 500), schema.StageIdle, 0)
					}
				}
				segments := w.segments()
				for j, i := range w.Requests() {
					segments[i].Tokens = sizes[of[j]].tokens
				}
				m, ok := Fit(w.sensor(), w.limit(), w.read(t), segments)
				if !ok {
					t.Fatal("no model")
				}
				if s, ok := m.PerTokenS(); !ok || math.Abs(s*1e6-rate) > 0.05 {
					t.Errorf("%s, seed %d: prompts are read at %v s a token, %v, want %v µs", kind, seed, s, ok, rate)
				}
				for j, i := range w.Requests() {
					prefills[of[j]].add(m.Energy(i), 0, w.truth(t, i))
					all.add(m.Energy(i), 0, w.truth(t, i))
				}
			}
			t.Logf("%s, %v µs a token: %.1f %% of prefills covered", kind, rate, 100*all.covered())
			for k, s := range prefills {
				t.Logf("%d tokens: %.3f %% at the median, %.1f %% covered", sizes[k].tokens, 100*s.median(), 100*s.covered())
			}
			if long := &prefills[2]; long.median() > 0.002 || all.covered() < 0.9 {
				t.Errorf("%s, %v µs a token: median error of 10,000 tokens %v, %v of all prefills covered", kind, rate, long.median(), all.covered())
			}
		}
	}
}
