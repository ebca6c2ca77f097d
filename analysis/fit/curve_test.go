package fit

import (
	"math"
	"math/rand/v2"
	"testing"
)

// world is a server whose prefill times are known.
type world struct {
	a, b, c, floor float64
	sizes          []float64
	each           int     // requests of a size
	noise          float64 // of one request, relative
	steady         float64 // of one request, absolute
	spikes         float64 // share of requests that take three times as long
	wobble         float64 // of a whole size, relative: what no curve of this form follows
}

func (w world) at(n float64) float64 { return max(w.floor, w.a+w.b*n+w.c*n*n) }

func (w world) draw(seed uint64) (all []observation) {
	rng := rand.New(rand.NewPCG(seed, 11))
	for _, n := range w.sizes {
		level := w.at(n) * (1 + w.wobble*rng.NormFloat64())
		for range w.each {
			y := level*(1+w.noise*rng.NormFloat64()) + w.steady*rng.NormFloat64()
			if rng.Float64() < w.spikes {
				y *= 3
			}
			all = append(all, observation{x: n, y: y})
		}
	}
	weigh(all)
	return all
}

var (
	many    = []float64{10, 50, 100, 200, 500, 1000, 2000, 4000, 8000}
	kneed   = world{a: 0.013, b: 0.417e-3, c: 2.9e-9, floor: 0.0559, sizes: many, each: 10, noise: 0.01}
	growing = world{a: 0.02, b: 0.1e-3, sizes: many, each: 10, noise: 0.01}
)

func with(w world, change func(*world)) world { change(&w); return w }

func TestIntervalsCoverTheTruthAsOftenAsTheySay(t *testing.T) {
	t.Parallel()
	const draws = 400
	for name, c := range map[string]struct {
		world
		least float64
	}{
		"with a knee":            {kneed, 0.90},
		"a line":                 {growing, 0.90},
		"few requests of a size": {with(growing, func(w *world) { w.each = 3 }), 0.90},
		"steady noise":           {with(growing, func(w *world) { w.noise, w.steady = 0, 0.3e-3 }), 0.90},
		"with spikes":            {with(growing, func(w *world) { w.spikes = 0.02 }), 0.90},
		"sizes that wobble":      {with(growing, func(w *world) { w.wobble = 0.02 }), 0.90},
		"six sizes":              {with(kneed, func(w *world) { w.sizes, w.c = []float64{10, 50, 100, 500, 1000, 4000}, 0 }), 0.90},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var inA, inB, told int
			for seed := range uint64(draws) {
				f := prefillCurve(c.draw(seed), "s")
				if f.A.Why != "" || f.B.Why != "" {
					continue
				}
				told++
				if f.A.Lo <= c.a && c.a <= f.A.Hi {
					inA++
				}
				if f.B.Lo <= c.b && c.b <= f.B.Hi {
					inB++
				}
			}
			a, b := float64(inA)/float64(told), float64(inB)/float64(told)
			if told < draws*8/10 || a < c.least || b < c.least {
				t.Errorf("of %d draws %d gave both; a is covered in %.1f %%, b in %.1f %%", draws, told, 100*a, 100*b)
			}
		})
	}
}

func TestTheFormIsChosenByTheData(t *testing.T) {
	for want, w := range map[string]world{
		"max(floor, a + b·n + c·n²)": kneed,
		"a + b·n":                    growing,
		"a + b·n + c·n²":             with(growing, func(w *world) { w.c = 20e-9 }),
		"max(floor, a + b·n)":        with(kneed, func(w *world) { w.c = 0 }),
	} {
		hits := 0
		for seed := range uint64(50) {
			if f := prefillCurve(w.draw(seed), "s"); f.Form == want {
				hits++
			}
		}
		if hits < 40 {
			t.Errorf("%s: chosen in %d of 50 draws", want, hits)
		}
	}
}

func TestWhatTheDataDoNotSupportIsNotGiven(t *testing.T) {
	f := prefillCurve(with(kneed, func(w *world) { w.sizes = []float64{50, 1000} }).draw(1), "s")
	if f.B.Why != noSizes || f.Why != noSizes {
		t.Errorf("two sizes: %+v", f.B)
	}
	f = prefillCurve(with(kneed, func(w *world) { w.sizes = []float64{10, 20, 30} }).draw(1), "s")
	if f.B.Why == "" {
		t.Errorf("sizes below the knee: slope %+v", f.B)
	}
	f = prefillCurve(with(kneed, func(w *world) { w.sizes, w.noise = []float64{10, 100, 500}, 0.002 }).draw(1), "s")
	if f.A.Why == "" || f.B.Why == "" || f.C.Why == "" {
		t.Errorf("one size above the knee: %+v", f)
	}
	for seed := range uint64(50) { // 1,000 and 10,000 alone are above the knee: nothing tells attention's square from the overhead
		w := with(kneed, func(w *world) { w.sizes = []float64{10, 50, 100, 1000, 10000} })
		if f := prefillCurve(w.draw(seed), "s"); f.A.Why == "" && (w.a < f.A.Lo || w.a > f.A.Hi) {
			t.Errorf("two sizes above the knee: a = %+v, and is %v", f.A, w.a)
		}
	}
	f = prefillCurve(with(kneed, func(w *world) { w.sizes = []float64{9, 10, 11, 1000, 1003} }).draw(1), "s")
	if f.Why != noSizes || f.Sizes != 2 {
		t.Errorf("sizes that are as good as equal: %d sizes, %q", f.Sizes, f.Why)
	}
	if f = prefillCurve(nil, "J"); f.A.Why == "" {
		t.Errorf("nothing: %+v", f.A)
	}
}

func TestOutliersAreLeftOutAndCounted(t *testing.T) {
	clean := with(growing, func(w *world) { w.each = 20 }).draw(3)
	spoilt := append([]observation(nil), clean...)
	for i := 0; i < len(spoilt); i += 20 {
		spoilt[i].y *= 4
	}
	a, b := prefillCurve(clean, "s"), prefillCurve(spoilt, "s")
	if a.Outliers > 2 || b.Outliers < len(many) || b.Outliers > len(many)+2 {
		t.Errorf("%d left out of clean requests, %d where %d are outliers", a.Outliers, b.Outliers, len(many))
	}
	if math.Abs(b.B.Value/a.B.Value-1) > 0.01 {
		t.Errorf("the slope went from %v to %v", a.B.Value, b.B.Value)
	}
	if len(b.Points) != len(spoilt) {
		t.Errorf("%d points of %d requests", len(b.Points), len(spoilt))
	}
}

func TestATokensTimeRisesWithItsContextWhereItDoes(t *testing.T) {
	t.Parallel()
	const draws = 300
	draw := func(slope float64, seed uint64) (all []observation) {
		rng := rand.New(rand.NewPCG(seed, 5))
		for _, n := range []float64{50, 500, 2000, 8000} {
			for range 8 {
				y := (0.0429 + slope*n) * (1 + 0.004*rng.NormFloat64())
				all = append(all, observation{x: n, y: y, w: 100})
			}
		}
		weigh(all)
		return all
	}
	covered, rising, flat := 0, 0, 0
	for seed := range uint64(draws) {
		f := tokenCurve(draw(0.35e-6, seed), "s")
		if f.A.Lo <= 0.0429 && 0.0429 <= f.A.Hi {
			covered++
		}
		if f.B.Why == "" {
			rising++
		}
		if tokenCurve(draw(0, seed), "s").B.Why != "" {
			flat++
		}
	}
	if covered < draws*90/100 || rising < draws*95/100 || flat < draws*80/100 {
		t.Errorf("of %d draws the interval covers %d, a rise is seen in %d, and none where there is none in %d", draws, covered, rising, flat)
	}
}
