package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/schema"
)

// Key is something that a summary's lines are told apart by.
type Key string

// The keys. A request is on all of a run's boards, so KeyBoard tells stages apart alone; KeyWorkload and KeySize only requests.
const (
	KeyGPU      Key = "gpu"
	KeyBoard    Key = "board"
	KeyLLM      Key = "llm"
	KeyRun      Key = "run"
	KeyWorkload Key = "workload"
	KeySize     Key = "size"
)

var (
	keyColumns  = map[Key]string{KeyGPU: "gpu_name", KeyBoard: "gpu_uuid", KeyLLM: "llm_name", KeyRun: "run_id", KeyWorkload: "workload", KeySize: "target_tokens"}
	stageKeys   = []Key{KeyGPU, KeyBoard, KeyLLM, KeyRun}
	requestKeys = []Key{KeyGPU, KeyLLM, KeyRun, KeyWorkload, KeySize}
)

// Summary is what a dataset, or one run of it, found.
type Summary struct {
	RunID  string        `json:"run_id,omitempty"` // where it is one run's
	By     []Key         `json:"by"`
	Runs   []RunLine     `json:"runs"`
	Stages []StageLine   `json:"stages"`
	Sizes  []SizeLine    `json:"sizes"`
	Boards []BoardEnergy `json:"boards"`
	Counts RequestCounts `json:"requests"`
}

// RunLine is one run.
type RunLine struct {
	RunID     string        `json:"run_id"`
	Host      string        `json:"host"`
	Status    schema.Status `json:"status"`
	Simulated bool          `json:"simulated"`
	LLM       string        `json:"llm_name"`
	Server    string        `json:"server"`
	GPU       string        `json:"gpu_name"` // distinct names joined by +
	Boards    int           `json:"boards"`
	Start     time.Time     `json:"start_timestamp"`
	End       time.Time     `json:"end_timestamp"`
	Readings  int64         `json:"readings"`
	Dropped   *int64        `json:"readings_dropped"` // nil, as all that the sampler tells at its end, where the run was recovered
	Missed    *int64        `json:"ticks_missed"`
	GainError float64       `json:"sensor_gain_error"`
}

// RequestCounts are attempts by outcome; warm-up is counted on its own.
type RequestCounts struct {
	Warmup  int `json:"warmup"`
	Sent    int `json:"sent"`
	Valid   int `json:"valid"`
	Invalid int `json:"invalid"`
	Failed  int `json:"failed"`
	// Reasons counts the requests that bear each reason code; one request may bear several.
	Reasons map[string]int `json:"reasons"`
}

// group is what a line is about; what it is not told apart by is empty.
type group struct {
	GPU    string `json:"gpu_name,omitempty"`
	Boards int    `json:"boards,omitempty"` // that a request ran on
	UUID   string `json:"gpu_uuid,omitempty"`
	LLM    string `json:"llm_name,omitempty"`
	RunID  string `json:"run_id,omitempty"`
}

// StageLine is the boards' time in one stage.
type StageLine struct {
	group
	Stage   schema.Stage `json:"stage"`
	Runs    int          `json:"runs"`
	Rows    int          `json:"rows"`
	Updates int          `json:"power_updates"` // readings with a new value of the power sensor
	Seconds float64      `json:"seconds"`       // all boards together
	MeanW   *float64     `json:"mean_power_w"`
	P95W    *float64     `json:"p95_power_w"`
	GPUUtil *float64     `json:"mean_gpu_utilization_pct"`
	Temp    *float64     `json:"mean_temperature_c"`
}

// SizeLine is the requests of one workload and size, warm-up left out. Medians are over those with nothing against them
// but overlap: with concurrency that is how the server answers.
type SizeLine struct {
	group
	Workload     schema.Workload `json:"workload,omitempty"`
	Size         int32           `json:"target_tokens,omitempty"`
	Runs         int             `json:"runs"`
	Requests     int             `json:"requests"`
	Valid        int             `json:"valid"`
	TTFT         *float64        `json:"median_ttft_s"`
	TPOT         *float64        `json:"median_tpot_s"`
	TPOTRequests int             `json:"tpot_requests"` // that TPOT is the median of: those with a second token
	InputTokens  *float64        `json:"median_input_tokens"`
	OutputTokens *float64        `json:"median_output_tokens"`
	Prefill      *StageEnergy    `json:"prefill"`
	Decode       *StageEnergy    `json:"decode"`
}

// Summarize reads one run back, board by board.
func (d Dataset) Summarize(ctx context.Context, runID string) (*Summary, error) {
	return again(func() (*Summary, error) { return d.summarize(ctx, runID) })
}

func (d Dataset) summarize(ctx context.Context, runID string) (s *Summary, err error) {
	open, err := query.Open(ctx, d.Dir, runID)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, open.Close()) }()
	if s, err = Summarize(ctx, open, []Key{KeyGPU, KeyBoard, KeyLLM, KeyWorkload, KeySize}); err == nil {
		s.RunID = runID
		for i := range s.Sizes { // one run has one model, and a request is on all of its boards
			s.Sizes[i].group = group{}
		}
	}
	return s, err
}

// Summarize reads a dataset, its lines told apart by some of the keys.
func Summarize(ctx context.Context, d *query.Dataset, by []Key) (*Summary, error) {
	s := &Summary{By: by}
	var energies []energyLine
	for _, q := range []struct {
		rows  any
		table string
	}{
		{&s.Runs, "runs"}, {&s.Stages, "stages"}, {&s.Sizes, "requests"}, {&energies, "energies"}, {&s.Boards, "boards"},
	} {
		if err := d.Select(ctx, q.rows, TableQuery(q.table, by)); err != nil {
			return nil, fmt.Errorf("summing up: %w", err)
		}
	}
	if err := s.count(ctx, d); err != nil {
		return nil, err
	}
	s.takeEnergies(energies)
	s.sort()
	return s, nil
}

// count counts the requests by how they ended.
func (s *Summary) count(ctx context.Context, d *query.Dataset) error {
	var counts []RequestCounts
	var reasons []struct {
		Reason   string `json:"reason"`
		Requests int    `json:"requests"`
	}
	if err := errors.Join(d.Select(ctx, &counts, query.File("counts")), d.Select(ctx, &reasons, query.File("invalid"))); err != nil {
		return fmt.Errorf("counting the requests: %w", err)
	}
	for _, c := range counts {
		s.Counts = c
	}
	s.Counts.Reasons = map[string]int{}
	for _, r := range reasons {
		s.Counts.Reasons[r.Reason] = r.Requests
	}
	return nil
}

// TableQuery is the SQL behind one of a summary's tables: stages, requests, energies, boards, runs, counts or invalid.
func TableQuery(table string, by []Key) string {
	switch table {
	case "stages":
		return query.File(table, columns(by, stageKeys)...)
	case "requests", "energies":
		return query.File(table, columns(by, requestKeys)...)
	}
	return query.File(table)
}

// columns are those of the keys that a table can be told apart by.
func columns(by, of []Key) []string {
	chosen := []string{}
	for _, k := range of {
		if slices.Contains(by, k) {
			chosen = append(chosen, keyColumns[k])
			if k == KeyGPU && slices.Contains(of, KeySize) { // two boards' joules are not one's
				chosen = append(chosen, "boards")
			}
		}
	}
	return chosen
}

// sort puts lines into the order in which things happen: idle before prefill before decode, prefill prompts before decode's.
func (s *Summary) sort() {
	order := []schema.Stage{schema.StageIdle, schema.StagePrefill, schema.StageDecode, schema.StageMixed}
	slices.SortFunc(s.Stages, func(a, b StageLine) int {
		return cmp.Or(a.compare(b.group), cmp.Compare(slices.Index(order, a.Stage), slices.Index(order, b.Stage)))
	})
	slices.SortFunc(s.Sizes, func(a, b SizeLine) int {
		return cmp.Or(a.compare(b.group), -cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Size, b.Size))
	})
}

func (g group) compare(h group) int {
	return cmp.Or(cmp.Compare(g.GPU, h.GPU), cmp.Compare(g.Boards, h.Boards), cmp.Compare(g.UUID, h.UUID), cmp.Compare(g.LLM, h.LLM), cmp.Compare(g.RunID, h.RunID))
}

// Simulated counts the runs whose boards or server are simulated.
func (s *Summary) Simulated() (n int) {
	for _, r := range s.Runs {
		if r.Simulated {
			n++
		}
	}
	return n
}
