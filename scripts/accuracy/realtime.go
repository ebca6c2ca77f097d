package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline/energy"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/nvml"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/sampler/sim/load"
	"github.com/llm-tracer/tracer/schema"
)

// The study in real time.
const (
	realSeed     = 1
	realRequests = 45         // 75 s
	leadNS       = int64(3e9) // from the telling of the stages to their beginning
	restNS       = int64(5e8) // read after the load's end
)

// race is what all methods measured of one board at the same time.
type race struct {
	kind      string
	scores    [methods]scores
	readings  [methods]float64 // per second
	cpu       [methods]float64 // s per minute
	lateNS    []int64          // of ZeusMonitor's windows, sorted
	durationS float64
	fit       time.Duration // of tracer's model, after the run
}

// sampled is what tracer makes of a board.
type sampled struct {
	estimate estimator
	sensor   schema.Sensor // as NVML's board and the table tell it
	fit      time.Duration
}

// lookedAt is what the sampler reads of each board.
type lookedAt struct{ updates []*energy.Updates }

// Push keeps the instant power, as the pipeline does.
func (t *lookedAt) Push(r *schema.Reading) bool {
	if r.PowerInstantW.OK {
		t.updates[r.Board].Add(r.StartNS, r.EndNS, r.PowerInstantW.V)
	}
	return true
}

// realTime lets every method read every board at once, through libnvidia-ml.
func realTime(c *config, versions map[string]string) (races []race, stats sampler.Stats, err error) {
	dir, err := os.MkdirTemp("", "accuracy")
	if err != nil {
		return nil, stats, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	path := filepath.Join(dir, "run.script")
	script, rngs, err := createBoards(path, c.kinds)
	if err != nil {
		return nil, stats, err
	}
	defer script.Close() //nolint:errcheck // the file goes with its folder
	// For the library in this process, and for those that the peers load.
	for name, value := range map[string]string{"TRACER_FAKENVML": path, "LD_LIBRARY_PATH": c.lib} {
		if err := os.Setenv(name, value); err != nil {
			return nil, stats, err
		}
	}
	others := make([]peers, len(c.kinds))
	for i := range others {
		if others[i], err = startPeers(c.python, c.readers, i, versions); err != nil {
			return nil, stats, err
		}
	}
	loads, origin := make([]*load.Load, len(c.kinds)), clock.Now()+leadNS
	for i, b := range script.Boards() {
		loads[i] = load.On(b, rngs[i], origin)
		loads[i].Conversations(realRequests, 30, 400)
		if err := others[i].tell(loads[i]); err != nil {
			return nil, stats, err
		}
	}
	ours, stats, err := sample(filepath.Join(c.lib, "libnvidia-ml.so.1"), loads)
	if err != nil {
		return nil, stats, err
	}
	for i := range loads {
		r, err := compare(loads[i], ours[i], others[i], stats)
		if err != nil {
			return nil, stats, err
		}
		r.kind = c.kinds[i]
		races = append(races, r)
	}
	return races, stats, nil
}

func createBoards(path string, kinds []string) (*sim.Script, []*rand.Rand, error) {
	specs, rngs := make([]sim.Spec, len(kinds)), make([]*rand.Rand, len(kinds))
	for i, kind := range kinds {
		rngs[i] = rand.New(rand.NewPCG(realSeed, uint64(i)))
		spec, err := load.Spec(kind, i, rngs[i])
		if err != nil {
			return nil, nil, err
		}
		specs[i] = spec
	}
	script, err := sim.Create(path, specs...)
	return script, rngs, err
}

// sample reads the boards as collect does, at the automatic period, from the beginning of the loads to their end, and fits
// each board's power.
func sample(library string, loads []*load.Load) ([]sampled, sampler.Stats, error) {
	l, err := nvml.Open(nvml.Options{LibraryPath: library})
	if err != nil {
		return nil, sampler.Stats{}, err
	}
	defer l.Close() //nolint:errcheck // the fake has nothing to lose
	var devices []sampler.Device
	var boards []schema.Board
	var sink lookedAt
	for _, b := range l.Boards() {
		devices, boards = append(devices, b), append(boards, b.Board())
		sink.updates = append(sink.updates, energy.NewUpdates(b.Board().Power.Period))
	}
	plan, err := sampler.PlanFor(boards, 0)
	if err != nil {
		return nil, sampler.Stats{}, err
	}
	s, err := sampler.New(devices, plan, &sink)
	if err != nil {
		return nil, sampler.Stats{}, err
	}
	s.Govern(sampler.DefaultBudget)
	stats, err := runThrough(s, loads)
	if err != nil {
		return nil, stats, err
	}
	all := make([]sampled, len(loads))
	for i, ld := range loads {
		stages := slices.Clone(ld.Stages)
		from, to, _ := sink.updates[i].Span()
		stages[0].FromNS, stages[len(stages)-1].ToNS = from, to // what was sampled, as the pipeline takes it
		all[i].sensor = boards[i].Power
		start := time.Now()
		if all[i].estimate, err = fitted(boards[i].Power, boards[i].PowerLimitW, sink.updates[i], stages); err != nil {
			return nil, stats, fmt.Errorf("%s: %w", boards[i].Name, err)
		}
		all[i].fit = time.Since(start)
	}
	return all, stats, nil
}

// runThrough runs the sampler from the beginning of the loads to their end.
func runThrough(s *sampler.Sampler, loads []*load.Load) (stats sampler.Stats, err error) {
	var origin, end int64
	for _, l := range loads {
		from, to := l.Span()
		origin, end = from, max(end, to)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	clock.SleepUntil(origin)
	var group conc.WaitGroup
	group.Go(func() { stats, err = s.Run(ctx) })
	clock.SleepUntil(end + restNS)
	cancel()
	group.Wait()
	return stats, err
}

// compare holds what all methods measured of one board against its truth.
func compare(l *load.Load, ours sampled, others peers, stats sampler.Stats) (r race, err error) {
	var p polled
	var z zeus
	if err := others.poll.result(&p); err != nil {
		return r, err
	}
	if err := others.zeus.result(&z); err != nil {
		return r, err
	}
	instant, drawn := series{p.AtNS, p.InstantW}, series{p.AtNS, p.UsageW}
	aligned := instant.placedIn(ours.sensor)
	for m, estimate := range [methods]estimator{
		tracer:      ours.estimate,
		hold:        stageByStage(l.Stages, instant.held),
		placed:      stageByStage(l.Stages, aligned.held),
		usage:       stageByStage(l.Stages, drawn.averaged),
		counter:     z.Counter.estimator(l),
		approximate: z.Approximate.estimator(l),
		monitor:     z.Power.estimator(l),
	} {
		if err := r.scores[m].judge(l, estimate); err != nil {
			return r, err
		}
	}
	from, to := l.Span()
	r.durationS = float64(to-from) / 1e9
	boards := float64(len(stats.Boards))
	// Every window of ZeusMonitor reads the counter twice.
	windowReads := 2 * float64(len(l.Stages)+len(l.Requests())) / r.durationS
	polls := float64(len(p.AtNS)) / r.durationS
	r.readings = [methods]float64{
		tracer: stats.Hz, hold: polls, placed: polls, usage: polls, counter: windowReads, approximate: windowReads, monitor: float64(time.Second / pollPeriod),
	}
	minute := 60 / r.durationS
	r.cpu = [methods]float64{
		tracer: 60 * stats.CPU.Seconds() / stats.Elapsed.Seconds() / boards, hold: minute * p.CPUS, placed: minute * p.CPUS, usage: minute * p.CPUS,
		counter: minute * z.Counter.CPUS, approximate: minute * z.Approximate.CPUS, monitor: minute * z.Power.CPUS,
	}
	r.fit = ours.fit
	r.lateNS = slices.Sorted(slices.Values(z.LateNS))
	return r, nil
}
