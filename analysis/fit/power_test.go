package fit

import (
	"math"
	"math/rand/v2"
	"testing"
)

// seconds are of a board whose power follows g, under a utilisation that takes every level.
func secondsOf(g func(u float64) float64, levels func(*rand.Rand) float64, seed uint64) (all []second) {
	rng := rand.New(rand.NewPCG(seed, 9))
	for i := range 300 {
		u := levels(rng)
		all = append(all, second{Run: "r", Block: int64(i / blockSeconds), Utilisation: u, PowerW: 50 + 100*g(u) + rng.NormFloat64()})
	}
	return all
}

func TestOpenDCsShapesAreTold(t *testing.T) {
	everywhere := func(rng *rand.Rand) float64 { return rng.Float64() }
	for name, c := range map[string]struct {
		g func(u float64) float64
		PowerModel
	}{
		"linear":           {func(u float64) float64 { return u }, PowerModel{Type: "linear"}},
		"sqrt":             {math.Sqrt, PowerModel{Type: "sqrt"}},
		"square":           {func(u float64) float64 { return u * u }, PowerModel{Type: "square"}},
		"cubic":            {func(u float64) float64 { return u * u * u }, PowerModel{Type: "cubic"}},
		"mse":              {func(u float64) float64 { return 2*u - math.Pow(u, 1.4) }, PowerModel{Type: "mse"}},
		"asymptotic":       {func(u float64) float64 { return (1 + u - math.Exp(-u/0.1)) / 2 }, PowerModel{Type: "asymptotic"}},
		"asymptotic, dvfs": {func(u float64) float64 { return (1 + u*u*u - math.Exp(-u*u*u/0.2)) / 2 }, PowerModel{Type: "asymptotic"}},
	} {
		p := fitPower(secondsOf(c.g, everywhere, 1))
		if p.Model == nil || p.Model.Type != c.Type {
			t.Errorf("%s: fitted %+v, %s", name, p.Model, p.Why)
			continue
		}
		if name == asymptoticDVFS != (p.Model.DVFS != nil && *p.Model.DVFS) {
			t.Errorf("%s: dvfs is %v", name, p.Model.DVFS)
		}
		for _, u := range []float64{0, 0.3, 0.7, 1} {
			if got, want := p.Model.At(u), 50+100*c.g(u); math.Abs(got-want) > 1.5 {
				t.Errorf("%s: %.1f W at %.1f, want %.1f", name, got, u, want)
			}
		}
	}
}

func TestThePowersIntervalsCoverTheTruth(t *testing.T) {
	idle, most := 0, 0
	const draws = 200
	for seed := range uint64(draws) {
		p := fitPower(secondsOf(func(u float64) float64 { return u }, func(rng *rand.Rand) float64 { return rng.Float64() }, seed))
		if p.Idle.Lo <= 50 && 50 <= p.Idle.Hi {
			idle++
		}
		if p.Max.Lo <= 150 && 150 <= p.Max.Hi {
			most++
		}
	}
	if idle < draws*90/100 || most < draws*90/100 {
		t.Errorf("of %d draws idle power is covered in %d, maximum power in %d", draws, idle, most)
	}
}

func TestAPowerModelIsGivenOnlyWhereTheDataSupportOne(t *testing.T) {
	linear := func(u float64) float64 { return u }
	if p := fitPower(secondsOf(linear, func(*rand.Rand) float64 { return 0.98 }, 1)); p.Model != nil || p.Why == "" || p.Idle.Why == "" {
		t.Errorf("one level: %+v", p)
	}
	if p := fitPower(secondsOf(linear, func(rng *rand.Rand) float64 { return 0.98 * float64(rng.IntN(2)) }, 1)); p.Model == nil || p.Model.Type != "linear" || p.Note == "" {
		t.Errorf("two levels: %+v", p)
	}
	if p := fitPower(secondsOf(linear, func(rng *rand.Rand) float64 { return rng.Float64() }, 1)[:10]); p.Model != nil {
		t.Errorf("ten seconds: %+v", p)
	}
	falling := fitPower(secondsOf(func(u float64) float64 { return -u / 3 }, func(rng *rand.Rand) float64 { return rng.Float64() }, 1))
	if falling.Model == nil || falling.Model.Type != "constant" || *falling.Model.Power != falling.Model.MaxW {
		t.Errorf("power that falls: %+v", falling.Model)
	}
}
