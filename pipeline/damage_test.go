package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/schema"
)

// harmed is a dataset with the whole journal but for one byte.
func (b *broken) harmed(t require, at int64) string {
	dir := b.cut(t, b.sizes[len(b.sizes)-1])
	path := journal.Path(dir, brokenName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[at] ^= 0x10
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// One byte flipped anywhere costs the time between two looks at the rings, and the request whose end stood there: every
// other row is that of the whole run. Four boards, a look each 0.66 s, a request each 4.1 s.
func TestAFlippedByteCostsTheTimeAroundItsFrame(t *testing.T) {
	b := breakOffFrom(t, 30, clock.Now())
	whole := rowsOf(t, b, b.sizes[len(b.sizes)-1])
	all := rowSet(&whole)
	cut, lastOpening := 0, b.frame(t, 'O', 5)
	bytes := []int64{b.frame(t, 'C', 3) + 20, b.frame(t, 'O', 2) + 3}
	for at := b.header + 5; at < b.sizes[len(b.sizes)-2]; at += b.sizes[0] - b.header + 97 {
		bytes = append(bytes, at)
	}
	for _, at := range bytes {
		dir := b.harmed(t, at)
		r, err := Recover(dir, brokenName, "test", false)
		if err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
		if len(r.Damage) != 1 || !r.Damage[0].Inside || r.Damage[0].Offset > at || r.Damage[0].Offset+r.Damage[0].Bytes <= at {
			t.Fatalf("byte %d: damage %+v", at, r.Damage)
		}
		if kept, err := os.Stat(r.Kept); err != nil || kept.Size() != b.sizes[len(b.sizes)-1] {
			t.Errorf("kept %v, %v", kept, err)
		}
		if r.Run.JournalCut != schema.Some(r.Damage[0].Bytes) || r.Run.Status != schema.StatusRecovered {
			t.Errorf("run %+v", r.Run)
		}
		got := rowsIn(t, dir, r)
		have := rowSet(&got)
		for row := range have {
			if !all[row] {
				t.Fatalf("byte %d: the row %s is not the whole run's", at, row)
			}
		}
		const look = 133
		most := 3 * look // the batch, and what was read while the frame's looks passed
		if r.InFlight > whole.InFlight {
			cut++
			most += 7 * look // and a request's
		}
		if lost := len(all) - len(have); lost > most {
			t.Errorf("byte %d: %d of %d rows are lost, in flight %d", at, lost, len(all), r.InFlight)
		}
		gaps := fmt.Sprintf("%s", column(t, dir, "runs/*.parquet", "gaps"))
		if n := strings.Count(gaps, "why="+schema.GapDamaged); n != benchBoards && r.Damage[0].Offset < lastOpening { // what follows that is left out anyhow
			t.Errorf("byte %d: gaps %s", at, gaps)
		}
	}
	if cut == 0 {
		t.Error("no byte of a request's end was among them")
	}
}

// A request whose end is lost is a row, from its opening to the first look behind the damage; those before and after it
// are as they were, and the readings around it have no stage.
func TestARequestWhoseEndIsDamagedIsInterrupted(t *testing.T) {
	b := breakOffFrom(t, 30, clock.Now())
	dir := b.harmed(t, b.frame(t, 'C', 3)+20)
	if _, err := Recover(dir, brokenName, "test", false); err != nil {
		t.Fatal(err)
	}
	ids, codes := column(t, dir, "requests/*/*/*.parquet", "request_id"), column(t, dir, "requests/*/*/*.parquet", "invalid_reasons")
	if got := fmt.Sprintf("%s %s", ids, codes); got != "[bench-000000 bench-000001 bench-000002 bench-000003 bench-000004] [[\"clock_step\",\"gap\"] [] [\"gap\",\"interrupted\"] [\"gap\"] [\"gap\",\"interrupted\"]]" {
		t.Error(got)
	}
}

// frame is where the n-th frame of a kind begins.
func (b *broken) frame(t require, kind byte, n int) int64 {
	text, err := os.ReadFile(journal.Path(b.dir, brokenName))
	if err != nil {
		t.Fatal(err)
	}
	for at := b.header; at < int64(len(text)); at += 9 + int64(binary.LittleEndian.Uint32(text[at:])) {
		if text[at+8] == kind {
			if n--; n == 0 {
				return at
			}
		}
	}
	t.Fatal("no such frame")
	return 0
}

func rowSet(r *recoveredRows) map[string]bool {
	all := map[string]bool{}
	for file, rows := range r.rows {
		for _, row := range rows {
			all[file+" "+row.(string)] = true
		}
	}
	return all
}

func column(t *testing.T, dir, pattern, name string) []any {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) != 1 {
		t.Fatal(errors.Join(err, fmt.Errorf("%v", files)))
	}
	return slices.Clone(readFile(t, files[0])[name])
}

// A run that had its end knows how many readings were lost.
func TestDamageBeforeTheEndOfARunIsCounted(t *testing.T) {
	b := breakOffFrom(t, 12, clock.Now())
	sampling := make([]schema.Sampling, benchBoards)
	for i := range sampling {
		sampling[i].Readings = int64(b.readings / benchBoards)
	}
	b.spans.Push(&schema.SpanEvent{Span: b.c.span(b.open)})
	b.p.Run.Status, b.p.Run.End.MonotonicNS = schema.StatusComplete, b.c.span(b.open).EndNS
	if err := errors.Join(b.p.step(0, true, nil), b.p.journal.End(b.p.Run, sampling)); err != nil {
		t.Fatal(err)
	}
	b.sizes = append(b.sizes, b.p.journal.Size())
	dir := b.harmed(t, b.sizes[6]+100)
	r, err := Recover(dir, brokenName, "test", false)
	if err != nil || r.Whole || len(r.Damage) != 1 || r.Run.Status != schema.StatusRecovered || r.InFlight != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	got := rowsIn(t, dir, r)
	if lost := b.readings/benchBoards*benchBoards - got.readings; int64(lost) != r.Unlabelled || lost < 133 || lost > 3*133 {
		t.Errorf("%d readings are lost, %d are told", lost, r.Unlabelled)
	}
	gaps := fmt.Sprintf("%s", column(t, dir, "runs/*.parquet", "gaps"))
	if n := strings.Count(gaps, "why="+schema.GapDamaged); n != benchBoards {
		t.Errorf("gaps %s", gaps)
	}
}

// With several in flight, what a worker did is unknown only until it is heard of again. The damage takes the look at 6 s and
// what stands before and behind it; times are seconds of the run.
func TestDamageKeepsWhatOtherWorkersDid(t *testing.T) {
	for name, tc := range map[string]struct {
		heard    bool   // of the third worker, after the damage
		requests string // with their codes
		stages   string // of the readings at half past
	}{
		"each is heard of again": {
			true, "early:gap,overlap long:gap,overlap lost:gap,interrupted,overlap unseen:gap,overlap other:overlap next:overlap",
			"0:idle 1:decode 7:idle 8:decode 9:decode 10:decode 11:idle 12:idle 13:idle 14:idle 15:idle 16:idle 17:idle 18:idle 19:idle",
		},
		"one never is": {
			false, "early:gap,overlap long:gap,overlap lost:gap,interrupted,overlap unseen:gap,overlap other:gap,overlap",
			"0:idle 1:decode",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := inMemory(t)
			took, requests := recordWorkers(t, dir, tc.heard)
			if requests != tc.requests {
				t.Errorf("%s\nwant %s", requests, tc.requests)
			}
			if took != tc.stages {
				t.Errorf("%s\nwant %s", took, tc.stages)
			}
		})
	}
}

func recordWorkers(t *testing.T, dir string, heard bool) (stages, requests string) {
	t.Helper()
	began := clock.Now() - 60*second
	run := schema.Run{ID: brokenRun, Host: "h", Model: "m", CorpusID: "c", Clock: clock.Anchor()}
	run.Start = clock.Pair{MonotonicNS: began, WallNS: clock.Anchor().Wall(began).UnixNano()}
	path := journal.Path(dir, brokenName)
	j, err := journal.Create(path, &journal.Header{Run: run, Boards: benchBoardList()[:1], Sampling: make([]schema.Sampling, 1), Workers: 3}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	prompt := &schema.Prompt{Workload: schema.WorkloadDecode}
	opens := func(worker int, id string, s int64) {
		err = errors.Join(err, j.Opened(worker, began+s*second, &schema.Span{RequestID: id, Prompt: prompt}))
	}
	ends := func(worker int, id string, from, to int64) {
		err = errors.Join(err, j.Closed(worker, &schema.Span{
			RequestID: id, Prompt: prompt, StartNS: began + from*second, EndNS: began + to*second,
			FirstTokenNS: schema.Some(began + from*second + 10*ms), LastTokenNS: schema.Some(began + to*second),
		}))
	}
	var from, to int64
	for s := range int64(20) {
		switch s {
		case 1:
			opens(0, "long", 1)
		case 2:
			opens(1, "early", 1)
			ends(1, "early", 1, 2)
			opens(2, "lost", 2)
		case 5:
			from = j.Size()
			opens(1, "unseen", 5)
			ends(2, "lost", 2, 5)
		case 6:
			to = j.Size()
			ends(1, "unseen", 5, 6)
			ends(0, "long", 1, 6)
		case 8:
			opens(0, "other", 8)
			if heard {
				opens(2, "next", 9)
			}
		case 11:
			ends(0, "other", 8, 10)
			if heard {
				ends(2, "next", 9, 11)
			}
		}
		var batch []schema.Reading
		for ns := began + s*second; ns < began+(s+1)*second; ns += 100 * ms {
			batch = append(batch, schema.Reading{StartNS: ns, EndNS: ns})
		}
		at := began + (s+1)*second
		err = errors.Join(err, j.Readings(journal.Look{NS: at, Clock: clock.Pair{MonotonicNS: at, WallNS: run.Start.WallNS + at - began}}, batch))
	}
	if err = errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(text[from:to])
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(dir, brokenName, "test", false); err != nil {
		t.Fatal(err)
	}
	ids, codes := column(t, dir, "requests/*/*/*.parquet", "request_id"), column(t, dir, "requests/*/*/*.parquet", "invalid_reasons")
	var told []string
	for i := range ids {
		told = append(told, fmt.Sprintf("%s:%s", ids[i], strings.NewReplacer("[", "", "]", "", `"`, "").Replace(fmt.Sprintf("%s", codes[i]))))
	}
	found, err := filepath.Glob(filepath.Join(dir, "samples/*/*/*/*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	at := map[int64]string{}
	for _, file := range found {
		rows := readFile(t, file)
		for i, ns := range rows["monotonic_ns"] {
			if since := ns.(int64) - began; since%second == 500*ms {
				at[since/second] = fmt.Sprint(rows["inference_stage"][i])
			}
		}
	}
	var labels []string
	for _, s := range slices.Sorted(maps.Keys(at)) {
		labels = append(labels, fmt.Sprintf("%d:%s", s, at[s]))
	}
	return strings.Join(labels, " "), strings.Join(told, " ")
}
