package analysis

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/llm-tracer/tracer/schema"
)

// LeastRounds is how many rounds an interval needs.
const LeastRounds = 3

// Timed is one request of tracer overhead without anything against it.
type Timed struct {
	schema.OverheadBlock
	Workload   schema.Workload
	TTFT, TPOT schema.Opt[float64] // s
}

// OverheadLine is what the requests took while the boards were read at one period.
type OverheadLine struct {
	Period   time.Duration `json:"period_ns"` // between readings of instant power; 0: the boards were not sampled
	Blocks   int           `json:"blocks"`
	Requests int           `json:"requests"`
	TTFT     Latency       `json:"ttft"` // of the prefill prompts
	TPOT     Latency       `json:"tpot"` // of the decode prompts
}

// Latency is a mean, and how it differs from that without sampling.
type Latency struct {
	MeanS  schema.Opt[float64] `json:"mean_s"`
	Rounds int                 `json:"rounds"` // that have both blocks
	schema.Effect
}

// CompareOverhead says what each period does to the requests, longest period first, beginning with no sampling.
//
// The rounds are pairs: each holds one block at each period, in random order, so that what drifts over the run, heat and
// other users, moves both of a pair alike and falls out of the logarithm of the ratio of their mean latencies. The effect
// is the mean of these logarithms, its interval Student's t over the rounds. Means, not medians, because sampling may cost
// much and seldom: a call that holds the driver's lock. A bootstrap over so few rounds would be too narrow: with ten,
// percentile intervals meant for 95 % cover about 90.
func CompareOverhead(requests []Timed) []OverheadLine {
	type block struct {
		period time.Duration
		round  int32
	}
	ttft, tpot, seen := map[block]*average{}, map[block]*average{}, map[block]int{}
	for _, r := range requests {
		b := block{r.Period, r.Round.V}
		seen[b]++
		switch r.Workload {
		case schema.WorkloadPrefill:
			add(ttft, b, r.TTFT)
		case schema.WorkloadDecode:
			add(tpot, b, r.TPOT)
		}
	}
	latency := func(of map[block]*average, period time.Duration) (l Latency) {
		var all average
		var ratios []float64
		for _, b := range slices.SortedFunc(maps.Keys(of), func(a, b block) int { return cmp.Compare(a.round, b.round) }) {
			if b.period != period {
				continue
			}
			x := of[b]
			all.sum, all.n = all.sum+x.sum, all.n+x.n
			if off := of[block{0, b.round}]; off != nil && period != 0 {
				ratios = append(ratios, math.Log(*x.value() / *off.value()))
			}
		}
		if v := all.value(); v != nil {
			l.MeanS = schema.Some(*v)
		}
		l.Rounds, l.Effect = len(ratios), effect(ratios)
		return l
	}
	lines := map[time.Duration]*OverheadLine{}
	for b, n := range seen {
		if lines[b.period] == nil {
			lines[b.period] = &OverheadLine{Period: b.period, TTFT: latency(ttft, b.period), TPOT: latency(tpot, b.period)}
		}
		lines[b.period].Blocks++
		lines[b.period].Requests += n
	}
	var sorted []OverheadLine
	for _, l := range lines {
		sorted = append(sorted, *l)
	}
	slices.SortFunc(sorted, func(a, b OverheadLine) int {
		return cmp.Or(cmp.Compare(min(a.Period, 1), min(b.Period, 1)), cmp.Compare(b.Period, a.Period))
	})
	return sorted
}

func add[K comparable](to map[K]*average, key K, v schema.Opt[float64]) {
	if !v.OK || v.V <= 0 {
		return
	}
	if to[key] == nil {
		to[key] = &average{}
	}
	to[key].add(v.V)
}

type average struct {
	sum float64
	n   int
}

func (a *average) add(v float64) { a.sum += v; a.n++ }

func (a average) value() *float64 {
	if a.n == 0 {
		return nil
	}
	v := a.sum / float64(a.n)
	return &v
}

// effect is the mean of the logarithms of ratios, as a change in per cent, with its 95 % interval.
func effect(logs []float64) (e schema.Effect) {
	n := float64(len(logs))
	if len(logs) < LeastRounds {
		return e
	}
	var sum, squares float64
	for _, x := range logs {
		sum += x
	}
	centre := sum / n
	for _, x := range logs {
		squares += (x - centre) * (x - centre)
	}
	half := student975(len(logs)-1) * math.Sqrt(squares/(n-1)/n)
	pct := func(log float64) schema.Opt[float64] { return schema.Some(100 * math.Expm1(log)) }
	return schema.Effect{Pct: pct(centre), Lo: pct(centre - half), Hi: pct(centre + half)}
}

// student975 is the 97.5 % quantile of Student's t, by its expansion around the normal one (Abramowitz and Stegun 26.7.5):
// within 1 % from 2 degrees of freedom on, within 0.1 % from 3.
func student975(degrees int) float64 {
	const z = 1.959963984540054
	n, z2 := float64(degrees), z*z
	g1 := z * (z2 + 1) / 4
	g2 := z * ((5*z2+16)*z2 + 3) / 96
	g3 := z * (((3*z2+19)*z2+17)*z2 - 15) / 384
	g4 := z * ((((79*z2+776)*z2+1482)*z2-1920)*z2 - 945) / 92160
	return z + (g1+(g2+(g3+g4/n)/n)/n)/n
}

// Overhead reads back what one run of tracer overhead found.
func (d Dataset) Overhead(runID string) ([]OverheadLine, error) {
	return again(func() ([]OverheadLine, error) { return d.overhead(runID) })
}

func (d Dataset) overhead(runID string) ([]OverheadLine, error) {
	files, err := d.Files(schema.Requests.Name, runID)
	if err != nil {
		return nil, err
	}
	var requests []Timed
	columns := []string{"run_id", "workload", "valid", "overhead_round", "overhead_period_s", "ttft_s", "tpot_s"}
	for _, f := range files {
		err := eachBatch(f, columns, func(a []arrow.Array) error {
			valid, round, period := a[2].(*array.Boolean), a[3].(*array.Int32), a[4].(*array.Float64)
			for i := range valid.Len() {
				if text(a[0], i) != runID || !valid.Value(i) || round.IsNull(i) { // warm-up has no round
					continue
				}
				r := Timed{Workload: schema.Workload(text(a[1], i)), TTFT: optional(a[5], i), TPOT: optional(a[6], i)}
				r.Round = schema.Some(round.Value(i))
				if period.IsValid(i) {
					r.Period = time.Duration(math.Round(period.Value(i) * 1e9))
				}
				requests = append(requests, r)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return CompareOverhead(requests), nil
}

func optional(a arrow.Array, i int) schema.Opt[float64] {
	v := a.(*array.Float64)
	return schema.Opt[float64]{V: v.Value(i), OK: v.IsValid(i)}
}

// PrintOverhead writes the lines as a table; planned is the period that a trace would be taken at.
func PrintOverhead(w io.Writer, lines []OverheadLine, planned time.Duration) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "power read\tblocks\trequests\tTTFT ms\tchange, 95 % interval\tTPOT ms\tchange, 95 % interval\t\n")
	for _, l := range lines {
		name := "never"
		if l.Period > 0 {
			name = fmt.Sprintf("every %v", l.Period)
		}
		if l.Period == planned {
			name = "plan: " + name
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t\n", name, l.Blocks, l.Requests, milliseconds(l.TTFT, 2), change(l.TTFT.Effect), milliseconds(l.TPOT, 3), change(l.TPOT.Effect))
	}
	return t.Flush()
}

func milliseconds(l Latency, digits int) string {
	if !l.MeanS.OK {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, l.MeanS.V*1e3)
}

func change(e schema.Effect) string {
	if !e.Pct.OK {
		return "–"
	}
	return fmt.Sprintf("%+.2f %% (%+.2f to %+.2f)", e.Pct.V, e.Lo.V, e.Hi.V)
}
