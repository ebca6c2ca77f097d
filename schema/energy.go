package schema

import (
	"slices"

	"github.com/apache/arrow/go/v17/arrow/array"
)

// Energy is an energy with its 95 % interval, and how much of it the sensor saw.
type Energy struct {
	J, Lo, Hi Opt[float64]
	Updates   Opt[int32]
	Coverage  Opt[float64] // share of the time that the sensor's windows saw
	Resolved  Opt[bool]
}

// Account is where one board's energy went during a run, by the levels fitted to its power sensor, held against its counter.
type Account struct {
	Stages     map[Stage]float64 // J, over the whole run; nil where no levels could be fitted
	LagS       Opt[float64]      // by which the board's power follows its work
	DelayS     Opt[float64]      // from a request's start to the board's
	PerTokenS  Opt[float64]      // by which that is longer for each token of the prompt
	LateS      Opt[float64]      // from the prefill's end to the first token
	SensorS    Opt[float64]      // the sensor's window
	Misfit     Opt[float64]      // of the sensor's values, in their standard deviations
	NoiseW     Opt[float64]      // standard deviation of the sensor's values under constant work
	WindowS    Opt[float64]      // between the counter's first and last reading
	CounterJ   Opt[float64]      // over that window
	EstimateJ  Opt[float64]      // over the same window
	ClosurePct Opt[float64]      // estimate over counter, less 100 %; absent under 5 s
	Reasons    []string          // why the run's energies must not be trusted

	CounterResets int64 // times that the counter went back
}

// Reason codes of a run whose energies must not be used for calibration without thought.
const (
	ReasonClosure  = "energy_closure" // the stages' energies and the board's counter disagree
	ReasonMisfit   = "energy_misfit"  // the power sensor's values do not follow from the stages
	ReasonStuck    = "power_stuck"    // the power sensor stood still while the board's work changed; energies meanwhile are NULL
	ReasonNoEnergy = "no_energy"      // the power sensor is a running mean, or was read too rarely or too briefly
)

func (a *Account) stage(s Stage) Opt[float64] {
	return Opt[float64]{V: a.Stages[s], OK: a.Stages != nil}
}

func accountColumns() []Column[RunBoard] {
	joules := func(name, doc string, get func(*Account) Opt[float64]) Column[RunBoard] {
		return Column[RunBoard]{Name: name, Type: typeFloat64, Nullable: true, Unit: "J", Doc: doc, bind: optional(func(r *RunBoard) Opt[float64] { return get(&r.Account) })}
	}
	seconds := func(name, doc string, get func(*Account) Opt[float64]) Column[RunBoard] {
		c := joules(name, doc, get)
		c.Unit = "s"
		return c
	}
	watts, percent := joules("power_noise_w", "standard deviation of the power sensor's values under constant work", func(a *Account) Opt[float64] { return a.NoiseW }),
		joules("energy_closure_pct", "energy_estimated_j over energy_counted_j, less 100 %; NULL under 5 s, where the counter's own steps count", func(a *Account) Opt[float64] { return a.ClosurePct })
	misfit := joules("energy_misfit", "root mean square of what the sensor's values are off the fitted power by, in standard deviations: about 1 where the model holds, and as much wider are intervals beyond", func(a *Account) Opt[float64] { return a.Misfit })
	watts.Unit, percent.Unit, misfit.Unit = "W", "%", ""
	return []Column[RunBoard]{
		joules("prefill_energy_j", "of all prefills of the run, this board; NULL where no energy could be estimated", func(a *Account) Opt[float64] { return a.stage(StagePrefill) }),
		joules("decode_energy_j", "of all decodes", func(a *Account) Opt[float64] { return a.stage(StageDecode) }),
		joules("mixed_energy_j", "of the time in which requests overlapped in different stages", func(a *Account) Opt[float64] { return a.stage(StageMixed) }),
		joules("idle_energy_j", "of the rest; the four add up to the run's whole", func(a *Account) Opt[float64] { return a.stage(StageIdle) }),
		seconds("power_lag_s", "by which the board's power follows its work, as fitted", func(a *Account) Opt[float64] { return a.LagS }),
		seconds("work_delay_s", "from the start of a request with a short prompt to the board's, as fitted; NULL where the server told how long prefills took", func(a *Account) Opt[float64] { return a.DelayS }),
		seconds("work_delay_per_token_s", "by which that is longer for each token of the prompt, as fitted: servers tokenize before the board works; NULL where the run hardly tells", func(a *Account) Opt[float64] { return a.PerTokenS }),
		seconds("token_delay_s", "from the prefill's end on the board to the first token, as fitted; last tokens have a lateness of their own", func(a *Account) Opt[float64] { return a.LateS }),
		seconds("sensor_window_fitted_s", "averaging window of instant power, as this run's stages show it", func(a *Account) Opt[float64] { return a.SensorS }),
		watts,
		misfit,
		seconds("energy_window_s", "between the first and the last reading of the energy counter", func(a *Account) Opt[float64] { return a.WindowS }),
		joules("energy_counted_j", "by the board's counter over that window; NULL where it was not read, or went back", func(a *Account) Opt[float64] { return a.CounterJ }),
		added(whole("energy_counter_resets", "", "times that the counter went back: the driver was loaded anew", func(r *RunBoard) int64 { return r.CounterResets })),
		joules("energy_estimated_j", "by the power sensor over the same window: all stages", func(a *Account) Opt[float64] { return a.EstimateJ }),
		percent,
		added(Column[RunBoard]{Name: "valid", Type: typeBool, Doc: "nothing speaks against using the run's energies", bind: required(func(r *RunBoard) bool { return len(r.Reasons) == 0 })}),
		added(Column[RunBoard]{Name: "invalid_reasons", Type: typeStrings, Doc: "codes, empty where valid", bind: stringList(func(r *RunBoard) []string { return r.Reasons })}),
	}
}

// Fold is what the repetitions of one stage of one size of prompt show together, on one board.
type Fold struct {
	Run          *Run
	Board        *Board
	Workload     Workload
	TargetTokens int32
	Stage        Stage
	Requests     int32   // repetitions
	Resolved     int32   // of them, long enough for the sensor to see alone
	Updates      int32   // new power values in all of them together
	DurationS    float64 // mean
	Energy       Energy  // mean of one repetition
	CurveStepS   float64
	CurveW       []float64 // mean power over each step since the stage began
}

// Folds is the table of folded stages.
var Folds = Table[Fold]{
	Name:    "folds",
	Doc:     "one row per run, GPU, workload, size and stage: the valid repetitions together",
	SortKey: "run_id,gpu_uuid,workload,target_tokens,inference_stage",
	Columns: []Column[Fold]{
		{Name: "run_id", Type: typeString, Encoding: Dictionary, Doc: "the run", bind: required(func(f *Fold) string { return f.Run.ID })},
		{Name: "host", Type: typeString, Encoding: Dictionary, Doc: "the machine that measured", bind: required(func(f *Fold) string { return f.Run.Host })},
		{Name: "gpu_uuid", Type: typeString, Encoding: Dictionary, Doc: "the board", bind: required(func(f *Fold) string { return f.Board.UUID })},
		{Name: "gpu_name", Type: typeString, Encoding: Dictionary, Doc: "exact product name; begins with sim- where simulated", bind: required(func(f *Fold) string { return f.Board.Name })},
		{Name: "llm_name", Type: typeString, Encoding: Dictionary, Doc: "exact name of the model asked for", bind: required(func(f *Fold) string { return f.Run.Model })},
		{Name: "workload", Type: typeString, Encoding: Dictionary, Doc: "prefill or decode: the kind of prompt", bind: required(func(f *Fold) string { return string(f.Workload) })},
		{Name: "target_tokens", Type: typeInt32, Encoding: Delta, Unit: "tokens", Doc: "size of the prompt (prefill) or of the answer (decode)", bind: required(func(f *Fold) int32 { return f.TargetTokens })},
		{Name: "inference_stage", Type: typeString, Encoding: Dictionary, Doc: "prefill or decode", bind: required(func(f *Fold) string { return string(f.Stage) })},
		{Name: "requests", Type: typeInt32, Encoding: Delta, Doc: "valid requests folded, warm-up left out", bind: required(func(f *Fold) int32 { return f.Requests })},
		{Name: "requests_resolved", Type: typeInt32, Encoding: Delta, Doc: "of them, those in which the sensor saw the stage alone", bind: required(func(f *Fold) int32 { return f.Resolved })},
		{Name: "power_updates", Type: typeInt32, Encoding: Delta, Doc: "new power values within the stage, all requests together", bind: required(func(f *Fold) int32 { return f.Updates })},
		{Name: "duration_s", Type: typeFloat64, Unit: "s", Doc: "of the stage, mean", bind: required(func(f *Fold) float64 { return f.DurationS })},
		foldJ("energy_j", "of the stage, mean of one request", func(e *Energy) Opt[float64] { return e.J }),
		foldJ("energy_j_lo", "lower bound of its 95 % interval", func(e *Energy) Opt[float64] { return e.Lo }),
		foldJ("energy_j_hi", "upper bound of its 95 % interval", func(e *Energy) Opt[float64] { return e.Hi }),
		{Name: "curve_step_s", Type: typeFloat64, Unit: "s", Doc: "length of one step of curve_w", bind: required(func(f *Fold) float64 { return f.CurveStepS })},
		{Name: "curve_w", Type: typeNumbers, Unit: "W", Doc: "power curve of the stage: mean power over each step since its beginning", bind: numberList(func(f *Fold) []float64 { return f.CurveW })},
	},
}

func foldJ(name, doc string, get func(*Energy) Opt[float64]) Column[Fold] {
	return Column[Fold]{Name: name, Type: typeFloat64, Nullable: true, Unit: "J", Doc: doc, bind: optional(func(f *Fold) Opt[float64] { return get(&f.Energy) })}
}

// numberList binds a list column.
func numberList[R any](get func(*R) []float64) binding[R] {
	return byBuilder(func(b array.Builder) func([]R, []int) {
		list := b.(*array.ListBuilder)
		items := list.ValueBuilder().(*array.Float64Builder)
		return func(rows []R, _ []int) {
			for i := range rows {
				list.Append(true)
				items.AppendValues(slices.Clip(get(&rows[i])), nil)
			}
		}
	})
}
