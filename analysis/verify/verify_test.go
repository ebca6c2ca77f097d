package verify

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
)

const (
	leaf         = "samples/gpu=sim-A10/llm=meta-llama--Llama-3.1-8B/"
	decodes      = leaf + "stage=decode/"
	requestFiles = "requests/gpu=sim-A10/llm=meta-llama--Llama-3.1-8B/"
)

func TestASoundDatasetHasNoFindings(t *testing.T) {
	dir := soundCopy(t)
	before := contents(t, dir)
	r, err := Dataset(t.Context(), dir)
	if err != nil || len(r.Findings) > 0 {
		t.Fatalf("%v\n%s", err, lines(r))
	}
	if r.Runs != 4 || r.Files != 28 || r.Rows == 0 || r.Bytes == 0 {
		t.Errorf("%+v", r)
	}
	if !slices.Equal(contents(t, dir), before) {
		t.Error("verifying changed the dataset")
	}
}

type kindOfDamage struct {
	name string
	do   func(t *testing.T, dir string)
	says []string // of one finding each
	left string
}

// damages are what may befall a dataset, what is said of it, and the runs that repair leaves.
var damages = []kindOfDamage{
	{"a flipped byte in a page", flip(decodes + "beta-*.parquet"), []string{"contents are not those that were committed"}, "alpha failing overlapping"},
	{"a truncated file", truncate(decodes + "beta-*.parquet"), []string{"were committed"}, "alpha failing overlapping"},
	{"a file that is gone", remove(decodes + "beta-*.parquet"), []string{"it is missing, but a manifest names it"}, "alpha failing overlapping"},
	{"two files that changed places", swap(decodes+"beta-*.parquet", decodes+"failing-*.parquet"), []string{"beta-rehearsal-00000007-000.parquet: it has", "failing-rehearsal-00000007-000.parquet: it has"}, "alpha overlapping"},
	{"a copy under another run's name", copyAs(decodes+"beta-*.parquet", "gamma-rehearsal-00000007-000.parquet"), []string{"no manifest names it, but readers find it"}, "alpha beta failing overlapping"},
	{"a stray file that is no parquet", write(decodes + "notes.txt"), []string{"no .parquet file"}, "alpha beta failing overlapping"},
	{"a manifest that is torn", truncate("_tracer/commits/beta-*.json"), []string{"manifest cannot be read", "no manifest names it"}, "alpha failing overlapping"},
	{"a manifest with another count", manifest(func(m map[string]any) { m["files"].([]any)[0].(map[string]any)["rows"] = 7 }), []string{"7 were committed"}, "alpha failing overlapping"},
	{"a manifest that reaches out of the dataset", manifest(func(m map[string]any) { m["files"].([]any)[0].(map[string]any)["path"] = "../../etc/passwd" }), []string{"no path within a dataset"}, "alpha failing overlapping"},
	{"a manifest of another status", manifest(func(m map[string]any) { m["status"] = "interrupted" }), []string{"status is complete, its manifest says interrupted"}, "alpha failing overlapping"},
	{"a manifest that is gone", remove("_tracer/commits/beta-*.json"), []string{"no manifest names it"}, "alpha failing overlapping"},
	{"a file under another stage", rename(decodes+"beta-*.parquet", leaf+"stage=mixed"), []string{"belongs under stage=decode"}, "alpha failing overlapping"},
	{"a broken corpus", flip("prompts/*.parquet"), []string{"sent this corpus, and it is missing or broken"}, ""},
	{"a corpus under another name", copyAs("prompts/*.parquet", strings.Repeat("0", 64)+".parquet"), []string{"not the one that it is named after"}, "alpha beta failing overlapping"},

	{"another label", asIdle(decodes+"beta-*.parquet", 1), []string{"is labelled idle, by the requests the board was in decode"}, "alpha failing overlapping"},
	{"another request", cell(decodes+"beta-*.parquet", 3, "request_id", "beta-000099"), []string{`has request_id "beta-000099", by the requests it is "beta-000002"`}, "alpha failing overlapping"},
	{"no request", cell(decodes+"beta-*.parquet", 3, "request_id", nil), []string{`has request_id ""`}, "alpha failing overlapping"},
	{"another prompt", cell(decodes+"beta-*.parquet", 3, "prompt_id", "x"), []string{`has prompt_id "x"`}, "alpha failing overlapping"},
	{"other input tokens", cell(decodes+"beta-*.parquet", 3, "input_tokens", 77), []string{"other input_tokens than its request"}, "alpha failing overlapping"},
	{"other requested tokens", cell(decodes+"beta-*.parquet", 3, "output_tokens_requested", 77), []string{"other output_tokens_requested"}, "alpha failing overlapping"},
	{"another workload", cell(decodes+"beta-*.parquet", 3, "workload", "prefill"), []string{`has workload "prefill"`}, "alpha failing overlapping"},
	{"another concurrency", cell(decodes+"beta-*.parquet", 3, "concurrent_requests", 2), []string{"concurrent_requests 2, by the requests there were 1"}, "alpha failing overlapping"},
	{"another warm-up", cell(decodes+"beta-*.parquet", 9, "warmup", true), []string{"has warmup true"}, "alpha failing overlapping"},
	{"a reading of 0 W", cell(decodes+"beta-*.parquet", 3, "power_instant_w", 0), []string{"power_instant_w is 0, which no board shows"}, "alpha failing overlapping"},
	{"a negative reading", cell(decodes+"beta-*.parquet", 3, "power_instant_w", -1), []string{"power_instant_w is -1"}, "alpha failing overlapping"},
	{"a utilisation of 101 %", cell(decodes+"beta-*.parquet", 3, "gpu_utilization_pct", 101), []string{"gpu_utilization_pct is 101"}, "alpha failing overlapping"},
	{"another board's row", cell(decodes+"beta-*.parquet", 0, "gpu_uuid", "GPU-00000001-x"), []string{"is of board GPU-00000001-x, not of the one"}, "alpha failing overlapping"},
	{"another run's row", cell(decodes+"beta-*.parquet", 3, "run_id", "alpha"), []string{"it holds rows of run alpha-rehearsal, whose manifest does not name it"}, "alpha failing overlapping"},
	{"rows out of order", rows(decodes+"beta-*.parquet", func(all []row) []row { all[3], all[4] = all[4], all[3]; return all }), []string{"comes after its place"}, "alpha failing overlapping"},
	{"time that goes back", cell(decodes+"beta-*.parquet", 5, "monotonic_ns", 1), []string{"monotonic_ns 1 does not come after"}, "alpha failing overlapping"},
	{"a row that is there twice", rows(decodes+"beta-*.parquet", func(all []row) []row { return slices.Insert(all, 4, all[3]) }), []string{"does not come after"}, "alpha failing overlapping"},
	{"another label in the same file", cell(decodes+"beta-*.parquet", 3, "inference_stage", "prefill"), []string{"belongs under stage=prefill"}, "alpha failing overlapping"},
	{"a row in two stages' files", asIdle(decodes+"beta-*.parquet", 0), []string{"has two rows at monotonic_ns"}, "alpha failing overlapping"},
	{"a row that is gone", rows(decodes+"beta-*.parquet", func(all []row) []row { return slices.Delete(all, 5, 6) }), []string{"0 dropped and 0 unlabelled, but samples has"}, "alpha failing overlapping"},
	{"a timestamp of another clock", rows(decodes+"beta-*.parquet", func(all []row) []row { all[5]["timestamp"] = all[6]["timestamp"]; return all }), []string{"are not of one clock"}, "alpha failing overlapping"},

	{"a request that is gone", rows(requestFiles+"beta-*.parquet", func(all []row) []row { return slices.Delete(all, 2, 3) }), []string{"by the requests the board was in idle"}, "alpha failing overlapping"},
	{"a request that is there twice", cell(requestFiles+"failing-*.parquet", 4, "request_id", "failing-000004"), []string{"request failing-000004 is there twice"}, "alpha beta overlapping"},
	{"a request under another run's id", cell(requestFiles+"failing-*.parquet", 4, "request_id", "alpha-000001"), []string{"request alpha-000001 is there twice: in alpha-rehearsal and in failing-rehearsal"}, "alpha beta overlapping"},
	{"an energy outside its interval", cell(requestFiles+"beta-*.parquet", 3, "decode_energy_j", 1e6), []string{"decode_energy_j is 1e+06, outside its own interval", "prefill and decode give"}, "alpha failing overlapping"},
	{"energies doubled, intervals too", rows(requestFiles+"beta-*.parquet", double), []string{"the requests' decode_energy_j add up to"}, "alpha failing overlapping"},
	{"a first token that moved", cell(requestFiles+"beta-*.parquet", 3, "first_token_monotonic_ns", 1), []string{"do not follow one another", "ttft_s is"}, "alpha failing overlapping"},
	{"a prompt that is not in the corpus", cell(requestFiles+"beta-*.parquet", 3, "prompt_id", "nobody"), []string{`by the requests it is "nobody"`}, "alpha failing overlapping"},
	{"another size", cell(requestFiles+"beta-*.parquet", 3, "target_tokens", 7), []string{"its prompt decode-00100-0001 is not in the corpus"}, "alpha failing overlapping"},

	{"a reason code dropped: failed", dropCode("failing", "failed"), []string{"call for the reason code failed"}, "alpha beta overlapping"},
	{"a reason code dropped: stream_broken", dropCode("failing", "stream_broken"), []string{"call for the reason code stream_broken"}, "alpha beta overlapping"},
	{"a reason code dropped: prefix_cache_hit", dropCode("failing", "prefix_cache_hit"), []string{"call for the reason code prefix_cache_hit"}, "alpha beta overlapping"},
	{"a reason code dropped: overlap", dropCode("overlapping", "overlap"), []string{"disagree about the reason code overlap"}, "alpha beta failing"},
	{"a reason code too many", addCode("beta", "tokens_truncated"), []string{"has the reason code tokens_truncated, which its columns do not call for"}, "alpha failing overlapping"},
	{"a prompt that was cut", cell(requestFiles+"beta-*.parquet", 2, "input_tokens", 100), []string{"call for the reason code tokens_truncated"}, "alpha failing overlapping"},
	{"a prompt that was lengthened", cell(requestFiles+"beta-*.parquet", 2, "input_tokens", 1000), []string{"call for the reason code token_count_mismatch"}, "alpha failing overlapping"},
	{"an answer that is too long", cell(requestFiles+"beta-*.parquet", 2, "output_tokens", 1000), []string{"call for the reason code length_mismatch"}, "alpha failing overlapping"},
	{"an invalid request that says it is valid", cell(requestFiles+"failing-*.parquet", 5, "valid", true), []string{"valid is true, with 1 reason codes"}, "alpha beta overlapping"},

	{"a count of requests", cell("runs/beta-*.parquet", 0, "requests_failed", 3), []string{"requests_failed is 3, the table of requests gives 0"}, "alpha failing overlapping"},
	{"a count of valid requests", cell("runs/failing-*.parquet", 0, "requests_invalid", 0), []string{"requests_invalid is 0, the table of requests gives 3"}, "alpha beta overlapping"},
	{"a board that is gone from runs", rows("runs/alpha-*.parquet", func(all []row) []row { return all[:1] }), []string{"runs has none"}, "beta failing overlapping"},
	{"a stage's energy", cell("runs/beta-*.parquet", 0, "decode_energy_j", 1e5), []string{"the stages' energies add up to"}, "alpha failing overlapping"},
	{"an estimate", estimate, []string{"the power that was read gives"}, "alpha failing overlapping"},
	{"a counter", cell("runs/beta-*.parquet", 0, "energy_counted_j", 1), []string{"energy_counted_j is 1, the board's counter went from", "energy_closure_pct is"}, "alpha failing overlapping"},
	{"a closure", cell("runs/beta-*.parquet", 0, "energy_closure_pct", 20), []string{"energy_closure_pct is 20", "disagree about energy_closure"}, "alpha failing overlapping"},
	{"an idle power", cell("runs/beta-*.parquet", 0, "idle_power_w", 1), []string{"idle_power_w is 1"}, "alpha failing overlapping"},
	{"a clock step", cell("runs/beta-*.parquet", 0, "clock_step_ns", 5e9), []string{"clock_step_ns is 5000000000"}, "alpha failing overlapping"},
	{"a schema version", cell("runs/beta-*.parquet", 0, "schema_version", "9"), []string{`schema_version is "9"`}, "alpha failing overlapping"},
	{"a fold's energy", cell("folds/beta-*.parquet", 0, "energy_j_lo", 1e6), []string{"outside its own interval"}, "alpha failing overlapping"},
	{"a fold's requests", cell("folds/beta-*.parquet", 0, "requests", 99), []string{"99 requests folded"}, "alpha failing overlapping"},

	{"a column that was retyped", retype("gpu_index", arrow.PrimitiveTypes.Int64, false), []string{"column gpu_index is of type int64, not int32"}, "alpha failing overlapping"},
	{"a column that may be NULL", retype("gpu_index", arrow.PrimitiveTypes.Int32, true), []string{"column gpu_index may be NULL"}, "alpha failing overlapping"},
	{"a required column that nobody knows", add(arrow.Field{Name: "novelty", Type: arrow.PrimitiveTypes.Int32}), []string{"column novelty is not known"}, "alpha failing overlapping"},
	{"a column named after a partition key", add(arrow.Field{Name: "gpu", Type: arrow.PrimitiveTypes.Int32, Nullable: true}), []string{"bears the name of a partition key"}, "alpha failing overlapping"},
	{"a required column that is gone", drop("gpu_index"), []string{"column gpu_index is missing"}, "alpha failing overlapping"},
}

func TestEveryDamageIsFoundAndSetAsideWithoutLoss(t *testing.T) {
	damaged(t, sound, damages)
}

func damaged(t *testing.T, dataset func() (string, error), list []kindOfDamage) {
	for _, d := range list {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			dir := copyOf(t, dataset)
			d.do(t, dir)
			before := contents(t, dir)
			r, err := Dataset(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, says := range d.says {
				if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return strings.Contains(f.String(), says) && f.Severity == Error && f.Mend != "" }) {
					t.Errorf("nothing says %q:\n%s", says, lines(r))
				}
			}
			repaired, moved, err := Repair(t.Context(), dir, "test")
			if err != nil || len(repaired.Findings) > 0 || len(moved) == 0 {
				t.Errorf("repaired: %v, %d moved\n%s", err, len(moved), lines(repaired))
			}
			if after := contents(t, dir); !slices.Equal(after, before) {
				t.Errorf("%d files before the repair, %d after", len(before), len(after))
			}
			var left []string
			for _, m := range globbed(dir, "_tracer/commits/*.json") {
				left = append(left, strings.TrimSuffix(filepath.Base(m), "-rehearsal.json"))
			}
			if got := strings.Join(left, " "); got != d.left {
				t.Errorf("runs left: %q, want %q\n%s", got, d.left, lines(r))
			}
		})
	}
}

// What tracer cannot decode, and yet is what was committed, may be as sound as tracer is not.
func TestWhatCannotBeDecodedThoughItsChecksumIsRightStays(t *testing.T) {
	for _, d := range []kindOfDamage{
		{name: "a torn footer", do: tornFooter(decodes + "beta-*.parquet")},
		{name: "garbage in a page", do: garbage(decodes + "beta-*.parquet")},
	} {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			dir := soundCopy(t)
			d.do(t, dir)
			r, moved, err := Repair(t.Context(), dir, "test")
			if err != nil || len(moved) > 0 {
				t.Errorf("%v, set aside: %v", err, moved)
			}
			if len(r.Findings) != 1 || !strings.Contains(lines(r), "tracer cannot decode it, though its checksum is right") {
				t.Errorf("found\n%s", lines(r))
			}
		})
	}
}

type damage func(t *testing.T, dir string)

func flip(pattern string) damage {
	return func(t *testing.T, dir string) {
		file := one(t, dir, pattern)
		body, _ := os.ReadFile(file)
		body[len(body)/3] ^= 0x10
		put(t, file, body)
	}
}

func truncate(pattern string) damage {
	return func(t *testing.T, dir string) {
		file := one(t, dir, pattern)
		body, _ := os.ReadFile(file)
		put(t, file, body[:len(body)*2/3])
	}
}

func tornFooter(pattern string) damage {
	return func(t *testing.T, dir string) {
		truncate(pattern)(t, dir)
		recommit(t, dir, one(t, dir, pattern), 0)
	}
}

func garbage(pattern string) damage {
	return func(t *testing.T, dir string) {
		file := one(t, dir, pattern)
		body, _ := os.ReadFile(file)
		for i := range 400 {
			body[100+i] = 0xff
		}
		put(t, file, body)
		count := 0
		for _, m := range globbed(dir, "_tracer/commits/*.json") {
			editManifest(t, m, func(m map[string]any) {
				for _, f := range m["files"].([]any) {
					if f := f.(map[string]any); strings.HasSuffix(file, f["path"].(string)) {
						n, _ := f["rows"].(json.Number).Int64()
						count = int(n)
					}
				}
			})
		}
		recommit(t, dir, file, count)
	}
}

func remove(pattern string) damage {
	return func(t *testing.T, dir string) {
		if err := os.Remove(one(t, dir, pattern)); err != nil {
			t.Fatal(err)
		}
	}
}

func write(name string) damage {
	return func(t *testing.T, dir string) { put(t, filepath.Join(dir, name), []byte("a note\n")) }
}

func swap(a, b string) damage {
	return func(t *testing.T, dir string) {
		a, b := one(t, dir, a), one(t, dir, b)
		x, _ := os.ReadFile(a)
		y, _ := os.ReadFile(b)
		put(t, a, y)
		put(t, b, x)
	}
}

func copyAs(pattern, name string) damage {
	return func(t *testing.T, dir string) {
		file := one(t, dir, pattern)
		body, _ := os.ReadFile(file)
		put(t, filepath.Join(filepath.Dir(file), name), body)
	}
}

// rename moves a file into another folder, and has its manifest agree.
func rename(pattern, folder string) damage {
	return func(t *testing.T, dir string) {
		file := one(t, dir, pattern)
		from, _ := filepath.Rel(dir, file)
		to := filepath.Join(folder, filepath.Base(file))
		_ = os.MkdirAll(filepath.Join(dir, folder), 0o755)
		if err := os.Rename(file, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
		manifest(func(m map[string]any) {
			for _, f := range m["files"].([]any) {
				if f := f.(map[string]any); f["path"] == from {
					f["path"] = to
				}
			}
		})(t, dir)
	}
}

func manifest(change func(map[string]any)) damage {
	return func(t *testing.T, dir string) {
		editManifest(t, one(t, dir, "_tracer/commits/beta-*.json"), change)
	}
}

func rows(pattern string, change func([]row) []row) damage {
	return func(t *testing.T, dir string) { rewrite(t, dir, one(t, dir, pattern), change) }
}

func cell(pattern string, at int, column string, value any) damage {
	return rows(pattern, func(all []row) []row {
		if _, ok := all[at][column]; !ok && value == nil {
			panic("no column " + column)
		}
		all[at][column] = value
		return all
	})
}

// asIdle puts a row into the file of idle ones, with that label, and takes so many away where it was.
func asIdle(from string, away int) damage {
	return func(t *testing.T, dir string) {
		var moved row
		rewrite(t, dir, one(t, dir, from), func(all []row) []row {
			moved = maps.Clone(all[3])
			return slices.Delete(all, 3, 3+away)
		})
		moved["inference_stage"] = "idle"
		rewrite(t, dir, one(t, dir, leaf+"stage=idle/beta-*.parquet"), func(all []row) []row {
			at := slices.IndexFunc(all, func(r row) bool { return fmt.Sprint(r["timestamp"]) > fmt.Sprint(moved["timestamp"]) })
			return slices.Insert(all, at, moved)
		})
	}
}

func double(all []row) []row {
	for _, r := range all {
		for _, of := range []string{"prefill_energy_j", "decode_energy_j", "energy_j"} {
			for _, bound := range []string{"", "_lo", "_hi"} {
				if v, ok := r[of+bound].(json.Number); ok {
					x, _ := v.Float64()
					r[of+bound] = 2 * x
				}
			}
		}
	}
	return all
}

// estimate doubles all that a run says of its energy, its counter too.
func estimate(t *testing.T, dir string) {
	rewrite(t, dir, one(t, dir, "runs/beta-*.parquet"), func(all []row) []row {
		for _, of := range []string{"prefill_energy_j", "decode_energy_j", "mixed_energy_j", "idle_energy_j", "energy_estimated_j"} {
			x, _ := all[0][of].(json.Number).Float64()
			all[0][of] = 2 * x
		}
		x, _ := all[0]["energy_closure_pct"].(json.Number).Float64()
		all[0]["energy_closure_pct"] = 2*x + 100
		all[0]["valid"], all[0]["invalid_reasons"] = false, []string{"energy_closure"}
		return all
	})
}

func dropCode(run, code string) damage {
	return rows(requestFiles+run+"-*.parquet", func(all []row) []row {
		for _, r := range all {
			codes := slices.DeleteFunc(r["invalid_reasons"].([]any), func(c any) bool { return c == code })
			r["invalid_reasons"], r["valid"] = codes, len(codes) == 0
		}
		return all
	})
}

func addCode(run, code string) damage {
	return rows(requestFiles+run+"-*.parquet", func(all []row) []row {
		all[2]["invalid_reasons"], all[2]["valid"] = []any{code}, false
		return all
	})
}

func retype(column string, to arrow.DataType, nullable bool) damage {
	return reshape(func(fields []arrow.Field) []arrow.Field {
		for i := range fields {
			if fields[i].Name == column {
				fields[i].Type, fields[i].Nullable = to, nullable
			}
		}
		return fields
	}, func(all []row) []row { return all })
}

func add(field arrow.Field) damage {
	return reshape(func(fields []arrow.Field) []arrow.Field { return append(fields, field) }, func(all []row) []row {
		for _, r := range all {
			r[field.Name] = 1
		}
		return all
	})
}

func drop(column string) damage {
	return reshape(func(fields []arrow.Field) []arrow.Field {
		return slices.DeleteFunc(fields, func(f arrow.Field) bool { return f.Name == column })
	}, func(all []row) []row {
		for _, r := range all {
			delete(r, column)
		}
		return all
	})
}

func reshape(fields func([]arrow.Field) []arrow.Field, change func([]row) []row) damage {
	return func(t *testing.T, dir string) {
		rewriteAs(t, dir, one(t, dir, decodes+"beta-*.parquet"), func(s *arrow.Schema) *arrow.Schema {
			meta := s.Metadata()
			return arrow.NewSchema(fields(slices.Clone(s.Fields())), &meta)
		}, change)
	}
}

// A dataset from before columns were added is as sound as it was.
func TestAnOlderFileIsANoteAndNoDamage(t *testing.T) {
	dir := soundCopy(t)
	for pattern, older := range map[string][]string{
		"runs/beta-*.parquet":           {"insecure", "gaps", "clock_steps", "readings_unlabelled", "readings_without_power", "energy_counter_resets", "valid"},
		requestFiles + "beta-*.parquet": {"repetition", "given_up", "throttle_reasons"},
	} {
		rewriteAs(t, dir, one(t, dir, pattern), func(s *arrow.Schema) *arrow.Schema {
			meta := s.Metadata()
			return arrow.NewSchema(slices.DeleteFunc(slices.Clone(s.Fields()), func(f arrow.Field) bool { return slices.Contains(older, f.Name) }), &meta)
		}, func(all []row) []row {
			for _, r := range all {
				for _, column := range older {
					delete(r, column)
				}
			}
			return all
		})
	}
	r, err := Dataset(t.Context(), dir)
	if err != nil || r.Count(Error)+r.Count(Warning) > 0 || r.Count(Note) != 2 || !strings.Contains(lines(r), "an older tracer wrote it, without what was added since: insecure, ") {
		t.Errorf("%v\n%s", err, lines(r))
	}
	if _, moved, err := Repair(t.Context(), dir, "test"); err != nil || len(moved) > 0 {
		t.Errorf("set aside %v, %v", moved, err)
	}
}
