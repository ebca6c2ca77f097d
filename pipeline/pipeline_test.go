package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// arrival is something that reaches a ring, or the pipeline looking at its rings, at an instant.
type arrival struct {
	ns   int64
	what func()
}

// Whatever the order in which readings, openings and closings reach the rings, and whenever the pipeline looks, the rows
// that it publishes bear the labels that all spans together give them.
func TestPublishedLabelsDoNotDependOnWhenThePipelineLooks(t *testing.T) {
	dir := inMemory(t)
	cases := 0
	rapid.Check(t, func(t *rapid.T) {
		cases++
		workers := rapid.IntRange(1, 3).Draw(t, "workers")
		run := &schema.Run{ID: fmt.Sprintf("run-%d", cases), Host: "h", Model: "m", CorpusID: fmt.Sprintf("c-%d", cases)}
		readings, spans := ring.New[schema.Reading](1024), make([]*ring.SPSC[schema.SpanEvent], workers)
		for i := range spans {
			spans[i] = ring.New[schema.SpanEvent](16)
		}
		p, err := Open(Config{Dir: dir, Run: run, Boards: benchBoardList()[:1], Readings: readings, Spans: spans})
		if err != nil {
			t.Fatal(err)
		}
		p.record.age = time.Duration(rapid.SampledFrom([]int64{0, int64(batchAge)}).Draw(t, "age of a batch"))
		var all []*schema.Span
		var arrivals []arrival
		for w := range workers {
			at := int64(1000)
			for i := range rapid.IntRange(0, 5).Draw(t, "requests") {
				s := drawSpan(t, at+1, w*100+i)
				opened := s.StartNS - rapid.Int64Range(0, s.StartNS-at-1).Draw(t, "opened before")
				closed := s.EndNS + rapid.Int64Range(0, 30).Draw(t, "closed after")
				arrivals = append(
					arrivals,
					arrival{opened, func() { spans[w].Push(&schema.SpanEvent{OpenNS: opened}) }},
					arrival{closed, func() { spans[w].Push(&schema.SpanEvent{Span: s}) }},
				)
				at, all = closed, append(all, s)
			}
		}
		took := rapid.SliceOfN(rapid.Int64Range(0, 4), 0, 150).Draw(t, "readings take")
		for i, took := range took {
			start := 1000 + int64(i)*10
			arrivals = append(arrivals, arrival{start + took, func() { readings.Push(&schema.Reading{StartNS: start, EndNS: start + took}) }})
		}
		for _, ns := range rapid.SliceOfN(rapid.Int64Range(1000, 3000), 0, 40).Draw(t, "looks") {
			arrivals = append(arrivals, arrival{ns, func() {
				if err := p.step(ns, false, nil); err != nil {
					t.Fatal(err)
				}
			}})
		}
		slices.SortStableFunc(arrivals, func(a, b arrival) int { return cmp.Compare(a.ns, b.ns) })
		for _, a := range arrivals {
			a.what()
		}
		done := make(chan struct{})
		close(done)
		if err := p.Collect(done, func(err error) { t.Fatal(err) }); err != nil {
			t.Fatal(err)
		}
		m, err := p.Commit(make([]schema.Sampling, 1), "test")
		if err != nil {
			t.Fatal(err)
		}
		judged := 0
		for _, f := range m.Files {
			if !strings.HasPrefix(f.Path, "samples/") {
				continue
			}
			rows := readFile(t, filepath.Join(dir, f.Path))
			for i, ns := range rows["monotonic_ns"] {
				want := oracle(all, ns.(int64))
				var request any
				if want.span != nil {
					request = want.span.RequestID
				}
				got := [3]any{rows["inference_stage"][i], rows["request_id"][i], rows["concurrent_requests"][i]}
				if got != [3]any{string(want.stage), request, want.concurrent} {
					t.Fatalf("at %v: %v, want %s %v %d", ns, got, want.stage, request, want.concurrent)
				}
				judged++
			}
		}
		if judged != len(took) {
			t.Fatalf("%d rows of %d readings", judged, len(took))
		}
	})
}

// readFile gives a Parquet file's plain columns; NULL is nil.
func readFile(t interface {
	require
	Fatalf(string, ...any)
}, path string,
) map[string][]any {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	table, err := pqarrow.ReadTable(context.Background(), f, nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	columns := map[string][]any{}
	for i := range int(table.NumCols()) {
		name := table.Column(i).Name()
		for _, chunk := range table.Column(i).Data().Chunks() {
			for k := range chunk.Len() {
				columns[name] = append(columns[name], valueAt(chunk, k))
			}
		}
	}
	return columns
}

func valueAt(a arrow.Array, i int) any {
	if a.IsNull(i) {
		return nil
	}
	return a.GetOneForMarshal(i)
}

func TestARunIDIsTakenWhileAndAfterItIsWritten(t *testing.T) {
	dir := inMemory(t)
	open := func() (*Pipeline, error) {
		return Open(Config{Dir: dir, Run: &schema.Run{ID: "one", Host: "h", Model: "m", CorpusID: "c"}, Boards: benchBoardList()[:1], Readings: ring.New[schema.Reading](16)})
	}
	first, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(); !errors.Is(err, store.ErrRunExists) {
		t.Errorf("while it is written: %v", err)
	}
	if _, err := first.Commit(make([]schema.Sampling, 1), "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); !errors.Is(err, store.ErrRunExists) {
		t.Errorf("after its commit: %v", err)
	}
}

func TestOverlappingRequestsAreMarked(t *testing.T) {
	span := func(start, end int64) schema.Request {
		return schema.Request{Span: schema.Span{StartNS: start, EndNS: end}}
	}
	requests := []schema.Request{span(0, 10), span(1, 5), span(4, 6), span(10, 20), span(21, 30), span(29, 31)}
	markOverlaps(requests)
	for i, want := range []bool{false, false, false, true, false, false} {
		if requests[i].Valid() != want {
			t.Errorf("request %d: %v", i, requests[i].Invalid)
		}
	}
}
