package verify

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

// troubles are damages to what says that boards or host were in trouble.
var troubles = []kindOfDamage{
	{"a reason code dropped: gap", dropCode("troubled", "gap"), []string{"disagree about the reason code gap"}, "loaded plain still"},
	{"a reason code dropped: throttled", dropCode("troubled", "throttled"), []string{"disagree about the reason code throttled"}, "loaded plain still"},
	{"a reason code dropped: clock_step", dropCode("troubled", "clock_step"), []string{"disagree about the reason code clock_step"}, "loaded plain still"},
	{"a reason code dropped: foreign_load", dropCode("loaded", "foreign_load"), []string{"disagree about the reason code foreign_load"}, "plain still troubled"},
	{"a reason code added: gap", addCode("plain", "gap"), []string{"request plain-000003: its reason codes and what befell its boards disagree about the reason code gap"}, "loaded still troubled"},
	{"a reason code added: throttled", addCode("plain", "throttled"), []string{"disagree about the reason code throttled"}, "loaded still troubled"},
	{"a reason code added: clock_step", addCode("plain", "clock_step"), []string{"disagree about the reason code clock_step"}, "loaded still troubled"},
	{"a reason code added: foreign_load", addCode("plain", "foreign_load"), []string{"disagree about the reason code foreign_load"}, "loaded still troubled"},
	{"reasons of the clocks, of a request", cell(requestFiles+"troubled-*.parquet", 5, "throttle_reasons", 0x40), []string{"request troubled-000006: throttle_reasons is 0x40, the readings give 0x8"}, "loaded plain still"},
	{"reasons of the clocks, of no request", cell(requestFiles+"troubled-*.parquet", 5, "throttle_reasons", nil), []string{"throttle_reasons is NULL, the readings give 0x8"}, "loaded plain still"},
	{"a gap that is gone", cell("runs/troubled-*.parquet", 1, "gaps", []string{}), []string{"disagree about the reason code gap"}, "loaded plain still"},
	{"a gap that is none", cell("runs/plain-*.parquet", 0, "gaps", []string{"from_monotonic_ns=0 to_monotonic_ns=9000000000000000 why=lost"}), []string{"lies within a gap of its board"}, "loaded still troubled"},
	{"a gap that says nothing", cell("runs/plain-*.parquet", 0, "gaps", []string{"for a while"}), []string{`gaps: reading "for a while"`}, "loaded still troubled"},
	{"a time without rows", silent, []string{"the board has no rows for too long before"}, "loaded still troubled"},
	{"a clock step that is gone", rows("runs/troubled-*.parquet", func(all []row) []row {
		for _, r := range all {
			r["clock_steps"] = []string{}
		}
		return all
	}), []string{"disagree about the reason code clock_step"}, "loaded plain still"},
	{"readings that nobody could label", cell("runs/plain-*.parquet", 0, "readings_unlabelled", 3), []string{"0 dropped and 3 unlabelled, but samples has"}, "loaded still troubled"},
	{"a board's reason code dropped: power_stuck", boardCodes("still", func(codes []any) []any {
		return slices.DeleteFunc(codes, func(c any) bool { return c == "power_stuck" })
	}), []string{"disagree about power_stuck"}, "loaded plain troubled"},
	{"a board's reason code added: power_stuck", boardCodes("plain", func(codes []any) []any { return append(codes, "power_stuck") }), []string{"disagree about power_stuck"}, "loaded still troubled"},
}

func boardCodes(run string, change func([]any) []any) damage {
	return rows("runs/"+run+"-*.parquet", func(all []row) []row {
		codes := change(all[0]["invalid_reasons"].([]any))
		all[0]["invalid_reasons"], all[0]["valid"] = codes, len(codes) == 0
		return all
	})
}

func TestATroubledDatasetIsSound(t *testing.T) {
	dir := copyOf(t, troubled)
	clean(t, dir)
	var codes []string
	for _, r := range read(t, one(t, dir, requestFiles+"troubled-*.parquet")) {
		codes = append(codes, fmt.Sprint(r["invalid_reasons"]))
	}
	if want := []string{"[]", "[]", "[]", "[gap]", "[]", "[throttled]", "[]", "[clock_step]"}; !slices.Equal(codes, want) {
		t.Errorf("codes %v, want %v", codes, want)
	}
}

func TestEveryTroubleIsRecomputed(t *testing.T) {
	damaged(t, troubled, troubles)
}

// silent takes 1.2 s of a run's idle rows away, and has its counts agree.
func silent(t *testing.T, dir string) {
	const away = 60
	rewrite(t, dir, one(t, dir, leaf+"stage=idle/plain-*.parquet"), func(all []row) []row { return slices.Delete(all, 5, 5+away) })
	rewrite(t, dir, one(t, dir, "runs/plain-*.parquet"), func(all []row) []row {
		n, _ := all[0]["readings"].(json.Number).Int64()
		all[0]["readings"] = n - away
		return all
	})
}
