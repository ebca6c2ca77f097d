package pipeline

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/schema"
)

// Where a run broke off its sampler says nothing any more; its readings show which board was lost, and in which requests.
func TestARecoveredRunHasTheGapsThatItsReadingsShow(t *testing.T) {
	began := clock.Now() - 10*second
	readings, spans := ring.New[schema.Reading](1<<12), ring.New[schema.SpanEvent](8)
	dir, run := inMemory(t), &schema.Run{ID: brokenRun, Host: "h", Model: "m", CorpusID: "c", Clock: clock.Anchor()}
	run.Start = clock.Pair{MonotonicNS: began, WallNS: clock.Anchor().Wall(began).UnixNano()}
	p, err := Open(Config{Dir: dir, Run: run, Boards: benchBoardList()[:2], Readings: readings, Spans: []*ring.SPSC[schema.SpanEvent]{spans}})
	if err != nil {
		t.Fatal(err)
	}
	for ns := began + 100*ms; ns < began+10*second; ns += 20 * ms {
		for board := range int32(2) {
			if board == 0 || ns < began+4*second || ns > began+7*second {
				readings.Push(&schema.Reading{Board: board, StartNS: ns, EndNS: ns})
			}
		}
	}
	for i, at := range []int64{1, 5, 8} { // s
		spans.Push(&schema.SpanEvent{Span: &schema.Span{
			RequestID: fmt.Sprint(i), Prompt: &schema.Prompt{Workload: schema.WorkloadDecode}, StartNS: began + at*second, EndNS: began + (at+1)*second,
			FirstTokenNS: schema.Some(began + at*second + 10*ms), LastTokenNS: schema.Some(began + (at+1)*second),
		}})
	}
	p.record.age = 0
	if err := p.step(clock.Now(), false, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(dir, brokenName, "test", false); err != nil {
		t.Fatal(err)
	}
	table := func(pattern string) map[string][]any {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) != 1 {
			t.Fatalf("%v, %v", files, err)
		}
		return readFile(t, files[0])
	}
	if codes := fmt.Sprintf("%s", table("requests/*/*/*.parquet")["invalid_reasons"]); codes != `[[] ["gap"] []]` {
		t.Errorf("codes %s", codes)
	}
	gap := schema.Gap{FromNS: began + 3980*ms, ToNS: began + 7020*ms, Why: schema.GapUnknown}
	if gaps := fmt.Sprintf("%s", table("runs/*.parquet")["gaps"]); gaps != fmt.Sprintf(`[[] [%q]]`, gap) {
		t.Errorf("gaps %s, want %v of the second board", gaps, gap)
	}
}

// Requests that were in flight when a run broke off are rows, and whatever was in flight beside them is marked.
func TestARecoveredRunHasTheRequestsThatNeverEnded(t *testing.T) {
	began := clock.Now() - 10*second
	readings := ring.New[schema.Reading](1 << 12)
	workers := []*ring.SPSC[schema.SpanEvent]{ring.New[schema.SpanEvent](8), ring.New[schema.SpanEvent](8)}
	dir, run := inMemory(t), &schema.Run{ID: brokenRun, Host: "h", Model: "m", CorpusID: "c", Clock: clock.Anchor()}
	run.Start = clock.Pair{MonotonicNS: began, WallNS: clock.Anchor().Wall(began).UnixNano()}
	p, err := Open(Config{Dir: dir, Run: run, Boards: benchBoardList()[:1], Readings: readings, Spans: workers})
	if err != nil {
		t.Fatal(err)
	}
	for ns := began; ns < began+10*second; ns += 20 * ms {
		readings.Push(&schema.Reading{StartNS: ns, EndNS: ns})
	}
	prompt := &schema.Prompt{Workload: schema.WorkloadDecode}
	for i, at := range []int64{1, 4, 6} { // s; the request that never ends begins at 5 s
		workers[0].Push(&schema.SpanEvent{Span: &schema.Span{
			RequestID: fmt.Sprint(i), Prompt: prompt, StartNS: began + at*second, EndNS: began + at*second + 1500*ms,
			FirstTokenNS: schema.Some(began + at*second + 10*ms), LastTokenNS: schema.Some(began + at*second + 1500*ms),
		}})
	}
	opened := began + 5*second
	workers[1].Push(&schema.SpanEvent{OpenNS: opened, Opening: &schema.Span{RequestID: "open", Prompt: prompt}})
	p.record.age = 0
	if err := errors.Join(p.step(clock.Now(), false, nil), p.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := Recover(dir, brokenName, "test", false)
	if err != nil || got.InFlight != 1 || got.Run.Interrupted != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	table := func(pattern string) map[string][]any {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) != 1 {
			t.Fatalf("%v, %v", files, err)
		}
		return readFile(t, files[0])
	}
	requests := table("requests/*/*/*.parquet")
	if got := fmt.Sprintf("%s %s", requests["request_id"], requests["invalid_reasons"]); got != `[0 1 open 2] [[] ["gap","overlap"] ["gap","interrupted","overlap"] ["gap","overlap"]]` {
		t.Error(got)
	}
	gap := schema.Gap{FromNS: opened, ToNS: began + 9980*ms, Why: schema.GapUnlabelled}
	if gaps := fmt.Sprintf("%s", table("runs/*.parquet")["gaps"]); gaps != fmt.Sprintf(`[[%q]]`, gap) {
		t.Errorf("gaps %s, want %v", gaps, gap)
	}
}

// The journal's looks at the clocks show steps of the wall clock.
func TestARecoveryFindsStepsOfTheWallClock(t *testing.T) {
	start := clock.Pair{MonotonicNS: 1 * second, WallNS: 1000 * second}
	var e ending
	for i, off := range []int64{0, ms, ms, 3000 * ms, 3000 * ms, 0} {
		at := start.MonotonicNS + int64(i+1)*500*ms
		e.looked(journal.Look{NS: at, Clock: clock.Pair{MonotonicNS: at, WallNS: at + 999*second + off}}, start)
	}
	want := []schema.ClockStep{
		{FromNS: 2500 * ms, ToNS: 3000 * ms, Step: 2999 * time.Millisecond},
		{FromNS: 3500 * ms, ToNS: 4000 * ms, Step: -3 * time.Second},
	}
	if !reflect.DeepEqual(e.steps, want) {
		t.Errorf("%v, want %v", e.steps, want)
	}
}
