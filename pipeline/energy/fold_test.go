package energy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

func TestFoldStudy(t *testing.T) {
	for _, kind := range []string{"A100-40", "A10"} {
		for _, preMS := range []float64{30, 60} {
			for _, decMS := range []float64{0, 45, 500} {
				var errs, zs []float64
				var bias float64
				for seed := range uint64(40) {
					c, _ := catalog.BoardByName(kind)
					spec := sim.Describe(c, int(seed))
					rng := rand.New(rand.NewPCG(seed, 9))
					sensor := spec.Sensors[sim.PowerInstant]
					sensor.Phase = time.Duration(rng.Int64N(int64(sensor.Period)))
					spec.Sensors[sim.PowerInstant] = sensor
					script, err := sim.New(spec)
					if err != nil {
						t.Fatal(err)
					}
					b := script.Boards()[0]
					start := int64(1e18) + int64(seed)*1e9
					l := &load{board: b, now: start, w: 50}
					u := func(lo, hi float64) float64 { return lo + (hi-lo)*rng.Float64() }
					ms := func(lo, hi float64) int64 { return int64(u(lo, hi) * msNS) }
					l.to(60, 2000*msNS, schema.StageIdle)
					p, d := c.TDPW*u(.7, .95), c.TDPW*u(.5, .6)
					for range 100 {
						l.to(p*u(.99, 1.01), ms(preMS*.98, preMS*1.02), schema.StagePrefill)
						if decMS > 0 {
							l.to(d*u(.99, 1.01), ms(decMS*.98, decMS*1.02), schema.StageDecode)
						}
						l.to(60, ms(150, 250), schema.StageIdle)
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
					lo := up.Located()
					if os.Getenv("EXACT") != "" {
						for i := range lo {
							k := math.Round(float64(lo[i].EdgeNS-int64(sensor.Phase)) / float64(sensor.Period))
							lo[i].EdgeNS = int64(sensor.Phase) + int64(k)*int64(sensor.Period)
							lo[i].EdgeSD = 1e4
						}
					}
					m, ok := Fit(b.Board().Power, lo, l.segments)
					if !ok {
						t.Fatal("no fit")
					}
					var reps []int
					var truth float64
					for i, s := range l.segments {
						if s.Kind%2 == 0 {
							continue
						}
						reps = append(reps, i)
						j, _ := b.EnergyJ(s.FromNS, s.ToNS)
						truth += j
					}
					e := m.Energy(reps...)
					if math.Abs(e.J-truth)/truth > 0.02 {
						fmt.Printf("OUT %d %s %v %v: truth %.2f got %.2f kinds", seed, kind, preMS, decMS, truth, e.J)
						for _, k := range m.kinds {
							fmt.Printf(" %.1f±%.2f", k.mean, k.sd)
						}
						fmt.Printf(" true %.1f %.1f resp %.2f %.3f noise %+v\n", p, d, m.response.come, m.delay*1e3, m.noise)
					}
					errs = append(errs, math.Abs(e.J-truth)/truth)
					zs = append(zs, math.Abs(e.J-truth)/e.SD)
					bias += (e.J - truth) / truth / 40
					if seed < 2 {
						fmt.Printf("  truth %.3f fold %+v lags %.2f %.2f\n", truth, e, m.response.lag()*1e3, m.delay*1e3)
					}
				}
				slices.Sort(errs)
				slices.Sort(zs)
				cov := 0
				for _, z := range zs {
					if z < 1.96 {
						cov++
					}
				}
				fmt.Printf("%s pre %.0f dec %.0f: median %.2f%% max %.2f%% covered %d/40 z50 %.2f z90 %.2f bias %.2f%%\n", kind, preMS, decMS, 100*errs[20], 100*errs[39], cov, zs[20], zs[36], 100*bias)
			}
		}
	}
}
