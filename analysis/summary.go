package analysis

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/llm-tracer/tracer/schema"
)

// Summary is what one run found.
type Summary struct {
	RunID  string        `json:"run_id"`
	Stages []StageLine   `json:"stages"`
	Sizes  []SizeLine    `json:"sizes"`
	Boards []BoardEnergy `json:"boards"`
	Counts RequestCounts `json:"requests"`
}

// RequestCounts are attempts by outcome; warm-up is counted on its own.
type RequestCounts struct {
	Warmup  int `json:"warmup"`
	Valid   int `json:"valid"`
	Invalid int `json:"invalid"`
	// Reasons counts the requests that bear each reason code; one request may bear several.
	Reasons map[string]int `json:"reasons"`
}

// StageLine is one board's time in one stage.
type StageLine struct {
	GPU     string       `json:"gpu_name"`
	UUID    string       `json:"gpu_uuid"`
	LLM     string       `json:"llm_name"`
	Stage   schema.Stage `json:"stage"`
	Rows    int          `json:"rows"`
	Updates int          `json:"power_updates"` // readings with a new value of the power sensor
	Seconds float64      `json:"seconds"`       // each reading stands for half the gap to either neighbour
	MeanW   *float64     `json:"mean_power_w"`
	P95W    *float64     `json:"p95_power_w"`
	GPUUtil *float64     `json:"mean_gpu_utilization_pct"`
	Temp    *float64     `json:"mean_temperature_c"`
	powers  []float64
	util    average
	temp    average
}

// SizeLine is the requests of one workload and size, warm-up left out. Medians are over those with nothing against them
// but overlap: with concurrency that is how the server answers.
type SizeLine struct {
	Workload     string       `json:"workload"`
	Size         int32        `json:"target_tokens"`
	Requests     int          `json:"requests"`
	Valid        int          `json:"valid"`
	TTFT         *float64     `json:"median_ttft_s"`
	TPOT         *float64     `json:"median_tpot_s"`
	InputTokens  *float64     `json:"median_input_tokens"`
	OutputTokens *float64     `json:"median_output_tokens"`
	Prefill      *StageEnergy `json:"prefill"`
	Decode       *StageEnergy `json:"decode"`
	ttft, tpot   []float64
	in, out      []float64
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

// Summarize reads one run back.
func (d Dataset) Summarize(runID string) (*Summary, error) {
	s := &Summary{RunID: runID, Counts: RequestCounts{Reasons: map[string]int{}}}
	if err := s.readSamples(d); err != nil {
		return nil, err
	}
	for _, read := range []func(Dataset) error{s.readRequests, s.readFolds, s.readAccounts} {
		if err := read(d); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// longGap is how many usual gaps a gap may last and still be a late reading.
const longGap = 10

type instant struct {
	ns   int64
	line *StageLine
}

func (s *Summary) readSamples(d Dataset) error {
	files, err := d.Files(schema.Samples.Name, s.RunID)
	if err != nil {
		return err
	}
	lines := map[[3]string]*StageLine{}
	boards := map[string][]instant{}
	columns := []string{"gpu_uuid", "gpu_name", "llm_name", "inference_stage", "monotonic_ns", "power_instant_w", "gpu_utilization_pct", "temperature_c", "power_is_new", "run_id"}
	for _, f := range files {
		err := scan(f, columns, func(a []arrow.Array) error {
			times, power := a[4].(*array.Int64), a[5].(*array.Float32)
			util, temp, fresh := a[6].(*array.Int32), a[7].(*array.Int32), a[8].(*array.Boolean)
			for i := range times.Len() {
				if text(a[9], i) != s.RunID { // a file name may begin with another run's id
					continue
				}
				key := [3]string{text(a[0], i), text(a[2], i), text(a[3], i)}
				l := lines[key]
				if l == nil {
					l = &StageLine{UUID: key[0], GPU: text(a[1], i), LLM: key[1], Stage: schema.Stage(key[2])}
					lines[key] = l
				}
				l.Rows++
				boards[key[0]] = append(boards[key[0]], instant{times.Value(i), l})
				if power.IsValid(i) {
					l.powers = append(l.powers, float64(power.Value(i)))
				}
				if fresh.IsValid(i) && fresh.Value(i) {
					l.Updates++
				}
				if util.IsValid(i) {
					l.util.add(float64(util.Value(i)))
				}
				if temp.IsValid(i) {
					l.temp.add(float64(temp.Value(i)))
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, rows := range boards {
		shareTime(rows)
	}
	for _, l := range lines {
		l.MeanW, l.P95W, l.GPUUtil, l.Temp = mean(l.powers), quantile(l.powers, 0.95), l.util.value(), l.temp.value()
		s.Stages = append(s.Stages, *l)
	}
	order := []schema.Stage{schema.StageIdle, schema.StagePrefill, schema.StageDecode, schema.StageMixed}
	slices.SortFunc(s.Stages, func(a, b StageLine) int {
		return cmp.Or(cmp.Compare(a.GPU, b.GPU), cmp.Compare(a.UUID, b.UUID), cmp.Compare(a.LLM, b.LLM),
			cmp.Compare(slices.Index(order, a.Stage), slices.Index(order, b.Stage)))
	})
	return nil
}

// shareTime gives each reading half the gap to either neighbour. A gap of several usual ones is time in which nothing was
// read, a lost board for instance, and belongs to no stage.
func shareTime(rows []instant) {
	slices.SortFunc(rows, func(a, b instant) int { return cmp.Compare(a.ns, b.ns) })
	gaps := make([]float64, 0, len(rows))
	for i := 1; i < len(rows); i++ {
		gaps = append(gaps, float64(rows[i].ns-rows[i-1].ns))
	}
	usual := quantile(gaps, 0.5)
	for i := 1; i < len(rows); i++ {
		half := float64(rows[i].ns-rows[i-1].ns) / 2e9
		if half*2e9 > longGap**usual {
			half = *usual / 2e9
		}
		rows[i-1].line.Seconds += half
		rows[i].line.Seconds += half
	}
}

func (s *Summary) readRequests(d Dataset) error {
	files, err := d.Files(schema.Requests.Name, s.RunID)
	if err != nil {
		return err
	}
	type key struct {
		workload string
		size     int32
	}
	lines := map[key]*SizeLine{}
	columns := []string{"workload", "target_tokens", "warmup", "valid", "ttft_s", "tpot_s", "input_tokens", "output_tokens", "invalid_reasons", "run_id"}
	for _, f := range files {
		err := scan(f, columns, func(a []arrow.Array) error {
			size, warmup, valid := a[1].(*array.Int32), a[2].(*array.Boolean), a[3].(*array.Boolean)
			for i := range size.Len() {
				if text(a[9], i) != s.RunID {
					continue
				}
				if warmup.Value(i) {
					s.Counts.Warmup++
					continue
				}
				k := key{text(a[0], i), size.Value(i)}
				l := lines[k]
				if l == nil {
					l = &SizeLine{Workload: k.workload, Size: k.size}
					lines[k] = l
				}
				l.Requests++
				for _, reason := range list(a[8], i) {
					s.Counts.Reasons[reason]++
				}
				if valid.Value(i) {
					s.Counts.Valid++
					l.Valid++
				} else {
					s.Counts.Invalid++
					if slices.ContainsFunc(list(a[8], i), func(r string) bool { return r != schema.ReasonOverlap }) {
						continue
					}
				}
				l.ttft = appendFloat(l.ttft, a[4], i)
				l.tpot = appendFloat(l.tpot, a[5], i)
				l.in = appendInt(l.in, a[6], i)
				l.out = appendInt(l.out, a[7], i)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, l := range lines {
		l.TTFT, l.TPOT = quantile(l.ttft, 0.5), quantile(l.tpot, 0.5)
		l.InputTokens, l.OutputTokens = quantile(l.in, 0.5), quantile(l.out, 0.5)
		s.Sizes = append(s.Sizes, *l)
	}
	slices.SortFunc(s.Sizes, func(a, b SizeLine) int {
		return cmp.Or(-cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Size, b.Size)) // prefill first
	})
	return nil
}

func appendFloat(to []float64, a arrow.Array, i int) []float64 {
	if v := a.(*array.Float64); v.IsValid(i) {
		return append(to, v.Value(i))
	}
	return to
}

func appendInt(to []float64, a arrow.Array, i int) []float64 {
	if v := a.(*array.Int32); v.IsValid(i) {
		return append(to, float64(v.Value(i)))
	}
	return to
}

func list(a arrow.Array, i int) []string {
	l := a.(*array.List)
	from, to := l.ValueOffsets(i)
	var all []string
	for k := from; k < to; k++ {
		all = append(all, text(l.ListValues(), int(k)))
	}
	return all
}

func mean(v []float64) *float64 {
	var a average
	for _, x := range v {
		a.add(x)
	}
	return a.value()
}

// quantile is the nearest-rank quantile; v is sorted in place.
func quantile(v []float64, q float64) *float64 {
	if len(v) == 0 {
		return nil
	}
	slices.Sort(v)
	return &v[max(0, int(math.Ceil(q*float64(len(v))))-1)]
}

// Print writes the summary as tables.
func (s *Summary) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "gpu\tllm\tstage\trows\tseconds\tupdates\tmean W\tp95 W\tGPU util %\t°C\t\n")
	for _, l := range s.Stages {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%.1f\t%d\t%s\t%s\t%s\t%s\t\n", s.label(l), l.LLM, l.Stage, l.Rows, l.Seconds, l.Updates, number(l.MeanW, 1), number(l.P95W, 1), number(l.GPUUtil, 0), number(l.Temp, 0))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	fmt.Fprint(t, "workload\tsize\trequests\tvalid\tTTFT ms\tTPOT ms\ttokens in\ttokens out\tprefill J \tdecode J \t\n")
	for _, l := range s.Sizes {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%v\t%v\t\n", l.Workload, l.Size, l.Requests, l.Valid, number(scaled(l.TTFT, 1e3), 1), number(scaled(l.TPOT, 1e3), 2), number(l.InputTokens, 0), number(l.OutputTokens, 0), l.Prefill, l.Decode)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, "\nupdates: new values of the power sensor; W of a stage with few of them says more about what came before it, J does not"); err != nil {
		return err
	}
	if err := s.printEnergies(w); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "requests: %d valid, %d not valid; %d to warm up\n", s.Counts.Valid, s.Counts.Invalid, s.Counts.Warmup); err != nil {
		return err
	}
	for _, reason := range slices.Sorted(maps.Keys(s.Counts.Reasons)) {
		if _, err := fmt.Fprintf(w, "not valid: %d × %s\n", s.Counts.Reasons[reason], reason); err != nil {
			return err
		}
	}
	return nil
}

// label names a line's board; of several with the same name, by the first digits of the UUID too.
func (s *Summary) label(l StageLine) string {
	for _, other := range s.Stages {
		if other.GPU == l.GPU && other.UUID != l.UUID {
			uuid := strings.TrimPrefix(l.UUID, "GPU-")
			return l.GPU + " " + uuid[:min(8, len(uuid))]
		}
	}
	return l.GPU
}

func scaled(v *float64, by float64) *float64 {
	if v == nil {
		return nil
	}
	x := *v * by
	return &x
}

// number is a value, or a dash where there is none.
func number(v *float64, digits int) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, *v)
}
