package main

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/llm-tracer/tracer/pipeline/energy"
	"github.com/llm-tracer/tracer/sampler/sim/load"
	"github.com/llm-tracer/tracer/schema"
)

// method is a way to measure the energy of a stage.
type method int

const (
	tracer      method = iota
	hold               // field 186, each reading until the next
	placed             // field 186, each new value around its window
	usage              // nvmlDeviceGetPowerUsage, averaged
	counter            // ZeusMonitor
	approximate        // ZeusMonitor, approx_instant_energy
	monitor            // Zeus's PowerMonitor
	methods
)

// interval is an estimate in J and half of its 95 % interval, where one is stated.
type interval struct {
	j, half float64
	stated  bool
}

// estimator gives the energy of some stages together.
type estimator func(stages ...int) interval

// confidence is the number of standard deviations in half of a 95 % interval.
const confidence = 1.96

// fitted is tracer's way: levels fitted to the sensor's updates.
func fitted(sensor schema.Sensor, limit schema.Opt[float32], updates *energy.Updates, stages []load.Stage) (estimator, error) {
	segments := make([]energy.Segment, len(stages))
	for i, s := range stages {
		segments[i] = energy.Segment{FromNS: s.FromNS, ToNS: s.ToNS, Idle: s.Stage == schema.StageIdle, Kind: s.Kind}
	}
	m, ok := energy.Fit(sensor, limit, updates.Located(), segments)
	if !ok {
		return nil, fmt.Errorf("no model could be fitted to the updates of %d stages", len(stages))
	}
	return func(stages ...int) interval {
		e := m.Energy(stages...)
		return interval{j: e.J, half: confidence * e.SD, stated: true}
	}, nil
}

// series is power readings in the order of time.
type series struct {
	atNS []int64
	w    []float64
}

func (s *series) add(atNS int64, w float64) {
	s.atNS, s.w = append(s.atNS, atNS), append(s.w, w)
}

// after is the first reading later than an instant.
func (s *series) after(atNS int64) int {
	return sort.Search(len(s.atNS), func(i int) bool { return s.atNS[i] > atNS })
}

// held is the energy between two instants if each reading holds until the next.
func (s *series) held(fromNS, toNS int64) (joules float64) {
	for at, next := fromNS, s.after(fromNS); at < toNS; next++ {
		until := toNS
		if next < len(s.atNS) {
			until = min(toNS, s.atNS[next])
		}
		joules += s.w[max(next-1, 0)] * float64(until-at) / 1e9
		at = until
	}
	return joules
}

// placedIn is the series of the new values, each moved back to where the sensor looked: a value that came into being at an
// edge stands for the period around the middle of its window. Edges lie half a reading before the value was seen first.
func (s *series) placedIn(sensor schema.Sensor) (p series) {
	for i := 1; i < len(s.w); i++ {
		if s.w[i] != s.w[i-1] {
			edge := (s.atNS[i-1] + s.atNS[i]) / 2
			p.add(edge-int64(sensor.Window+sensor.Period)/2, s.w[i])
		}
	}
	return p
}

// averaged is the mean of the readings between two instants, or the one before where there is none, times the time.
func (s *series) averaged(fromNS, toNS int64) float64 {
	from, to := s.after(fromNS-1), s.after(toNS)
	if from == to {
		from, to = max(from-1, 0), max(from, 1)
	}
	var sum float64
	for _, w := range s.w[from:to] {
		sum += w
	}
	return sum / float64(to-from) * float64(toNS-fromNS) / 1e9
}

// stageByStage is an estimator that adds up stages.
func stageByStage(stages []load.Stage, of func(fromNS, toNS int64) float64) estimator {
	return func(which ...int) (e interval) {
		for _, i := range which {
			e.j += of(stages[i].FromNS, stages[i].ToNS)
		}
		return e
	}
}

// score gathers how far estimates are from the truth.
type score struct {
	errors        []float64 // |estimate/truth − 1|
	zero          int       // estimates of 0
	stated, holds int       // intervals, and those that hold the truth
}

func (s *score) add(e interval, truth float64) {
	s.errors = append(s.errors, math.Abs(e.j/truth-1))
	if e.j == 0 {
		s.zero++
	}
	if e.stated {
		s.stated++
		if math.Abs(e.j-truth) <= e.half {
			s.holds++
		}
	}
}

func (s *score) merge(o score) {
	s.errors = append(s.errors, o.errors...)
	s.zero, s.stated, s.holds = s.zero+o.zero, s.stated+o.stated, s.holds+o.holds
}

func (s *score) quantile(q float64) float64 {
	if len(s.errors) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(s.errors))
	return v[int(q*float64(len(v)-1)+0.5)]
}

// scores are one method's on one board.
type scores struct{ prefill, request, fold30, fold60 score }

func (s *scores) merge(o *scores) {
	s.prefill.merge(o.prefill)
	s.request.merge(o.request)
	s.fold30.merge(o.fold30)
	s.fold60.merge(o.fold60)
}

// judge holds an estimator against the truth of every prefill and of every request.
func (s *scores) judge(l *load.Load, estimate estimator) error {
	for _, i := range l.Requests() {
		prefill, err := l.EnergyJ(i)
		if err != nil {
			return err
		}
		decode, err := l.EnergyJ(i + 1)
		if err != nil {
			return err
		}
		s.prefill.add(estimate(i), prefill)
		s.request.add(estimate(i, i+1), prefill+decode)
	}
	return nil
}
