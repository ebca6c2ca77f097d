package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/llm-tracer/tracer/schema"
)

// number is a value as it is told.
func number(v schema.Opt[float64]) string {
	if !v.OK {
		return "NULL"
	}
	return strconv.FormatFloat(v.V, 'g', 6, 64)
}

// mask is a bitmask as it is told.
func mask(v schema.Opt[int64]) string {
	if !v.OK {
		return "NULL"
	}
	return fmt.Sprintf("0x%x", v.V)
}

// near says whether two numbers are the same but for a share.
func near(a, b, share float64) bool { return math.Abs(a-b) <= share*max(math.Abs(a), math.Abs(b)) }

// runRows reads the rows of runs; they are judged in the third pass.
type runRows struct{ *file }

func (t *runRows) end() {}

func (t *runRows) batch(r arrow.Record) {
	for i := range int(r.NumRows()) {
		str := func(name string) string { return strings.Clone(text(column[*array.String](r, name), i)) }
		i64 := func(name string) int64 { return column[*array.Int64](r, name).Value(i) }
		f64 := func(name string) schema.Opt[float64] { return optional(column[*array.Float64](r, name), i) }
		wall := func(name string) int64 { return int64(column[*array.Timestamp](r, name).Value(i)) }
		b := boardRow{
			file: t.path, uuid: str("gpu_uuid"), gpu: str("gpu_name"), llm: str("llm_name"), status: schema.Status(str("status")), corpus: str("corpus_id"), tokenizer: str("tokenizer"),
			template: optional(column[*array.Int32](r, "template_tokens"), i), version: str("schema_version"),
			startNS: i64("start_monotonic_ns"), endNS: i64("end_monotonic_ns"), stepNS: i64("clock_step_ns"),
			startUS: wall("start_timestamp"), endUS: wall("end_timestamp"), scope: str("power_scope"),
			readings: i64("readings"), dropped: i64("readings_dropped"), idleW: f64("idle_power_w"),
			stages:   map[schema.Stage]schema.Opt[float64]{},
			windowS:  f64("energy_window_s"),
			countedJ: f64("energy_counted_j"), estimatedJ: f64("energy_estimated_j"), closure: f64("energy_closure_pct"), misfit: f64("energy_misfit"),
			valid: optional(column[*array.Boolean](r, "valid"), i), codes: list(column[*array.List](r, "invalid_reasons"), i),
		}
		b.sensorS = f64("sensor_period_s").V
		b.unlabelled, b.period = i64("readings_unlabelled"), seconds(f64("period_planned_s").V)
		t.befell(&b, r, i)
		for _, n := range outcomes {
			b.counts = append(b.counts, i64(n))
		}
		for _, stage := range []schema.Stage{schema.StagePrefill, schema.StageDecode, schema.StageMixed, schema.StageIdle} {
			b.stages[stage] = f64(string(stage) + "_energy_j")
		}
		if own := t.of(t.filed(str("run_id"), str("host"))); own != nil {
			own.mu.Lock()
			own.boards = append(own.boards, b)
			own.mu.Unlock()
		}
	}
}

// befell reads what befell a board during a run.
func (t *runRows) befell(b *boardRow, r arrow.Record, i int) {
	words := func(name string) []string { return list(column[*array.List](r, name), i) }
	b.misfitTold = column[*array.Float64](r, "energy_misfit") != nil
	b.gapsTold = column[*array.List](r, "gaps").IsValid(i)
	b.gaps = parsed(t, "gaps", words("gaps"), schema.ParseGap)
	b.steps = parsed(t, "clock_steps", words("clock_steps"), schema.ParseClockStep)
	for _, c := range parsed(t, "period_changes", words("period_changes"), schema.ParsePeriodChange) {
		b.period = max(b.period, c.From, c.To)
	}
}

func parsed[T any](t *runRows, column string, words []string, parse func(string) (T, error)) (all []T) {
	for _, w := range words {
		one, err := parse(w)
		if err != nil {
			t.bad(column, "%s: %v", column, err)
		}
		all = append(all, one)
	}
	return all
}

func seconds(s float64) time.Duration { return time.Duration(s * 1e9) }

// outcomes are the counts of requests in runs.
var outcomes = []string{"requests", "requests_succeeded", "requests_failed", "requests_interrupted", "requests_invalid"}

// fold is a row of folds.
type fold struct {
	file, uuid, workload, stage string
	size                        int32
	requests                    int32
	energyJ                     schema.Opt[float64]
}

type folds struct{ *file }

func (t *folds) end() {}

func (t *folds) batch(r arrow.Record) {
	for i := range int(r.NumRows()) {
		str := func(name string) string { return strings.Clone(text(column[*array.String](r, name), i)) }
		i32 := func(name string) int32 { return column[*array.Int32](r, name).Value(i) }
		f64 := func(name string) schema.Opt[float64] { return optional(column[*array.Float64](r, name), i) }
		f := fold{
			file: t.path, uuid: str("gpu_uuid"), workload: str("workload"), stage: str("inference_stage"), size: i32("target_tokens"), requests: i32("requests"),
			energyJ: f64("energy_j"),
		}
		t.interval(f.workload+" "+strconv.Itoa(int(f.size))+" "+f.stage, "energy_j", f.energyJ, f64("energy_j_lo"), f64("energy_j_hi"))
		if own := t.of(t.filed(str("run_id"), str("host"))); own != nil {
			own.mu.Lock()
			own.folds = append(own.folds, f)
			own.mu.Unlock()
		}
	}
}

// prompts holds a corpus against its name.
type prompts struct {
	*file
	all []schema.Prompt
}

func (t *prompts) batch(r arrow.Record) {
	for i := range int(r.NumRows()) {
		str := func(name string) string { return strings.Clone(text(column[*array.String](r, name), i)) }
		i32 := func(name string) int32 { return column[*array.Int32](r, name).Value(i) }
		p := schema.Prompt{
			ID: str("prompt_id"), Workload: schema.Workload(str("workload")), TargetTokens: i32("target_tokens"), Text: str("text"), TextTokens: i32("text_tokens"),
			Tokenizer: str("tokenizer"), MaxTokens: i32("max_tokens"), ExactLength: column[*array.Boolean](r, "exact_length").Value(i),
			Source: str("source"), WrittenBy: str("written_by"),
		}
		if sum := sha256.Sum256([]byte(p.Text)); hex.EncodeToString(sum[:]) != str("sha256") {
			t.bad("text", "the text of %s is not what its sha256 says", p.ID)
		}
		t.all = append(t.all, p)
	}
}

func (t *prompts) end() {
	ids := make(map[string]prompt, len(t.all))
	for _, p := range t.all {
		if _, twice := ids[p.ID]; twice {
			t.bad("twice", "prompt %s is there twice", p.ID)
		}
		ids[p.ID] = prompt{string(p.Workload), p.TargetTokens}
	}
	name := strings.TrimSuffix(path.Base(t.path), ".parquet")
	if id := schema.CorpusID(t.all); id != name {
		t.bad("name", "its contents are the corpus %.12s…, not the one that it is named after", id)
	}
	if len(t.found) == 0 {
		t.mu.Lock()
		t.corpora[name] = ids
		t.mu.Unlock()
	}
}

// prompt is what a request is held against.
type prompt struct {
	workload string
	size     int32
}
