package load

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

const origin = int64(1e18) // later than the making of any simulated board

func loaded(t *testing.T, change func(*Load)) *Load {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	spec, err := Spec("A10", 0, r)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sim.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	l := On(s.Boards()[0], r, origin)
	change(l)
	l.Conversations(20, 30, 400)
	return l
}

func TestStagesFollowEachOtherAndTheirEnergiesAddUp(t *testing.T) {
	for name, change := range map[string]func(*Load){
		"stamps that are right": func(*Load) {},
		"early and late ones":   func(l *Load) { l.Early, l.Late = 4*ms, ms },
		"power that flickers":   func(l *Load) { l.Grain = 10 },
	} {
		l := loaded(t, change)
		var sum float64
		for i, s := range l.Stages {
			if i > 0 && s.FromNS != l.Stages[i-1].ToNS || s.ToNS <= s.FromNS {
				t.Errorf("%s: stage %d is %+v, after %+v", name, i, s, l.Stages[max(i-1, 0)])
			}
			j, err := l.EnergyJ(i)
			if err != nil {
				t.Fatal(err)
			}
			sum += j
		}
		whole, _ := l.Board().EnergyJ(l.Stages[0].FromNS, l.Stages[len(l.Stages)-1].ToNS)
		if math.Abs(sum/whole-1) > 1e-9 {
			t.Errorf("%s: stages add up to %v J, the whole is %v", name, sum, whole)
		}
		for _, i := range l.Requests() {
			if l.Stages[i].Stage != schema.StagePrefill || l.Stages[i+1].Stage != schema.StageDecode {
				t.Errorf("%s: stage %d is %v, then %v", name, i, l.Stages[i].Stage, l.Stages[i+1].Stage)
			}
		}
	}
}

func TestReadingsSpanTheLoad(t *testing.T) {
	l := loaded(t, func(*Load) {})
	from, to := l.Span()
	for name, read := range map[string]func(time.Duration, sampler.Lane, func(int64, *schema.Reading)) error{"evenly": l.ReadEvenly, "swaying": l.ReadSwaying} {
		var first, last, n int64
		err := read(20*time.Millisecond, sampler.LanePower, func(at int64, r *schema.Reading) {
			if n++; n == 1 {
				first = at
			}
			if last = at; !r.PowerInstantW.OK {
				t.Errorf("%s: no power at %d", name, at)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := (to - from) / (20 * ms); n < want-1 || n > want+2 || first-from > 41*ms || to-last > 41*ms {
			t.Errorf("%s: %d readings from %d to %d ns before the end, want %d", name, n, first-from, to-last, want)
		}
	}
}
