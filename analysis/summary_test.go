package analysis

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/pipeline/rehearsal"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/schema"
)

var update = flag.Bool("update", false, "write the golden files")

const ms = 1_000_000

// writeRun makes a dataset of two boards read every 10 ms for 3 s: idle at 50 W; a prefill request of 100 ms and 2 tokens at
// 1 s, at 150 W; a decode request of 1 s and 101 tokens at 1.5 s, at 100 W; a refused one at 2.8 s.
func writeRun(t *testing.T, dir string) {
	t.Helper()
	readings, spans := ring.New[schema.Reading](1024), ring.New[schema.SpanEvent](16)
	run := &schema.Run{ID: "golden", Host: "host", Model: "org/model", CorpusID: "corpus"}
	prompts := []schema.Prompt{
		{ID: "prefill-00500-0000", Workload: schema.WorkloadPrefill, TargetTokens: 500},
		{ID: "decode-00100-0000", Workload: schema.WorkloadDecode, TargetTokens: 100},
	}
	p, err := pipeline.Open(pipeline.Config{
		Dir: dir, Run: run, Prompts: prompts, Readings: readings, Spans: []*ring.SPSC[schema.SpanEvent]{spans},
		Boards: []schema.Board{{Index: 0, UUID: "GPU-aaaaaaaa", Name: "sim-A"}, {Index: 1, UUID: "GPU-bbbbbbbb", Name: "sim-A"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	span := func(i int, prompt *schema.Prompt, start, first, last, in, out int64) *schema.Span {
		return &schema.Span{
			RequestID: fmt.Sprint("golden-", i), Prompt: prompt, LLM: run.Model, StartNS: start * ms, EndNS: last*ms + 1,
			FirstTokenNS: schema.Some(first * ms), LastTokenNS: schema.Some(last * ms), InputTokens: schema.Some(int32(in)), OutputTokens: schema.Some(int32(out)),
		}
	}
	refused := &schema.Span{RequestID: "golden-3", Prompt: &prompts[1], LLM: run.Model, StartNS: 2800 * ms, EndNS: 2810 * ms, ErrorType: "http_500", HTTPStatus: schema.Some(int32(500)), Invalid: []string{schema.ReasonFailed}}
	for _, s := range []*schema.Span{span(1, &prompts[0], 1000, 1100, 1150, 500, 2), span(2, &prompts[1], 1500, 1500, 2500, 12, 101), refused} {
		spans.Push(&schema.SpanEvent{Span: s})
	}
	for slot := range int64(300) {
		for board := range int32(2) {
			at := slot*10*ms + 5*ms
			r := schema.Reading{Board: board, StartNS: at, EndNS: at}
			watts := float32(50)
			switch {
			case at >= 1000*ms && at < 1100*ms:
				watts = 150
			case at >= 1100*ms && at < 1150*ms, at >= 1500*ms && at < 2500*ms:
				watts = 100
			}
			r.PowerInstantW, r.PowerIsNew = schema.Some(watts+float32(board)), schema.Some(slot%10 == 2)
			if slot%10 == 0 {
				r.GPUUtilPct = schema.Some(int32(watts-50) / 2) // an idle board is idle
			}
			if slot%100 == 50 && board == 0 {
				r.PowerInstantW = schema.Opt[float32]{} // a reading that failed
			}
			readings.Push(&r)
		}
	}
	done := make(chan struct{})
	close(done)
	if err := p.Collect(done, func(err error) { t.Fatal(err) }); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Commit(make([]schema.Sampling, 2), "test"); err != nil {
		t.Fatal(err)
	}
}

func TestSummaryReadsBackWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir)
	s, err := Dataset{Dir: dir}.Summarize(t.Context(), "golden")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := s.Print(&got); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/summary.txt"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%swant\n%s", &got, want)
	}
}

func TestASummaryIsTheSameAfterACompaction(t *testing.T) {
	dir := t.TempDir()
	for i, id := range []string{"one", "other"} {
		if err := rehearsal.Record(dir, rehearsal.Run{ID: id, Boards: 2, Requests: 6, Period: 20 * time.Millisecond, Start: time.Duration(i+1) * time.Hour, Failures: true}); err != nil {
			t.Fatal(err)
		}
	}
	before, err := Dataset{Dir: dir}.Summarize(t.Context(), "one")
	if err != nil || len(before.Stages) == 0 || len(before.Sizes) == 0 || len(before.Boards) != 2 {
		t.Fatalf("%+v, %v", before, err)
	}
	compacted(t, dir)
	if after, err := (Dataset{Dir: dir}).Summarize(t.Context(), "one"); err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("before %+v, after %+v, %v", before, after, err)
	}
}

func TestRequestsOfOneBoardAndOfTwoAreNotAveraged(t *testing.T) {
	dir := t.TempDir()
	for i, id := range []string{"one", "two"} {
		if err := rehearsal.Record(dir, rehearsal.Run{ID: id, Boards: i + 1, Requests: 8, Period: 20 * time.Millisecond, Start: time.Duration(i+1) * time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	d, err := query.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s, err := Summarize(t.Context(), d, []Key{KeyGPU, KeyLLM, KeyWorkload, KeySize})
	if err != nil || len(s.Sizes) != 4 {
		t.Fatalf("%+v, %v", s.Sizes, err)
	}
	for i, l := range s.Sizes[:2] {
		double := s.Sizes[i+2]
		if l.Boards != 1 || double.Boards != 2 || l.Workload != double.Workload || l.Runs != 1 || double.Runs != 1 {
			t.Fatalf("%+v, %+v", l, double)
		}
		if ratio := (double.Prefill.J + double.Decode.J) / (l.Prefill.J + l.Decode.J); ratio < 1.7 || ratio > 2.3 {
			t.Errorf("%s: two boards take %.2f times the energy of one", l.Workload, ratio)
		}
	}
	var out bytes.Buffer
	if err := s.Print(&out); err != nil || !strings.Contains(out.String(), " 2 × "+s.Sizes[0].GPU+" ") {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestARunThatIsNotThereHasAnEmptySummary(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir)
	s, err := Dataset{Dir: dir}.Summarize(t.Context(), "none")
	if err != nil || len(s.Stages) != 0 || len(s.Sizes) != 0 || len(s.Boards) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
