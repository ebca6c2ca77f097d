// Oracle measures how much of the error of an energy is the sensor's own: tracer's errors beside those of an oracle that
// knows every update of the sensor at its very instant, and all that tracer has to find out. It prints a section of
// docs/benchmarks.md:
//
//	go run ./bench/oracle > build/bench/oracle.json
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"

	"github.com/sourcegraph/conc/pool"

	"github.com/llm-tracer/tracer/pipeline/energy"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/sampler/sim/load"
	"github.com/llm-tracer/tracer/schema"
)

func main() {
	seeds := flag.Int("seeds", 8, "loads of each board")
	first := flag.Uint64("first", 9000, "the first seed")
	flag.Parse()
	if err := run(os.Stdout, *first, *seeds); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

// row is one line of the table. Errors are |estimate / truth − 1|, in %.
type row struct {
	Board string `json:"board"`
	What  string `json:"what"`
	Cases int    `json:"cases"`

	OraclePct   float64 `json:"oracle_pct"` // median
	TracerPct   float64 `json:"tracer_pct"`
	Ratio       float64 `json:"ratio"`
	Lo          float64 `json:"ratio_lo"`      // smallest of the seeds
	Hi          float64 `json:"ratio_hi"`      // and largest
	ExactPct    float64 `json:"exact_pct"`     // tracer's fit, given the oracle's updates
	Oracle90Pct float64 `json:"oracle_90_pct"` // nine of ten are no further off
	Tracer90Pct float64 `json:"tracer_90_pct"`
	CoveredPct  float64 `json:"covered_pct"` // of tracer's 95 % intervals, those that hold the truth
}

// page is what the section is made of.
type page struct {
	Section string `json:"section"`
	Order   int    `json:"order"`
	Seeds   int    `json:"seeds"`
	Rows    []row  `json:"rows"`
	Table   table  `json:"table"`
	Within  int    `json:"within"` // rows, of those that ratios up to the goal are in
	Goal    string `json:"goal"`
}

// goal is the ratio that the project aims at.
const goal = 1.3

type table struct {
	Head []string   `json:"head"`
	Rows [][]string `json:"rows"`
}

func pageOf(seeds int, rows []row) page {
	p := page{Section: "Energy: the sensor's own limit", Order: 20, Seeds: seeds, Rows: rows, Goal: strconv.FormatFloat(goal, 'g', 3, 64)}
	p.Table.Head = []string{"board (sensor's period / window, ms), stage", "oracle, median, %", "tracer, median, %", "ratio (least and greatest of the seeds)", "tracer's fit, given the oracle's updates, %", "oracle, 90 %", "tracer, 90 %", "tracer's 95 % intervals that hold the truth, %"}
	for _, r := range rows {
		if r.Ratio <= goal {
			p.Within++
		}
		p.Table.Rows = append(p.Table.Rows, []string{
			r.Board + ": " + r.What, digits(r.OraclePct), digits(r.TracerPct), fmt.Sprintf("%.2f (%.1f to %.1f)", r.Ratio, r.Lo, r.Hi), digits(r.ExactPct), digits(r.Oracle90Pct), digits(r.Tracer90Pct), fmt.Sprintf("%.0f", r.CoveredPct),
		})
	}
	return p
}

func digits(v float64) string { return strconv.FormatFloat(v, 'g', 2, 64) }

// errors of one row, in one seed.
type errorsOf struct {
	oracle, tracer, located []float64
	covered                 int
}

type job struct {
	board int
	seed  uint64
	sizes bool
	rows  []string
	of    map[string]*errorsOf
}

func run(out io.Writer, first uint64, seeds int) error {
	var jobs []job
	for b := range boards {
		for _, sizes := range []bool{false, true} {
			for s := range seeds {
				jobs = append(jobs, job{board: b, seed: first + uint64(s), sizes: sizes, of: map[string]*errorsOf{}})
			}
		}
	}
	p := pool.New().WithErrors().WithMaxGoroutines(runtime.GOMAXPROCS(0))
	for i := range jobs {
		p.Go(jobs[i].run)
	}
	if err := p.Wait(); err != nil {
		return err
	}
	e := json.NewEncoder(out)
	e.SetIndent("", " ")
	return e.Encode(pageOf(seeds, rowsOf(jobs)))
}

// run plays the load, and holds both against the truth.
func (j *job) run() error {
	b := &boards[j.board]
	l, err := b.on(j.seed)
	if err != nil {
		return err
	}
	var questions []asked
	var of func(int) drawn
	if j.sizes {
		if questions, of, err = bySize(l); err != nil {
			return err
		}
	} else {
		questions, of = conversations(l)
	}
	o, err := ask(l, of)
	if err != nil {
		return fmt.Errorf("%s, seed %d: %w", b.name, j.seed, err)
	}
	tracer, located, err := fits(l)
	if err != nil {
		return fmt.Errorf("%s, seed %d: %w", b.name, j.seed, err)
	}
	for _, q := range questions {
		truth, err := l.EnergyJ(q.stages...)
		if err != nil {
			return err
		}
		e := j.of[q.what]
		if e == nil {
			e = &errorsOf{}
			j.of[q.what], j.rows = e, append(j.rows, q.what)
		}
		estimate := tracer.Energy(q.stages...)
		e.oracle = append(e.oracle, math.Abs(o.energyJ(q.stages...)/truth-1))
		e.tracer = append(e.tracer, math.Abs(estimate.J/truth-1))
		e.located = append(e.located, math.Abs(located.Energy(q.stages...).J/truth-1))
		if math.Abs(estimate.J-truth) <= 1.96*estimate.SD {
			e.covered++
		}
	}
	return nil
}

// fits are tracer's, to what its sampler sees of the sensor, and to the sensor's updates themselves.
func fits(l *load.Load) (tracer, located *energy.Model, err error) {
	told := l.Board().Board()
	plan, err := sampler.PlanFor([]schema.Board{told}, 0)
	if err != nil {
		return nil, nil, err
	}
	segments := make([]energy.Segment, len(l.Stages))
	for i, s := range l.Stages {
		segments[i] = energy.Segment{FromNS: s.FromNS, ToNS: s.ToNS, Idle: s.Stage == schema.StageIdle, Kind: s.Kind}
	}
	updates := energy.NewUpdates(told.Power.Period)
	if err := l.ReadSwaying(plan.Power, sampler.LanePower, func(at int64, r *schema.Reading) { updates.Add(at, at, r.PowerInstantW.V) }); err != nil {
		return nil, nil, err
	}
	from, to := l.Span()
	var exact []energy.Update
	for _, u := range l.Board().Updates(sim.PowerInstant, from, to) {
		exact = append(exact, energy.Update{EdgeNS: u.AtNS, EdgeSD: 1, W: u.W})
	}
	tracer, ok := energy.Fit(told.Power, told.PowerLimitW, updates.Located(), segments)
	located, exactly := energy.Fit(told.Power, told.PowerLimitW, exact, segments)
	if !ok || !exactly {
		return nil, nil, fmt.Errorf("no model could be fitted to %d stages", len(segments))
	}
	return tracer, located, nil
}

// rowsOf gathers the seeds, board by board.
func rowsOf(jobs []job) (rows []row) {
	type key struct {
		board int
		what  string
	}
	at := map[key]int{}
	all := map[key][]*errorsOf{}
	for i := range jobs {
		for _, what := range jobs[i].rows {
			k := key{jobs[i].board, what}
			if _, ok := at[k]; !ok {
				at[k] = len(rows)
				rows = append(rows, row{Board: boards[k.board].name, What: what})
			}
			all[k] = append(all[k], jobs[i].of[what])
		}
	}
	for k, i := range at {
		rows[i].sum(all[k])
	}
	return rows
}

func (r *row) sum(seeds []*errorsOf) {
	var sum errorsOf
	r.Lo = math.Inf(1)
	for _, e := range seeds {
		sum.oracle, sum.tracer, sum.located = append(sum.oracle, e.oracle...), append(sum.tracer, e.tracer...), append(sum.located, e.located...)
		sum.covered += e.covered
		ratio := quantile(e.tracer, 0.5) / quantile(e.oracle, 0.5)
		r.Lo, r.Hi = min(r.Lo, ratio), max(r.Hi, ratio)
	}
	r.Cases = len(sum.oracle)
	r.OraclePct, r.TracerPct, r.ExactPct = 100*quantile(sum.oracle, 0.5), 100*quantile(sum.tracer, 0.5), 100*quantile(sum.located, 0.5)
	r.Oracle90Pct, r.Tracer90Pct = 100*quantile(sum.oracle, 0.9), 100*quantile(sum.tracer, 0.9)
	r.Ratio = r.TracerPct / r.OraclePct
	r.CoveredPct = 100 * float64(sum.covered) / float64(r.Cases)
}

func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[int(q*float64(len(v)-1)+0.5)]
}
