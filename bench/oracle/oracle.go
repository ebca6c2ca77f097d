package main

import (
	"fmt"
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/mat"

	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/sampler/sim/load"
)

// piece is a stretch of time in which the board's power is constant: a weighted sum of the levels of some stages.
type piece struct {
	from, to float64 // s since the load began
	weights  map[int]float64
}

// oracle is the posterior of all stages' levels, given every update of the sensor, for one who knows all else: when each
// stage truly began, how power follows the work, the sensor's window and scatter, and from what distributions the levels
// were drawn.
type oracle struct {
	load   *load.Load
	pieces []piece
	levels []float64 // W, by stage
}

// drawn is the distribution that a stage's level was drawn from. A mean that is not known is shared by the group.
type drawn struct {
	mean, sd float64
	group    int // from 1 on, of stages with one unknown mean; 0 where the mean is known
}

// anything is the standard deviation, in W, of a mean that nothing is known of.
const anything = 1e3

// ask finds the levels. Updates whose windows reach back before the load are left out.
func ask(l *load.Load, of func(stage int) drawn) (*oracle, error) {
	o := &oracle{load: l}
	o.cut()
	n, groups := len(l.Stages), 0
	for i := range l.Stages {
		groups = max(groups, of(i).group)
	}
	size := n + groups
	a, b := mat.NewSymDense(size, nil), mat.NewVecDense(size, nil)
	add := func(weights map[int]float64, value, sd float64) {
		for i, v := range weights {
			b.SetVec(i, b.AtVec(i)+v*value/(sd*sd))
			for j, w := range weights {
				if j >= i {
					a.SetSym(i, j, a.At(i, j)+v*w/(sd*sd))
				}
			}
		}
	}
	for g := range groups {
		add(map[int]float64{n + g: 1}, 0, anything)
	}
	for i := range l.Stages {
		d := of(i)
		if d.group == 0 {
			add(map[int]float64{i: 1}, d.mean, d.sd)
		} else {
			add(map[int]float64{i: 1, n + d.group - 1: -1}, 0, d.sd)
		}
	}
	sensor := l.Board().Spec().Sensors[sim.PowerInstant]
	scatter, window := sensor.NoiseW/math.Sqrt(6), sensor.Window.Seconds()
	from, to := l.Span()
	for _, u := range l.Board().Updates(sim.PowerInstant, from, to) {
		at := float64(u.AtNS-from) / 1e9
		if at-window < 0 {
			continue
		}
		weights := o.over(at-window, at)
		for i := range weights {
			weights[i] /= window
		}
		add(weights, u.W, scatter)
	}
	var c mat.Cholesky
	if !c.Factorize(a) {
		return nil, fmt.Errorf("the levels of %d stages cannot be told from the updates", n)
	}
	var x mat.VecDense
	if err := c.SolveVecTo(&x, b); err != nil {
		return nil, fmt.Errorf("solving for the levels of %d stages: %w", n, err)
	}
	o.levels = x.RawVector().Data[:n]
	return o, nil
}

// cut divides the load into pieces. Power has come a known share of the way at a change of the work and every step after it.
func (o *oracle) cut() {
	begin, _ := o.load.Span()
	now := map[int]float64{0: 1} // what was before the load is taken for its first level
	for i, s := range o.load.Stages {
		before := now
		for at := time.Duration(0); at <= load.Settled && at < time.Duration(s.ToNS-s.FromNS); at += load.Step {
			_, left := load.Left(at)
			o.piece(float64(s.FromNS-begin+int64(at))/1e9, mixed(i, before, left))
		}
		left, _ := load.Left(time.Duration(s.ToNS - s.FromNS))
		now = mixed(i, before, left)
	}
	_, end := o.load.Span()
	o.pieces[len(o.pieces)-1].to = float64(end-begin) / 1e9
}

// piece begins the next piece, and ends the one before.
func (o *oracle) piece(from float64, weights map[int]float64) {
	if n := len(o.pieces); n > 0 {
		o.pieces[n-1].to = from
	}
	o.pieces = append(o.pieces, piece{from: from, weights: weights})
}

// mixed is what a stage's level and those before it weigh where so much of the way to it is left.
func mixed(stage int, before map[int]float64, left float64) map[int]float64 {
	const least = 1e-9 // that counts
	weights := map[int]float64{stage: 1 - left}
	for i, w := range before {
		if w *= left; w > least {
			weights[i] += w
		}
	}
	return weights
}

// over is the integral of power from one instant to another, by the levels of the stages.
func (o *oracle) over(from, to float64) map[int]float64 {
	weights := map[int]float64{}
	first, _ := slices.BinarySearchFunc(o.pieces, from, func(p piece, at float64) int {
		if p.to <= at {
			return -1
		}
		return 1
	})
	for _, p := range o.pieces[first:] {
		if p.from >= to {
			break
		}
		for i, w := range p.weights {
			weights[i] += w * (min(p.to, to) - max(p.from, from))
		}
	}
	return weights
}

// energyJ is the expected energy of some stages together.
func (o *oracle) energyJ(stages ...int) (joules float64) {
	begin, _ := o.load.Span()
	for _, i := range stages {
		s := o.load.Stages[i]
		for k, w := range o.over(float64(s.FromNS-begin)/1e9, float64(s.ToNS-begin)/1e9) {
			joules += w * o.levels[k]
		}
	}
	return joules
}
