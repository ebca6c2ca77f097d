package main

import (
	"math"
	"testing"

	"github.com/llm-tracer/tracer/sampler/sim"
)

// Only one who knows how the boards' power comes about is left with nothing but the sensor's scatter.
func TestTheOracleLeavesNothingButTheSensorsScatter(t *testing.T) {
	for i := range boards {
		l, err := boards[i].on(1)
		if err != nil {
			t.Fatal(err)
		}
		questions, of := conversations(l)
		o, err := ask(l, of)
		if err != nil {
			t.Fatal(err)
		}
		sensor := l.Board().Spec().Sensors[sim.PowerInstant]
		window, n, squares := sensor.Window.Seconds(), 0.0, 0.0
		from, to := l.Span()
		for _, u := range l.Board().Updates(sim.PowerInstant, from, to) {
			at := float64(u.AtNS-from) / 1e9
			if at < 2*window {
				continue
			}
			off := u.W
			for k, w := range o.over(at-window, at) {
				off -= w / window * o.levels[k]
			}
			n, squares = n+1, squares+off*off
		}
		if got, want := math.Sqrt(squares/n), sensor.NoiseW/math.Sqrt(6); got > 1.1*want || got < 0.7*want {
			t.Errorf("%s: updates are off by %.3f W, the sensor scatters by %.3f", boards[i].name, got, want)
		}
		for _, q := range questions {
			truth, err := l.EnergyJ(q.stages...)
			if err != nil {
				t.Fatal(err)
			}
			if off := math.Abs(o.energyJ(q.stages...)/truth - 1); off > 0.05 {
				t.Errorf("%s, %s: off by %.1f %%", boards[i].name, q.what, 100*off)
			}
		}
	}
}
