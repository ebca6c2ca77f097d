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
	pollPeriod      = 10 * time.Millisecond
)

// The rough world: power flickers, and sensor, clocks and client are off.
const (
	roughGrainW   = 10.0 // standard deviation of the true power, anew every 10 ms
	roughScatterW = 7.0  // half width of the sensor's scatter: a standard deviation of 2.9 W
	roughJitter   = 2 * time.Millisecond
	roughEarly    = 2 * time.Millisecond
	roughLate     = 300 * time.Microsecond
	roughWindow   = 0.9 // of the true one: what is told; windows of one architecture differ by a tenth between nodes (arXiv 2312.02741)
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
		studies[i].kind = kind
		jobs = append(jobs, jobsOf(kind, false, &studies[i].steady)...)
		jobs = append(jobs, jobsOf(kind, true, &studies[i].rough)...)
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

// jobsOf are the seeds of one world.
func jobsOf(kind string, rough bool, into *[methods]scores) (jobs []job) {
	for n := range uint64(virtualSeeds) {
		jobs = append(jobs, job{kind: kind, seed: firstSeed + n, rough: rough, into: into, play: func(l *load.Load) { l.Conversations(virtualRequests, 60, 400) }})
	}
	folds := map[float64]func(*scores) *score{
		30: func(s *scores) *score { return &s.fold30 },
		60: func(s *scores) *score { return &s.fold60 },
	}
	for n := range uint64(foldSeeds) {
		for _, answer := range foldAnswers {
			for prefill, fold := range folds {
				jobs = append(jobs, job{kind: kind, seed: firstSeed + n, rough: rough, into: into, fold: fold, play: func(l *load.Load) { l.Repetitions(foldRequests, prefill, answer) }})
			}
		}
	}
	return jobs
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
		s.NoiseW, s.Jitter = roughScatterW, roughJitter
		spec.Sensors[sim.PowerInstant] = s
	}
	script, err := sim.New(spec)
	if err != nil {
		return outcome, err
	}
	l := load.On(script.Boards()[0], rng, virtualOrigin)
	told := l.Board().Board().Power
	if j.rough {
		l.Grain, l.Early, l.Late = roughGrainW, int64(roughEarly), int64(roughLate)
		told.Window, told.WindowError = time.Duration(roughWindow*float64(told.Window)), 0
	}
	j.play(l)
	estimators, err := readVirtually(l, told)
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

// readVirtually reads a load's board in the ways that need no program of others. What is told of its power sensor may be
// wrong.
func readVirtually(l *load.Load, told schema.Sensor) (map[method]estimator, error) {
	plan, err := sampler.PlanFor([]schema.Board{l.Board().Board()}, 0)
	if err != nil {
		return nil, err
	}
	updates := energy.NewUpdates(told.Period)
	err = l.ReadSwaying(plan.Power, sampler.LanePower, func(at int64, r *schema.Reading) { updates.Add(at, at, r.PowerInstantW.V) })
	if err != nil {
		return nil, err
	}
	fit, err := fitted(told, l.Board().Board().PowerLimitW, updates, l.Stages)
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
	aligned := instant.placedIn(told)
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
