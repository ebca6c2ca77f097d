// Package load puts LLM-like loads on simulated boards and remembers when each stage began and ended, so that estimates of
// its energy can be held against the truth. Loads are written ahead of time: boards take instants that are yet to come.
package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

const ms = int64(time.Millisecond)

// Stage is a stretch of time in which the board did one thing, as the client of a model server learns it.
type Stage struct {
	schema.Stage
	FromNS, ToNS int64
	Kind         int // stages of one kind draw about the same power; 0 is idle
}

// Load is what a board does from an instant on. Stages follow each other without a gap.
type Load struct {
	Rand   *rand.Rand
	Stages []Stage

	Grain       float64 // standard deviation of the true power within a stage, W, anew every 10 ms
	Early, Late int64   // ns: requests are sent so long before the board begins, tokens arrive so long after it gave them
	Haste       float64 // ns: each of these is more by chance, exponentially, with this mean

	board *sim.Board
	from  int64
	now   int64
	watts float64 // true power now
}

// Slew is the shares of the way that a board has covered at a change of its work and every SlewStep after it: the simulated
// server's.
var Slew = [...]float64{0.35, 0.60, 0.77, 0.88, 0.95, 1}

// SlewStep is from one share to the next.
const SlewStep = 5 * time.Millisecond

// Spec describes a board of the catalog whose power sensor has a phase of its own.
func Spec(kind string, index int, r *rand.Rand) (sim.Spec, error) {
	c, err := catalog.BoardByName(kind)
	if err != nil {
		return sim.Spec{}, err
	}
	spec := sim.Describe(c, index)
	sensor := spec.Sensors[sim.PowerInstant]
	sensor.Phase = time.Duration(r.Int64N(int64(sensor.Period)))
	spec.Sensors[sim.PowerInstant] = sensor
	return spec, nil
}

// On begins a load on a board at an instant of CLOCK_MONOTONIC, ns.
func On(b *sim.Board, r *rand.Rand, fromNS int64) *Load {
	return &Load{Rand: r, board: b, from: fromNS, now: fromNS, watts: b.Spec().IdleW}
}

// Board is the board under the load.
func (l *Load) Board() *sim.Board { return l.board }

// Span is the load's beginning and its end as yet.
func (l *Load) Span() (fromNS, toNS int64) { return l.from, l.now }

// Between is a draw from a uniform distribution.
func (l *Load) Between(lo, hi float64) float64 { return lo + (hi-lo)*l.Rand.Float64() }

// Does lets the board do one thing for a while.
func (l *Load) Does(watts, milliseconds float64, stage schema.Stage, kind int) {
	from, start := l.watts, l.now
	for at := int64(0); at < int64(milliseconds*float64(ms)); at += int64(SlewStep) {
		share := Slew[min(int(at/int64(SlewStep)), len(Slew)-1)]
		if l.Grain == 0 && at > int64(len(Slew))*int64(SlewStep) {
			break
		}
		if at%(10*ms) == 0 || l.Grain == 0 {
			l.watts = from + share*(watts-from) + l.Grain*l.Rand.NormFloat64()
		}
		l.board.Set(start+at, l.watts, 1, 0.5)
	}
	l.now += int64(milliseconds * float64(ms))
	// Requests are sent early, and everything else is learnt late.
	chance := int64(l.Haste * l.Rand.ExpFloat64())
	begin := start + l.Late + chance
	if n := len(l.Stages); n == 0 || l.Stages[n-1].Stage == schema.StageIdle {
		begin = start - l.Early - chance
	}
	if n := len(l.Stages); n > 0 {
		begin = max(begin, l.Stages[n-1].FromNS+ms/100)
		l.Stages[n-1].ToNS = begin
	}
	l.Stages = append(l.Stages, Stage{Stage: stage, FromNS: begin, ToNS: l.now, Kind: kind})
}

// modelLoaded is what a board with a model loaded draws at rest, of its idle power without one.
const modelLoaded = 1.3

// Conversations is n requests with prefills between two lengths in ms, decodes of 0.2 to 2 s and idle gaps, no two alike:
// each stage has a power and a kind of its own.
func (l *Load) Conversations(n int, shortest, longest float64) {
	spec := l.board.Spec()
	idle := modelLoaded * spec.IdleW
	l.Does(idle, 2000, schema.StageIdle, 0)
	for r := range n {
		l.Does(spec.PowerLimitW*l.Between(0.75, 0.98), l.Between(shortest, longest), schema.StagePrefill, 2*r+1)
		l.Does(spec.PowerLimitW*l.Between(0.5, 0.65), l.Between(200, 2000), schema.StageDecode, 2*r+2)
		l.Does(idle, l.Between(50, 600), schema.StageIdle, 0)
	}
}

// Repetitions is n requests of one size, with prefills and decodes of these lengths in ms, alike within a few per cent.
func (l *Load) Repetitions(n int, prefillMS, decodeMS float64) {
	spec := l.board.Spec()
	idle := modelLoaded * spec.IdleW
	l.Does(idle, 2000, schema.StageIdle, 0)
	prefill, decode := spec.PowerLimitW*l.Between(0.7, 0.95), spec.PowerLimitW*l.Between(0.5, 0.6)
	for range n {
		l.Does(prefill*l.Between(0.99, 1.01), prefillMS*l.Between(0.98, 1.02), schema.StagePrefill, 1)
		l.Does(decode*l.Between(0.99, 1.01), decodeMS*l.Between(0.98, 1.02), schema.StageDecode, 2)
		l.Does(idle, l.Between(150, 250), schema.StageIdle, 0)
	}
}

// Requests are the positions of the prefills; each is followed by its decode.
func (l *Load) Requests() (prefills []int) {
	for i, s := range l.Stages {
		if s.Stage == schema.StagePrefill {
			prefills = append(prefills, i)
		}
	}
	return prefills
}

// EnergyJ is the true energy of some stages together.
func (l *Load) EnergyJ(stages ...int) (joules float64, err error) {
	for _, i := range stages {
		j, ok := l.board.EnergyJ(l.Stages[i].FromNS, l.Stages[i].ToNS)
		if !ok {
			return 0, fmt.Errorf("the truth of stage %d: the board's timeline no longer reaches back to it", i)
		}
		joules += j
	}
	return joules, nil
}

// swing is how far the sampler's slots go to and fro from one to the next, of a period and back; see sampler's pacer.
const swing = 0.0191

// ReadSwaying reads the board over the whole load in virtual time, at the sampler's rhythm.
func (l *Load) ReadSwaying(period time.Duration, lanes sampler.Lane, take func(atNS int64, r *schema.Reading)) error {
	return l.read(period, lanes, take, func(slot int64) int64 {
		_, swung := math.Modf(float64(slot) * swing)
		return int64(float64(period) * math.Abs(2*swung-1))
	})
}

// ReadEvenly reads the board over the whole load in virtual time, once a period.
func (l *Load) ReadEvenly(period time.Duration, lanes sampler.Lane, take func(atNS int64, r *schema.Reading)) error {
	return l.read(period, lanes, take, func(int64) int64 { return 0 })
}

// read makes every reading up to 0.1 ms late, as threads are.
func (l *Load) read(period time.Duration, lanes sampler.Lane, take func(int64, *schema.Reading), sway func(slot int64) int64) error {
	for slot := int64(0); ; slot++ {
		at := l.from + slot*int64(period) + sway(slot) + l.Rand.Int64N(ms/10)
		if at > l.now {
			return nil
		}
		var r schema.Reading
		if err := l.board.ReadAt(at, lanes, &r); err != nil {
			return err
		}
		take(at, &r)
	}
}
