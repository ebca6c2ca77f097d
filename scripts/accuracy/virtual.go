package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/sourcegraph/conc/pool"

	"github.com/llm-tracer/tracer/pipeline/energy"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/sampler/sim/load"
	"github.com/llm-tracer/tracer/schema"
)

// The study in virtual time.
const (
	virtualSeeds    = 20
	virtualRequests = 60 // of each seed
	foldSeeds       = 40
	foldRequests    = 100
	firstSeed       = 5000        // the tests of pipeline/energy take theirs from 0 on
	virtualOrigin   = int64(1e18) // later than the making of any simulated board
	roughGrainW     = 10.0        // of the rough world: standard deviation of the true power, anew every 10 ms
	roughScatterW   = 7.0         // half width of its sensor's scatter: a standard deviation of 2.9 W
	pollPeriod      = 10 * time.Millisecond
)

// foldAnswers are the decodes of folded requests, ms: a word, and some sentences of a fast model.
var foldAnswers = [...]float64{45, 500}

// study is what virtual time showed of one board: steady, then rough.
type study struct {
	kind          string
	steady, rough [methods]scores
}

// job is one seed of one world.
type job struct {
	kind  string
	seed  uint64
	rough bool
	into  *[methods]scores
	play  func(*load.Load)
	fold  func(*scores) *score // where the prefills of the load are one sum
}

// virtual plays every seed on every board.
func virtual(kinds []string) ([]study, error) {
	studies := make([]study, len(kinds))
	var jobs []job
	for i, kind := range kinds {
		s := &studies[i]
		s.kind = kind
		for n := range uint64(virtualSeeds) {
			play := func(l *load.Load) { l.Conversations(virtualRequests, 60, 400) }
			jobs = append(jobs,
				job{kind: kind, seed: firstSeed + n, into: &s.steady, play: play},
				job{kind: kind, seed: firstSeed + n, into: &s.rough, play: play, rough: true})
		}
		for n := range uint64(foldSeeds) {
			for _, answer := range foldAnswers {
				jobs = append(jobs,
					job{kind: kind, seed: firstSeed + n, into: &s.steady, play: func(l *load.Load) { l.Repetitions(foldRequests, 30, answer) }, fold: func(s *scores) *score { return &s.fold30 }},
					job{kind: kind, seed: firstSeed + n, into: &s.steady, play: func(l *load.Load) { l.Repetitions(foldRequests, 60, answer) }, fold: func(s *scores) *score { return &s.fold60 }})
			}
		}
	}
	outcomes, err := runAll(jobs)
	if err != nil {
		return nil, err
	}
	for i := range jobs {
		for m := range methods {
			jobs[i].into[m].merge(&outcomes[i][m])
		}
	}
	return studies, nil
}

func runAll(jobs []job) ([][methods]scores, error) {
	outcomes := make([][methods]scores, len(jobs))
	p := pool.New().WithErrors().WithMaxGoroutines(runtime.NumCPU())
	for i := range jobs {
		p.Go(func() (err error) {
			outcomes[i], err = jobs[i].run()
			return err
		})
	}
	return outcomes, p.Wait()
}

func (j *job) run() (outcome [methods]scores, err error) {
	rng := rand.New(rand.NewPCG(j.seed, 1))
	spec, err := load.Spec(j.kind, int(j.seed), rng)
	if err != nil {
		return outcome, err
	}
	if j.rough {
		s := spec.Sensors[sim.PowerInstant]
		s.NoiseW = roughScatterW
		spec.Sensors[sim.PowerInstant] = s
	}
	script, err := sim.New(spec)
	if err != nil {
		return outcome, err
	}
	l := load.On(script.Boards()[0], rng, virtualOrigin)
	if j.rough {
		l.Grain = roughGrainW
	}
	j.play(l)
	estimators, err := readVirtually(l)
	if err != nil {
		return outcome, err
	}
	for m, estimate := range estimators {
		if err := j.judge(l, &outcome[m], estimate); err != nil {
			return outcome, fmt.Errorf("%s, seed %d: %w", j.kind, j.seed, err)
		}
	}
	return outcome, nil
}

func (j *job) judge(l *load.Load, s *scores, estimate estimator) error {
	if j.fold == nil {
		return s.judge(l, estimate)
	}
	truth, err := l.EnergyJ(l.Requests()...)
	if err != nil {
		return err
	}
	j.fold(s).add(estimate(l.Requests()...), truth)
	return nil
}

// readVirtually reads a load's board in the ways that need no program of others.
func readVirtually(l *load.Load) (map[method]estimator, error) {
	about := l.Board().Board()
	plan, err := sampler.PlanFor([]schema.Board{about}, 0)
	if err != nil {
		return nil, err
	}
	updates := energy.NewUpdates(about.Power.Period)
	err = l.ReadSwaying(plan.Power, sampler.LanePower, func(at int64, r *schema.Reading) { updates.Add(at, at, r.PowerInstantW.V) })
	if err != nil {
		return nil, err
	}
	fit, err := fitted(about.Power, updates, l.Stages)
	if err != nil {
		return nil, err
	}
	var instant, drawn series
	err = l.ReadEvenly(pollPeriod, sampler.LanePower|sampler.LaneUtilization, func(at int64, r *schema.Reading) {
		instant.add(at, float64(r.PowerInstantW.V))
		w := r.PowerInstantW // nvmlDeviceGetPowerUsage is the average where there is one
		if r.PowerAverageW.OK {
			w = r.PowerAverageW
		}
		drawn.add(at, float64(w.V))
	})
	if err != nil {
		return nil, err
	}
	aligned := instant.placedIn(about.Power)
	return map[method]estimator{
		tracer:  fit,
		hold:    stageByStage(l.Stages, instant.held),
		placed:  stageByStage(l.Stages, aligned.held),
		usage:   stageByStage(l.Stages, drawn.averaged),
		counter: stageByStage(l.Stages, func(fromNS, toNS int64) float64 { return counted(l.Board(), fromNS, toNS) }),
	}, nil
}

// counted is what the energy counter gained between two instants.
func counted(b *sim.Board, fromNS, toNS int64) float64 {
	var from, to schema.Reading
	_, _ = b.ReadAt(fromNS, sampler.LaneSlow, &from), b.ReadAt(toNS, sampler.LaneSlow, &to) // boards without faults are never lost
	return to.EnergyTotalJ.V - from.EnergyTotalJ.V
}
