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

// Lag is how late a board's power follows its work, as a first-order lag does. It is shown every Step, up to Settled: the
// simulated server's.
const (
	Lag     = 7250 * time.Microsecond
	Step    = time.Millisecond
	Settled = 50 * time.Millisecond
)

// Left is which share of the way is left a while after a change of the work, and the mean of that over the Step from then on,
// as it is shown.
func Left(after time.Duration) (share, shown float64) {
	left := func(d time.Duration) float64 { return math.Exp(-float64(d) / float64(Lag)) }
	share = left(after)
	if after < Settled {
		shown = (share - left(after+Step)) * float64(Lag) / float64(Step)
	}
	return share, shown
}

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
	active, memory := 1.0, 0.5
	if stage == schema.StageIdle {
		active, memory = 0, 0
	}
	length := time.Duration(milliseconds * float64(ms))
	flicker := 0.0
	for at := time.Duration(0); at < length && (at <= Settled || l.Grain > 0); at += Step {
		flickers := l.Grain > 0 && at%(10*time.Millisecond) == 0
		if flickers {
			flicker = l.Grain * l.Rand.NormFloat64()
		}
		if _, shown := Left(at); at <= Settled || flickers {
			l.board.Set(start+int64(at), watts+shown*(from-watts)+flicker, active, memory)
		}
	}
	left, _ := Left(length)
	l.watts = watts + left*(from-watts)
	l.now += int64(length)
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
