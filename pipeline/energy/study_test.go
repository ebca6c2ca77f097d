package energy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

const msNS = 1e6

// slew as the simulator's boards.
var slew = [...]float64{0.35, 0.60, 0.77, 0.88, 0.95, 1}

type load struct {
	board    *sim.Board
	now      int64
	w        float64
	segments []Segment
	scatter  bool
	n        int
}

func (l *load) to(w float64, d int64, stage schema.Stage) {
	from := l.w
	for i, s := range slew {
		at := l.now + int64(i)*5*msNS
		if at >= l.now+d {
			break
		}
		l.w = from + s*(w-from)
		l.board.Set(at, l.w, 1, 0.5)
	}
	k := map[schema.Stage]int{schema.StageIdle: 0, schema.StagePrefill: 1, schema.StageDecode: 2}[stage]
	if k > 0 && l.scatter {
		k += 2 * l.n
		l.n++
	}
	l.segments = append(l.segments, Segment{l.now, l.now + d, stage == schema.StageIdle, k})
	l.now += d
}

func TestStudy(t *testing.T) {
	for _, kind := range []string{"A100-40", "A10"} {
		var preErr, reqErr []float64
		covered, n, rcov := 0, 0, 0
		var zs []float64
		for seed := range uint64(20) {
			c, err := catalog.BoardByName(kind)
			if err != nil {
				t.Fatal(err)
			}
			spec := sim.Describe(c, int(seed))
			rng := rand.New(rand.NewPCG(seed, 7))
			sensor := spec.Sensors[sim.PowerInstant]
			sensor.Phase = time.Duration(rng.Int64N(int64(sensor.Period)))
			spec.Sensors[sim.PowerInstant] = sensor
			script, err := sim.New(spec)
			if err != nil {
				t.Fatal(err)
			}
			b := script.Boards()[0]
			start := int64(1e18) + int64(seed)*1e9
			l := &load{board: b, now: start, w: 50, scatter: true}
			u := func(lo, hi float64) float64 { return lo + (hi-lo)*rng.Float64() }
			ms := func(lo, hi float64) int64 { return int64(u(lo, hi) * msNS) }
			l.to(60, 2000*msNS, schema.StageIdle)
			tdp := c.TDPW
			for range 100 {
				l.to(tdp*u(.75, .98), ms(60, 400), schema.StagePrefill)
				l.to(tdp*u(.5, .65), ms(200, 2000), schema.StageDecode)
				l.to(60, ms(50, 600), schema.StageIdle)
			}
			up := NewUpdates(sensor.Period)
			for k := 0; ; k++ {
				_, f := math.Modf(float64(k) * 0.0191)
				at := start + int64(k)*20*msNS + int64(20*msNS*math.Abs(2*f-1)) + rng.Int64N(1e5)
				if at > l.now {
					break
				}
				var r schema.Reading
				_ = b.ReadAt(at, sampler.LanePower, &r)
				up.Add(at, at, r.PowerInstantW.V)
			}
			m, ok := Fit(b.Board().Power, up.Located(), l.segments)
			if !ok {
				t.Fatal("no fit")
			}
			if seed < 3 {
				fmt.Printf("%s lag %.2f %.2f ms response %.2f %.3f noise %+v edgesd %.2f ms\n", kind, m.response.lag()*1e3, m.delay*1e3, m.response.come, m.delay*1e3, m.noise, m.seen[50].edgeSD*1e3)
			}
			for i, s := range l.segments {
				if s.Kind%2 == 0 {
					continue
				}
				truth, _ := b.EnergyJ(s.FromNS, s.ToNS)
				e := m.Energy(i)
				preErr = append(preErr, math.Abs(e.J-truth)/truth)
				n++
				z := (e.J - truth) / e.SD
				zs = append(zs, math.Abs(z))
				if math.Abs(z) < 1.96 {
					covered++
				}
				q := m.Energy(i, i+1)
				dt, _ := b.EnergyJ(s.ToNS, l.segments[i+1].ToNS)
				reqErr = append(reqErr, math.Abs(q.J-truth-dt)/(truth+dt))
				if math.Abs(q.J-truth-dt) < 1.96*q.SD {
					rcov++
				}
			}
		}
		slices.Sort(preErr)
		slices.Sort(reqErr)
		slices.Sort(zs)
		fmt.Printf("%s prefill median %.2f%% p90 %.2f%% p99 %.1f%%; covered %.1f%%; request median %.3f%% covered %.1f%%; z50 %.2f z90 %.2f\n", kind, 100*preErr[n/2], 100*preErr[n*9/10], 100*preErr[n*99/100], 100*float64(covered)/float64(n), 100*reqErr[n/2], 100*float64(rcov)/float64(n), zs[n/2], zs[n*9/10])
	}
}
