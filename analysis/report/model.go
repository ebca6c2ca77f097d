package report

import (
	"path"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/analysis/query"
)

// Model is what the page draws: everything in it, and nothing else, is in the file.
type Model struct {
	Dataset   string       `json:"dataset"` // the folder's name
	Tracer    string       `json:"tracer"`  // version that made the page
	Choice    query.Choice `json:"-"`
	Simulated bool         `json:"simulated"` // some of the runs are
	Servings  []Serving    `json:"servings"`
	Runs      []Run        `json:"-"`
	Labels    []RunLabel   `json:"runs"`
	BinW      int          `json:"bin_w"` // width of a bin of Powers as drawn
	Powers    []Power      `json:"powers"`
	Sizes     []Size       `json:"sizes"`
	Energies  []Energy     `json:"energies"`
	Timelines []Timeline   `json:"timelines"`
	Undrawn   int          `json:"-"` // runs and boards that have no timeline, for want of room
	CloseUps  []CloseUp    `json:"closeups"`

	Summary *analysis.Summary `json:"-"` // the tables'
}

// ShortName is a model's name without its owner, who only stays where two models would bear the same name.
func (m *Model) ShortName(llm string) string {
	short := path.Base(llm)
	for _, s := range m.Servings {
		if s.LLM != llm && path.Base(s.LLM) == short {
			return llm
		}
	}
	return short
}

// Serving is a kind of board, or kinds that served together, and the model: what requests are compared by.
type Serving struct {
	Label  string `json:"label"`
	LLM    string `json:"llm"`
	Colour int    `json:"colour"` // the same for the same boards
}

// Run is one run and board.
type Run struct {
	RunID           string   `json:"run_id"`
	Host            string   `json:"host"`
	UUID            string   `json:"gpu_uuid"`
	Index           int32    `json:"gpu_index"`
	GPU             string   `json:"gpu_name"`
	LLM             string   `json:"llm_name"`
	Simulated       bool     `json:"simulated"`
	Status          string   `json:"status"`
	Served          string   `json:"served"` // its boards, as a serving is labelled
	ServingBoards   int      `json:"serving_boards"`
	Serving         int      `json:"serving"` // index into Servings
	Label           string   `json:"label"`   // of the board
	Server          string   `json:"server"`
	Engine          *string  `json:"engine_version"`
	Concurrency     int32    `json:"concurrency"`
	Driver          *string  `json:"driver_version"`
	CUDA            *string  `json:"cuda_version"`
	CPU             *string  `json:"cpu"`
	Kernel          string   `json:"kernel"`
	Tracer          string   `json:"tracer_version"`
	Started         string   `json:"started"`
	Duration        float64  `json:"duration_s"`
	Zero            int64    `json:"zero_ns"`
	Start           int64    `json:"start_monotonic_ns"`
	End             int64    `json:"end_monotonic_ns"`
	LimitW          *float64 `json:"power_limit_w"`
	IdleW           *float64 `json:"idle_power_w"`
	Planned         float64  `json:"period_planned_s"`
	PerSecond       float64  `json:"readings_per_s"`
	Readings        int64    `json:"readings"`
	Dropped         *int64   `json:"readings_dropped"` // nil, as all that the sampler tells at its end, where the run was recovered
	Missed          *int64   `json:"ticks_missed"`
	SensorPeriod    *float64 `json:"sensor_period_s"`
	SensorWindow    *float64 `json:"sensor_window_s"`
	Provenance      string   `json:"sensor_provenance"`
	IsAverage       bool     `json:"sensor_is_average"`
	GainError       float64  `json:"sensor_gain_error"`
	Scope           *string  `json:"power_scope"`
	CallShare       *float64 `json:"call_share"`
	PeriodChanges   *int64   `json:"period_changes"`
	Lost            *bool    `json:"board_lost"`
	Gaps            *string  `json:"gaps"`
	WithoutPower    *int64   `json:"readings_without_power"`
	ClockStep       float64  `json:"clock_step_s"`
	PrefillJ        *float64 `json:"prefill_energy_j"`
	DecodeJ         *float64 `json:"decode_energy_j"`
	MixedJ          *float64 `json:"mixed_energy_j"`
	IdleJ           *float64 `json:"idle_energy_j"`
	Closure         *float64 `json:"energy_closure_pct"`
	ClosureS        *float64 `json:"energy_window_s"`
	Misfit          *float64 `json:"energy_misfit"`
	OverheadTTFT    *float64 `json:"overhead_ttft_pct"`
	OverheadTTFTLo  *float64 `json:"overhead_ttft_pct_lo"`
	OverheadTTFTHi  *float64 `json:"overhead_ttft_pct_hi"`
	OverheadTPOT    *float64 `json:"overhead_tpot_pct"`
	OverheadTPOTLo  *float64 `json:"overhead_tpot_pct_lo"`
	OverheadTPOTHi  *float64 `json:"overhead_tpot_pct_hi"`
	Requests        int64    `json:"requests"`
	Succeeded       int64    `json:"requests_succeeded"`
	Failed          int64    `json:"requests_failed"`
	Interrupted     int64    `json:"requests_interrupted"`
	Invalid         int64    `json:"requests_invalid"`
	InvalidReasons  *string  `json:"invalid_reasons"`
	RequestsAgainst []Reason `json:"reasons"`
}

// RunLabel is what the figures need of a run and board.
type RunLabel struct {
	RunID    string  `json:"run_id"`
	GPU      string  `json:"gpu_name"`
	LLM      string  `json:"llm_name"`
	Label    string  `json:"label"`
	Serving  int     `json:"serving"`
	Duration float64 `json:"duration_s"`
}

// Reason is how many requests of a run bear one reason code.
type Reason struct {
	RunID    string `json:"run_id"`
	Host     string `json:"host"`
	Reason   string `json:"reason"`
	Requests int64  `json:"requests"`
}

// Power is how many new values of the power sensors of one kind of board lay between two watts during a stage.
type Power struct {
	GPU     string `json:"gpu_name"`
	LLM     string `json:"llm_name"`
	Stage   string `json:"stage"`
	W       int    `json:"w"` // the lower
	Updates int64  `json:"updates"`
}

// Size is the latencies of one workload and size.
type Size struct {
	GPU          string   `json:"gpu_name"`
	Boards       int      `json:"boards"`
	LLM          string   `json:"llm_name"`
	Serving      int      `json:"serving"`
	Workload     string   `json:"workload"`
	Target       int32    `json:"target_tokens"`
	Requests     int64    `json:"requests"`
	Valid        int64    `json:"valid"`
	Counted      int64    `json:"counted"` // of which medians are taken: valid ones, and those that only overlap
	InputTokens  *float64 `json:"input_tokens"`
	OutputTokens *float64 `json:"output_tokens"`
	TTFTLo       *float64 `json:"ttft_lo_s"`
	TTFT         *float64 `json:"ttft_s"`
	TTFTHi       *float64 `json:"ttft_hi_s"`
	TPOTLo       *float64 `json:"tpot_lo_s"`
	TPOT         *float64 `json:"tpot_s"`
	TPOTHi       *float64 `json:"tpot_hi_s"`
}

// Energy is that of one request's stage, of all runs together, with its 95 % interval.
type Energy struct {
	Serving      int      `json:"serving"`
	Workload     string   `json:"workload"`
	Target       int32    `json:"target_tokens"`
	Stage        string   `json:"stage"`
	Requests     int      `json:"requests"`
	Resolved     int      `json:"resolved"` // of them, those in which the sensor saw the stage alone
	Seen         bool     `json:"seen"`     // these are half of them or more
	J            float64  `json:"energy_j"`
	Half         float64  `json:"energy_j_half_interval"`
	OfAllJ       float64  `json:"energy_j_of_all"` // mean over all requests of the kind: one whose answer is one token has no decode
	InputTokens  *float64 `json:"input_tokens"`
	OutputTokens *float64 `json:"output_tokens"`
}

// Timeline is one run and board over time, in seconds from the run's first request.
type Timeline struct {
	Run      int       `json:"run"`      // index into Runs
	BucketS  float64   `json:"bucket_s"` // 0: every value that the power sensor showed is there
	Values   int64     `json:"values"`   // readings of power that it stands for
	T        Column    `json:"t"`
	Lo       *Column   `json:"lo,omitempty"` // with buckets: least and greatest reading
	Hi       *Column   `json:"hi,omitempty"`
	W        Column    `json:"w"` // the value, or the bucket's mean
	UtilT    *Column   `json:"util_t,omitempty"`
	Util     Column    `json:"util"`
	BandT    *Column   `json:"band_t,omitempty"` // stretches of one label, by their beginning, and the end of the last
	Band     []string  `json:"band,omitempty"`
	Shares   []Column  `json:"shares,omitempty"` // with buckets: % prefill, decode, mixed
	Requests []Request `json:"requests,omitempty"`
}

// Request is when one was sent, had its first token, and ended.
type Request struct {
	S          float64  `json:"s"`
	FirstToken *float64 `json:"first_token_s"`
	End        float64  `json:"end_s"`
	Workload   string   `json:"workload"`
	Target     int32    `json:"target_tokens"`
	In         *int32   `json:"input_tokens"`
	Out        *int32   `json:"output_tokens"`
	Warmup     bool     `json:"warmup"`
	Valid      bool     `json:"valid"`
}

// CloseUp is one request as its board's power sensor showed it.
type CloseUp struct {
	RunID       string   `json:"run_id"`
	Host        string   `json:"host"`
	Run         int      `json:"run"` // index into Runs: the board
	RequestID   string   `json:"request_id"`
	Workload    string   `json:"workload"`
	Target      int32    `json:"target_tokens"`
	In          *int32   `json:"input_tokens"`
	Out         *int32   `json:"output_tokens"`
	Start       int64    `json:"start_monotonic_ns"`
	PrefillS    float64  `json:"prefill_s"`
	FirstTokenS float64  `json:"first_token_s"`
	LastTokenS  float64  `json:"last_token_s"`
	EndS        float64  `json:"end_s"`
	PrefillJ    *float64 `json:"prefill_energy_j"`
	DecodeJ     *float64 `json:"decode_energy_j"`
	PrefillSeen *bool    `json:"sensor_resolved_prefill"`
	DecodeSeen  *bool    `json:"sensor_resolved_decode"`
	Points      []Point  `json:"points"`
}

// Point is a value at an instant.
type Point struct {
	S     float64  `json:"s"`
	Value *float64 `json:"value"`
	Gap   bool     `json:"gap,omitempty"`
}
