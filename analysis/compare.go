package analysis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/schema"
)

// Side is one of two that are compared: the runs of a dataset that a selection names. What is empty leaves nothing out.
type Side struct {
	Dir string `json:"dataset"`
	Run string `json:"run,omitempty"`
	GPU string `json:"gpu,omitempty"` // as query.Choice takes it
	LLM string `json:"llm,omitempty"`
}

// asked is the selection as --a and --b give it.
func (s Side) asked() string {
	var parts []string
	for _, p := range [][2]string{{"run", s.Run}, {"gpu", s.GPU}, {"llm", s.LLM}} {
		if p[1] != "" {
			parts = append(parts, p[0]+"="+p[1])
		}
	}
	return strings.Join(parts, ",")
}

// Measured is a side with the runs that it selects, and what they were measured with.
type Measured struct {
	Side
	RunIDs    []string `json:"runs"`
	GPUs      []string `json:"gpu_names"`
	Served    []string `json:"served_by"` // what requests ran on: 2 × NVIDIA A10
	LLMs      []string `json:"llm_names"`
	Engines   []string `json:"engines"` // server profile and its version
	Corpora   []string `json:"corpora"`
	Boards    []string `json:"gpu_uuids"`
	Simulated bool     `json:"simulated"`
	GainError float64  `json:"sensor_gain_error"` // of any of its boards, at most

	Counts RequestCounts `json:"requests"`

	requests []measuredRequest
	energies []energyLine
}

// Metric is what is compared: the mean of a number over requests.
type Metric struct {
	Name   string
	Digits int
	Stage  schema.Stage // whose energy it is of; empty for times
	of     func(*measuredRequest) *float64
}

var metrics = []Metric{
	{"TTFT s", 4, "", func(r *measuredRequest) *float64 { return r.TTFT }},
	{"TPOT s", 5, "", func(r *measuredRequest) *float64 { return r.TPOT }},
	{"prefill J", 2, schema.StagePrefill, func(r *measuredRequest) *float64 { return r.PrefillJ }},
	{"decode J", 2, schema.StageDecode, func(r *measuredRequest) *float64 { return r.DecodeJ }},
	{"decode J/token", 3, schema.StageDecode, func(r *measuredRequest) *float64 { return r.TokenJ }},
}

// Comparison is two sides, size by size.
type Comparison struct {
	A         Measured    `json:"a"`
	B         Measured    `json:"b"`
	Resamples int         `json:"resamples"`
	Seed      uint64      `json:"seed"`
	SameGain  bool        `json:"same_sensors"` // the same boards measured both sides, so that their gains fall out
	Lines     []RatioLine `json:"ratios"`
}

// RatioLine is one metric of one workload and size.
type RatioLine struct {
	Workload  schema.Workload `json:"workload"`
	Size      int32           `json:"target_tokens"`
	Metric    string          `json:"metric"`
	RequestsA int             `json:"requests_a"`
	RequestsB int             `json:"requests_b"`
	A         float64         `json:"mean_a"`
	B         float64         `json:"mean_b"`
	Ratio     float64         `json:"ratio"`    // B over A
	Lo        *float64        `json:"ratio_lo"` // 95 %; absent with fewer than five requests on a side
	Hi        *float64        `json:"ratio_hi"`
	Differs   bool            `json:"distinguishable"` // the interval leaves 1 out

	digits int
}

// measuredRequest is a row of comparable.sql.
type measuredRequest struct {
	Workload schema.Workload `json:"workload"`
	Size     int32           `json:"target_tokens"`
	TTFT     *float64        `json:"ttft_s"`
	TPOT     *float64        `json:"tpot_s"`
	PrefillJ *float64        `json:"prefill_energy_j"`
	DecodeJ  *float64        `json:"decode_energy_j"`
	TokenJ   *float64        `json:"decode_energy_j_per_token"`
}

// ErrNothingSelected says that no run of a dataset fits a side.
var ErrNothingSelected = errors.New("no run fits")

// Measure reads a side; whole is its dataset.
func Measure(ctx context.Context, whole *query.Dataset, side Side) (Measured, error) {
	m := Measured{Side: side}
	if err := m.choose(ctx, whole); err != nil {
		return m, err
	}
	chosen, err := query.Open(ctx, whole.Dir(), m.RunIDs...)
	if err != nil {
		return m, err
	}
	var summary Summary
	err = summary.count(ctx, chosen)
	m.Counts = summary.Counts
	return m, errors.Join(err,
		chosen.Select(ctx, &m.requests, query.File("comparable")),
		chosen.Select(ctx, &m.energies, query.File("energies", "workload", "target_tokens")),
		chosen.Close(),
	)
}

// choose finds the runs that fit.
func (m *Measured) choose(ctx context.Context, d *query.Dataset) error {
	var rows []struct {
		RunID     string  `json:"run_id"`
		GPU       string  `json:"gpu_name"`
		Names     string  `json:"names"`
		Together  int     `json:"boards"`
		UUID      string  `json:"gpu_uuid"`
		LLM       string  `json:"llm_name"`
		Engine    string  `json:"engine"`
		Corpus    string  `json:"corpus_id"`
		Simulated bool    `json:"simulated"`
		GainError float64 `json:"sensor_gain_error"`
	}
	err := d.Select(ctx, &rows, `SELECT run_id, gpu_name, names, boards, gpu_uuid, llm_name, concat_ws(' ', server, engine_version) AS engine, corpus_id, simulated, sensor_gain_error
		FROM runs JOIN (SELECT run_id, string_agg(DISTINCT gpu_name, '+' ORDER BY gpu_name) AS names, count(*) AS boards FROM runs GROUP BY run_id) USING (run_id)
		ORDER BY start_timestamp, run_id, gpu_uuid`)
	if err != nil {
		return err
	}
	choice := query.Choice{GPU: m.GPU, LLM: m.LLM}
	if m.Run != "" {
		choice.Runs = []string{m.Run}
	}
	for _, r := range rows {
		if !choice.Takes(r.RunID, r.GPU, r.UUID, r.LLM) {
			continue
		}
		for list, v := range map[*[]string]string{&m.RunIDs: r.RunID, &m.GPUs: r.GPU, &m.LLMs: r.LLM, &m.Engines: r.Engine, &m.Corpora: r.Corpus, &m.Served: query.Served(r.Names, r.Together), &m.Boards: r.UUID} {
			if !slices.Contains(*list, v) {
				*list = append(*list, v)
			}
		}
		m.Simulated = m.Simulated || r.Simulated
		m.GainError = max(m.GainError, r.GainError)
	}
	slices.Sort(m.Boards)
	if len(m.RunIDs) == 0 {
		var there []string
		for _, r := range rows {
			if name := fmt.Sprintf("gpu=%s,llm=%s,run=%s", r.GPU, r.LLM, r.RunID); !slices.Contains(there, name) {
				there = append(there, name)
			}
		}
		return fmt.Errorf("%w: %s has none with %s; there are %s", ErrNothingSelected, m.Dir, m.Side.asked(), few(there, ", ", 12))
	}
	return nil
}

// size is what a line is about.
type size struct {
	workload schema.Workload
	tokens   int32
}

// values are those of a metric, by size, in the order of time.
func (m *Measured) values(of func(*measuredRequest) *float64) map[size][]float64 {
	values := map[size][]float64{}
	for i := range m.requests {
		r := &m.requests[i]
		if v := of(r); v != nil {
			s := size{r.Workload, r.Size}
			values[s] = append(values[s], *v)
		}
	}
	return values
}

// sizes are those that the side has, in order.
func (m *Measured) sizes() (all []size) {
	for _, r := range m.requests {
		if s := (size{r.Workload, r.Size}); len(all) == 0 || all[len(all)-1] != s {
			all = append(all, s)
		}
	}
	return all
}

// Compare holds two sides against each other, in the sizes that both have; one seed gives the same intervals again.
func Compare(a, b Measured, resamples int, seed uint64) *Comparison {
	c := &Comparison{A: a, B: b, Resamples: resamples, Seed: seed, SameGain: slices.Equal(a.Boards, b.Boards), Lines: []RatioLine{}}
	valuesA, valuesB := make([]map[size][]float64, len(metrics)), make([]map[size][]float64, len(metrics))
	for i, metric := range metrics {
		valuesA[i], valuesB[i] = a.values(metric.of), b.values(metric.of)
	}
	for _, s := range a.sizes() {
		for i, metric := range metrics {
			if va, vb := valuesA[i][s], valuesB[i][s]; len(va) > 0 && len(vb) > 0 {
				c.add(s, metric, va, vb)
			}
		}
	}
	return c
}

func (c *Comparison) add(s size, metric Metric, a, b []float64) {
	l := RatioLine{Workload: s.workload, Size: s.tokens, Metric: metric.Name, RequestsA: len(a), RequestsB: len(b), A: mean(a), B: mean(b), digits: metric.Digits}
	l.Ratio = l.B / l.A
	rng := rand.New(rand.NewPCG(c.Seed, uint64(len(c.Lines))))
	if lo, hi, ok := bootstrap(a, b, c.Resamples, rng); ok {
		doubt := math.Hypot(c.A.doubt(s, metric.Stage, c.SameGain), c.B.doubt(s, metric.Stage, c.SameGain))
		centre := math.Log(l.Ratio)
		lo, hi = math.Exp(centre-math.Hypot(centre-lo, doubt)), math.Exp(centre+math.Hypot(hi-centre, doubt))
		l.Lo, l.Hi, l.Differs = &lo, &hi, lo > 1 || hi < 1
	}
	c.Lines = append(c.Lines, l)
}

// doubt is by how much a side's mean energy may be off for its sensors' sake, as a share of it, 95 %: what their values leave
// open, and their gain unless it falls out of the ratio.
func (m *Measured) doubt(s size, stage schema.Stage, sameGain bool) float64 {
	for _, e := range m.energies {
		if e.Workload == s.workload && e.Size == s.tokens && e.Stage == stage && e.J > 0 {
			if !sameGain {
				return e.PlusOr / e.J
			}
			return math.Sqrt(max(0, e.PlusOr*e.PlusOr-e.GainJ*e.GainJ)) / e.J
		}
	}
	return 0
}
