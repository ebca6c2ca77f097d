package schema

import (
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/llm-tracer/tracer/internal/clock"
)

// Status is how a run ended.
type Status string

// The ends of a run.
const (
	StatusComplete    Status = "complete"
	StatusInterrupted Status = "interrupted"
	StatusRecovered   Status = "recovered" // it broke off: a journal is all that is known of it
)

// Run is what one run of tracer measured, with what.
type Run struct {
	ID            string
	Continues     string // the run that this one goes on with; empty where it is none
	Launch        string // --run-id as it was given, which the processes of one launch share
	Rank          string // of the process among them; empty where it is on its own
	Host          string
	Command       string // without secrets
	TracerVersion string
	GitCommit     string
	CorpusID      string
	Seed          int64
	Tokenizer     string     // that counted the texts
	Template      Opt[int32] // tokens that the server's chat template adds to a text
	Kernel        string
	CPU           string
	Simulated     bool // the board or the server is simulated

	Model         string // the model asked for
	Server        string // profile
	EngineVersion string // by the server's own word
	Endpoint      string // without credentials
	Insecure      bool   // the endpoint's certificate was not checked
	Concurrency   int32

	PeriodAsked time.Duration // 0: chosen by tracer
	Status      Status
	Start, End  clock.Pair
	Clock       clock.Pair // that the rows' wall-clock times are derived through
	Overhead    Overhead   // measured by this run, or carried over from the latest that fits

	Requests    int32 // attempts, warm-up included
	Succeeded   int32
	Failed      int32
	Interrupted int32
	Invalid     int32

	JournalCut     Opt[int64]    // bytes that a broken journal was too damaged to give; absent where none broke
	JournalSyncMax time.Duration // the longest fsync of the journal
	RingPeak       Opt[float64]  // most of the readings' ring that was ever full, 0 to 1
}

// at is the wall-clock time of an instant of the run.
func (r *Run) at(monotonicNS int64) arrow.Timestamp {
	return instant(r.Clock.Wall(monotonicNS).UnixNano())
}

// Sampling is how well one board was sampled during a run.
type Sampling struct {
	PowerPeriod time.Duration `json:"period_planned_ns"` // planned, instant power
	AchievedHz  float64       `json:"readings_per_s"`    // readings taken over the run's length
	Readings    int64         `json:"readings"`
	Dropped     int64         `json:"readings_dropped"` // taken, and lost to a full ring
	MissedTicks int64         `json:"ticks_missed"`     // slots of the plan in which no reading was taken
	LatenessP50 time.Duration `json:"lateness_p50_ns"`
	LatenessP99 time.Duration `json:"lateness_p99_ns"`
	LatenessMax time.Duration `json:"lateness_max_ns"`
	ReadCostP50 time.Duration `json:"read_cost_p50_ns"`
	ReadCostP99 time.Duration `json:"read_cost_p99_ns"`
	CPU         time.Duration `json:"sampler_cpu_ns"`   // of the sampler's thread, for all boards
	Budget      float64       `json:"call_budget"`      // share of wall time that the governor left to the board's calls; 0: it only watched
	CallShare   float64       `json:"call_share"`       // of wall time, taken by the board's calls
	CallPeak    float64       `json:"call_share_peak"`  // the same over the busiest 5 s
	RealTime    bool          `json:"sampler_realtime"` // the kernel granted the sampler real-time priority
	IdlePowerW  Opt[float64]  `json:"-"`                // mean instant power over the idle baseline
	Lost        bool          `json:"board_lost"`       // the board stopped answering during the run
	Unlabelled  int64         `json:"readings_unlabelled"`
	Unknown     bool          `json:"-"` // the run broke off before the sampler could tell how it went

	HostClock     HostClock      `json:"host_clock,omitzero"`      // of the board's host, where that is another than the run's
	PeriodChanges []PeriodChange `json:"period_changes,omitempty"` // by the governor
	PowerAbsent   int64          `json:"readings_without_power"`   // in which instant power failed, or is not supported
	Gaps          []Gap          `json:"gaps,omitempty"`           // of this board
	ClockSteps    []ClockStep    `json:"clock_steps,omitempty"`    // of the host's wall clock
}

// HostClock is the monotonic clock of another host against that of the run's.
type HostClock struct {
	Offset    time.Duration `json:"offset_ns"` // there less here, at the end
	DriftPPM  float64       `json:"drift_ppm"` // of there against here
	Error     time.Duration `json:"error_ns"`  // the most that any reading's time may be off by
	RoundTrip time.Duration `json:"round_trip_ns"`
}

// RunBoard is one row of the runs table.
type RunBoard struct {
	Run   *Run
	Board *Board
	Sampling
	Account
}

// ClockStepNS is how far the wall clock moved against the monotonic one during the run.
func (r *Run) ClockStepNS() int64 {
	return (r.End.WallNS - r.Start.WallNS) - (r.End.MonotonicNS - r.Start.MonotonicNS)
}

// Runs is the table of runs.
var Runs = Table[RunBoard]{
	Name:    "runs",
	Doc:     "one row per run and GPU: what was measured, with what, how well",
	SortKey: "run_id,gpu_uuid",
	Columns: slices.Concat([]Column[RunBoard]{
		text("run_id", "the run", func(r *RunBoard) string { return r.Run.ID }),
		text("host", "the machine that measured", func(r *RunBoard) string { return r.Run.Host }),
		optText("continues", "the run that this one goes on with, by collect --resume; NULL where it is none", func(r *RunBoard) string { return r.Run.Continues }),
		optText("launch_id", "--run-id as it was given: what a launcher calls all of its processes; their runs are called <launch_id>.<rank>; NULL where none was given", func(r *RunBoard) string { return r.Run.Launch }),
		optText("rank", "of the process in its launch: r3 (SLURM_PROCID, JOB_COMPLETION_INDEX or --rank), a2r3 (of task 2 of a job array) or host-NAME; NULL where it is on its own", func(r *RunBoard) string { return r.Run.Rank }),
		text("status", "complete, interrupted (stopped, and committed) or recovered (it broke off; its rows come from its journal)", func(r *RunBoard) string { return string(r.Run.Status) }),
		{Name: "simulated", Type: typeBool, Doc: "the board or the server is simulated", bind: required(func(r *RunBoard) bool { return r.Run.Simulated })},
		text("command", "the command line, without secrets", func(r *RunBoard) string { return r.Run.Command }),
		text("tracer_version", "of the program", func(r *RunBoard) string { return r.Run.TracerVersion }),
		text("schema_version", "of the dataset", func(*RunBoard) string { return Version }),
		optText("git_commit", "that the program was built from", func(r *RunBoard) string { return r.Run.GitCommit }),
		text("corpus_id", "the corpus sent: file name under prompts/, hash of its contents", func(r *RunBoard) string { return r.Run.CorpusID }),
		added(text("tokenizer", "that counted requests.text_tokens: the server's own, a tokenizer.json's hash, or an embedded one", func(r *RunBoard) string { return r.Run.Tokenizer })),
		{
			Name: "template_tokens", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "tokens", Doc: "added to a text by the chat template: usage less text_tokens of one short request before the run; NULL where the server counts nothing",
			bind: optional(func(r *RunBoard) Opt[int32] { return r.Run.Template }),
		},
		{Name: "seed", Type: typeInt64, Encoding: Delta, Doc: "of corpus and order", bind: required(func(r *RunBoard) int64 { return r.Run.Seed })},
		{Name: "start_timestamp", Type: typeTimestamp, Encoding: Delta, Unit: "µs since 1970, UTC", Doc: "wall clock at start", bind: required(func(r *RunBoard) arrow.Timestamp { return instant(r.Run.Start.WallNS) })},
		{Name: "end_timestamp", Type: typeTimestamp, Encoding: Delta, Unit: "µs since 1970, UTC", Doc: "wall clock at end", bind: required(func(r *RunBoard) arrow.Timestamp { return instant(r.Run.End.WallNS) })},
		whole("start_monotonic_ns", "ns", "CLOCK_MONOTONIC, read together with start_timestamp", func(r *RunBoard) int64 { return r.Run.Start.MonotonicNS }),
		whole("end_monotonic_ns", "ns", "CLOCK_MONOTONIC, read together with end_timestamp", func(r *RunBoard) int64 { return r.Run.End.MonotonicNS }),
		whole("clock_step_ns", "ns", "how far the wall clock moved against CLOCK_MONOTONIC during the run", func(r *RunBoard) int64 { return r.Run.ClockStepNS() }),
		text("kernel", "of the host", func(r *RunBoard) string { return r.Run.Kernel }),
		optText("cpu", "of the host", func(r *RunBoard) string { return r.Run.CPU }),
		text("llm_name", "the model asked for", func(r *RunBoard) string { return r.Run.Model }),
		text("server", "profile of the model server", func(r *RunBoard) string { return r.Run.Server }),
		optText("engine_version", "by the server's own word", func(r *RunBoard) string { return r.Run.EngineVersion }),
		text("endpoint", "base URL, without credentials", func(r *RunBoard) string { return r.Run.Endpoint }),
		added(Column[RunBoard]{Name: "insecure", Type: typeBool, Doc: "the endpoint's certificate was not checked (--insecure): nobody knows who answered", bind: required(func(r *RunBoard) bool { return r.Run.Insecure })}),
		{Name: "concurrency", Type: typeInt32, Encoding: Delta, Doc: "requests kept in flight", bind: required(func(r *RunBoard) int32 { return r.Run.Concurrency })},
		optText("gpu_host", "the machine that the board is in, where that is another than host: its readings came over ssh", func(r *RunBoard) string { return r.Board.Host }),
		hostClock("host_clock_offset_s", "s", "its CLOCK_MONOTONIC less host's, at the end", func(c *HostClock) float64 { return c.Offset.Seconds() }),
		hostClock("host_clock_drift_ppm", "ppm", "by which its clock gains on host's; 0 until that is known to 25 ppm", func(c *HostClock) float64 { return c.DriftPPM }),
		hostClock("host_clock_error_s", "s", "the most that any of its readings' times may be off by: samples.clock_error_s has each one's", func(c *HostClock) float64 { return c.Error.Seconds() }),
		hostClock("host_round_trip_s", "s", "the fastest round trip to it", func(c *HostClock) float64 { return c.RoundTrip.Seconds() }),
		{Name: "gpu_index", Type: typeInt32, Encoding: Delta, Doc: "NVML index", bind: required(func(r *RunBoard) int32 { return r.Board.Index })},
		text("gpu_uuid", "the board", func(r *RunBoard) string { return r.Board.UUID }),
		text("gpu_name", "exact product name; begins with sim- where simulated", func(r *RunBoard) string { return r.Board.Name }),
		text("gpu_architecture", "as tracer's tables name it", func(r *RunBoard) string { return r.Board.Architecture }),
		optText("pci_bus_id", "of the board", func(r *RunBoard) string { return r.Board.PCIBusID }),
		optText("vbios_version", "of the board", func(r *RunBoard) string { return r.Board.VBIOS }),
		optText("driver_version", "of the NVIDIA driver", func(r *RunBoard) string { return r.Board.DriverVersion }),
		optText("nvml_version", "of the library", func(r *RunBoard) string { return r.Board.NVMLVersion }),
		optText("cuda_version", "that the driver supports", func(r *RunBoard) string { return r.Board.CUDAVersion }),
		{Name: "memory_bytes", Type: typeInt64, Nullable: true, Encoding: Delta, Unit: "bytes", Doc: "of the board", bind: optional(func(r *RunBoard) Opt[int64] { return r.Board.MemoryBytes })},
		{Name: "power_limit_w", Type: typeFloat32, Nullable: true, Unit: "W", Doc: "enforced at start", bind: optional(func(r *RunBoard) Opt[float32] { return r.Board.PowerLimitW })},
		{Name: "max_sm_clock_mhz", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "MHz", Doc: "of the board", bind: optional(func(r *RunBoard) Opt[int32] { return r.Board.MaxSMClockMHz })},
		{Name: "max_memory_clock_mhz", Type: typeInt32, Nullable: true, Encoding: Delta, Unit: "MHz", Doc: "of the board", bind: optional(func(r *RunBoard) Opt[int32] { return r.Board.MaxMemClockMHz })},
		{Name: "cores", Type: typeInt32, Nullable: true, Encoding: Delta, Doc: "CUDA cores", bind: optional(func(r *RunBoard) Opt[int32] { return r.Board.Cores })},
		yesNo("ecc", "error correction is on", func(r *RunBoard) Opt[bool] { return r.Board.ECC }),
		yesNo("mig", "the board is partitioned: utilisation is unsupported and power is the whole board's", func(r *RunBoard) Opt[bool] { return r.Board.MIG }),
		optText("virtualization", "none, passthrough (the whole board in a virtual machine), vgpu (a part of it), host-vgpu or host-vsga (their host); NULL where NVML does not say", func(r *RunBoard) string { return r.Board.Virtualization }),
		optText("power_scope", "whose power instant and average power are: gpu, or module (Grace Hopper's CPU and memory too); NULL where the board tells no power", func(r *RunBoard) string { return r.Board.PowerScope }),
		yesNo("persistence_mode", "the driver stays loaded", func(r *RunBoard) Opt[bool] { return r.Board.PersistenceMode }),
		optLength("period_asked_s", "NULL where tracer chose", func(r *RunBoard) time.Duration { return r.Run.PeriodAsked }),
		length("period_planned_s", "between readings of instant power", func(r *RunBoard) time.Duration { return r.PowerPeriod }),
		{Name: "readings_per_s", Type: typeFloat64, Unit: "Hz", Doc: "achieved", bind: required(func(r *RunBoard) float64 { return r.AchievedHz })},
		optLength("sensor_period_s", "update period of instant power; NULL where it is not known", func(r *RunBoard) time.Duration { return r.Board.Power.Period }),
		optLength("sensor_window_s", "averaging window of instant power; NULL where it is not known", func(r *RunBoard) time.Duration { return r.Board.Power.Window }),
		{Name: "sensor_period_confidence", Type: typeFloat64, Nullable: true, Doc: "mean resultant length of the changes seen at sensor_period_s, 0 to 1; NULL where the period was not measured", bind: optional(func(r *RunBoard) Opt[float64] { return r.Board.Power.PeriodConfidence })},
		optLength("sensor_window_error_s", "±, 95 %, of a measured window; NULL where it was not measured", func(r *RunBoard) time.Duration { return r.Board.Power.WindowError }),
		added(Column[RunBoard]{Name: "sensor_is_average", Type: typeBool, Doc: "the value is a running average over many updates, which resolves no stage", bind: required(func(r *RunBoard) bool { return r.Board.Power.Average })}),
		added(Column[RunBoard]{Name: "sensor_gain_error", Type: typeFloat64, Doc: "relative to an external meter, 95 %; 0 only where the gain is known, as on simulated boards", bind: required(func(r *RunBoard) float64 { return r.Board.Power.GainError })}),
		text("sensor_provenance", "where period and window come from", func(r *RunBoard) string { return r.Board.Power.Provenance }),
		whole("readings", "", "taken", func(r *RunBoard) int64 { return r.Readings }),
		wholeSampled("readings_dropped", "", "taken, and lost to a full ring; NULL, as all that the sampler tells at its end, in a recovered run", func(r *RunBoard) int64 { return r.Dropped }),
		wholeSampled("ticks_missed", "", "slots of the plan in which no reading was taken", func(r *RunBoard) int64 { return r.MissedTicks }),
		added(whole("readings_without_power", "", "in which instant power was asked for and failed, or is not supported: NULL there; a value of 0 W, which no working board draws, is a failure too", func(r *RunBoard) int64 { return r.PowerAbsent })),
		added(listOf("gaps", "stretches without rows of this board, though the plan asked for them: from_monotonic_ns=… to_monotonic_ns=… (its last reading before and first after) why=lost, reset, hang, reopened, suspend (with slept_s=…, which monotonic_ns does not count), stalled (the sampler did not get to it for over 1 s), dropped, host (the remote host, or tracer's agent on it, was gone), or, in a recovered run, unlabelled (readings_unlabelled: from the opening of the oldest request that never ended to the last reading), damaged (the journal is, so that what was read and asked there is lost) or unknown (its readings alone tell of it)", func(r *RunBoard) []Gap { return r.Gaps })),
		added(listOf("clock_steps", "steps of the wall clock by more than 10 ms: from_monotonic_ns=… to_monotonic_ns=… (the looks at the clock before and after) step_s=…; timestamps of rows do not follow it", func(r *RunBoard) []ClockStep { return r.ClockSteps })),
		lengthSampled("lateness_p50_s", "of a tick against its deadline", func(r *RunBoard) time.Duration { return r.LatenessP50 }),
		lengthSampled("lateness_p99_s", "of a tick against its deadline", func(r *RunBoard) time.Duration { return r.LatenessP99 }),
		lengthSampled("lateness_max_s", "of a tick against its deadline", func(r *RunBoard) time.Duration { return r.LatenessMax }),
		{Name: "sampler_realtime", Type: typeBool, Nullable: true, Doc: "the kernel granted the sampler real-time priority (SCHED_FIFO)", bind: sampled(func(r *RunBoard) bool { return r.RealTime })},
		lengthSampled("read_cost_p50_s", "of one reading", func(r *RunBoard) time.Duration { return r.ReadCostP50 }),
		lengthSampled("read_cost_p99_s", "of one reading", func(r *RunBoard) time.Duration { return r.ReadCostP99 }),
		lengthSampled("sampler_cpu_s", "CPU time of the sampler's thread, for all boards together", func(r *RunBoard) time.Duration { return r.CPU }),
		{Name: "call_budget", Type: typeFloat64, Nullable: true, Doc: "share of wall time that the governor left to this board's calls; NULL where it only watched", bind: optional(func(r *RunBoard) Opt[float64] { return Opt[float64]{V: r.Budget, OK: r.Budget > 0} })},
		{Name: "call_share", Type: typeFloat64, Nullable: true, Doc: "share of wall time that this board's calls took", bind: sampled(func(r *RunBoard) float64 { return r.CallShare })},
		{Name: "call_share_peak", Type: typeFloat64, Nullable: true, Doc: "the same over the busiest 5 s, without the time in which the thread had lost its core", bind: sampled(func(r *RunBoard) float64 { return r.CallPeak })},
		added(listOf("period_changes", "what the governor changed: monotonic_ns=… from_s=… to_s=… call_share=…, in order", func(r *RunBoard) []PeriodChange { return r.PeriodChanges })),
		{
			Name: "idle_power_w", Type: typeFloat64, Nullable: true, Unit: "W", Doc: "mean instant power over the baseline before the first request; NULL where none was taken",
			bind: optional(func(r *RunBoard) Opt[float64] { return r.IdlePowerW }),
		},
		{Name: "board_lost", Type: typeBool, Nullable: true, Doc: "the board stopped answering during the run", bind: sampled(func(r *RunBoard) bool { return r.Lost })},
		whole("requests", "", "attempts, warm-up included", func(r *RunBoard) int64 { return int64(r.Run.Requests) }),
		whole("requests_succeeded", "", "complete answers", func(r *RunBoard) int64 { return int64(r.Run.Succeeded) }),
		whole("requests_failed", "", "errors", func(r *RunBoard) int64 { return int64(r.Run.Failed) }),
		whole("requests_interrupted", "", "in flight when the run was stopped", func(r *RunBoard) int64 { return int64(r.Run.Interrupted) }),
		added(whole("readings_unlabelled", "", "journalled and not published: taken while a request was in flight of which no end is known, so that nobody knows their stage; or lost with damage of the journal, where that had its end", func(r *RunBoard) int64 { return r.Unlabelled })),
		{Name: "journal_cut_bytes", Type: typeInt64, Nullable: true, Encoding: Delta, Unit: "bytes", Doc: "of a recovered run's journal, torn at its end or damaged, that could not be read; NULL where the run did not break off", bind: optional(func(r *RunBoard) Opt[int64] { return r.Run.JournalCut })},
		optLength("journal_sync_max_s", "the longest fsync of the journal; NULL where none is known", func(r *RunBoard) time.Duration { return r.Run.JournalSyncMax }),
		{Name: "ring_peak_ratio", Type: typeFloat64, Nullable: true, Unit: "0 to 1", Doc: "most of the readings' ring that was ever full: at 1 readings were dropped", bind: optional(func(r *RunBoard) Opt[float64] { return r.Run.RingPeak })},
		whole("requests_invalid", "", "with a reason code, whatever their outcome", func(r *RunBoard) int64 { return int64(r.Run.Invalid) }),
	}, calibrationColumns(), accountColumns(), overheadColumns),
}

func text(name, doc string, get func(*RunBoard) string) Column[RunBoard] {
	return Column[RunBoard]{Name: name, Type: typeString, Doc: doc, bind: required(get)}
}

func optText(name, doc string, get func(*RunBoard) string) Column[RunBoard] {
	return Column[RunBoard]{Name: name, Type: typeString, Nullable: true, Doc: doc, bind: optional(func(r *RunBoard) Opt[string] { return named(get(r)) })}
}

func whole(name, unit, doc string, get func(*RunBoard) int64) Column[RunBoard] {
	return Column[RunBoard]{Name: name, Type: typeInt64, Unit: unit, Doc: doc, Encoding: Delta, bind: required(get)}
}

// listOf is a list of things in words.
func listOf[T fmt.Stringer](name, doc string, get func(*RunBoard) []T) Column[RunBoard] {
	return Column[RunBoard]{Name: name, Type: typeStrings, Doc: doc, bind: stringList(func(r *RunBoard) []string {
		all := get(r)
		words := make([]string, len(all))
		for i := range all {
			words[i] = all[i].String()
		}
		return words
	})}
}

// sampled is a column of what the sampler tells at its end.
func sampled[T value](get func(*RunBoard) T) binding[RunBoard] {
	return optional(func(r *RunBoard) Opt[T] { return Opt[T]{V: get(r), OK: !r.Unknown} })
}

func wholeSampled(name, unit, doc string, get func(*RunBoard) int64) Column[RunBoard] {
	return Column[RunBoard]{Name: name, Type: typeInt64, Nullable: true, Unit: unit, Doc: doc, Encoding: Delta, bind: sampled(get)}
}

func lengthSampled(name, doc string, get func(*RunBoard) time.Duration) Column[RunBoard] {
	return Column[RunBoard]{Name: name, Type: typeFloat64, Nullable: true, Unit: "s", Doc: doc, bind: sampled(func(r *RunBoard) float64 { return get(r).Seconds() })}
}

func yesNo(name, doc string, get func(*RunBoard) Opt[bool]) Column[RunBoard] {
	return Column[RunBoard]{Name: name, Type: typeBool, Nullable: true, Doc: doc, bind: optional(get)}
}

func length(name, doc string, get func(*RunBoard) time.Duration) Column[RunBoard] {
	return Column[RunBoard]{Name: name, Type: typeFloat64, Unit: "s", Doc: doc, bind: required(func(r *RunBoard) float64 { return get(r).Seconds() })}
}

// hostClock is a column about another host's clock, NULL where there is none.
func hostClock(name, unit, doc string, get func(*HostClock) float64) Column[RunBoard] {
	return Column[RunBoard]{Name: name, Type: typeFloat64, Nullable: true, Unit: unit, Doc: "of gpu_host: " + doc + "; NULL where there is none", bind: optional(func(r *RunBoard) Opt[float64] {
		return Opt[float64]{V: get(&r.HostClock), OK: r.HostClock != (HostClock{})}
	})}
}

// optLength is a length that is not known where it is 0.
func optLength(name, doc string, get func(*RunBoard) time.Duration) Column[RunBoard] {
	return Column[RunBoard]{Name: name, Type: typeFloat64, Nullable: true, Unit: "s", Doc: doc, bind: optional(func(r *RunBoard) Opt[float64] {
		d := get(r)
		return Opt[float64]{V: d.Seconds(), OK: d > 0}
	})}
}
