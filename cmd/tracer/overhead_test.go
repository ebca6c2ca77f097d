package main

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

func TestEveryRoundHoldsEachPeriodOnceInRandomOrder(t *testing.T) {
	periods := comparedPeriods(20 * time.Millisecond)
	deal := func(seed int64) ([]block, []string) {
		o := &overhead{target: target{Seed: seed}, Blocks: 12, Requests: 2, PromptSize: 50, Size: 10}
		prompts, warmup, err := o.corpus(len(periods))
		if err != nil {
			t.Fatal(err)
		}
		if len(warmup) != 4 {
			t.Errorf("%d prompts for warm-up", len(warmup))
		}
		blocks, texts := o.shuffle(prompts, periods), []string{}
		for i := range warmup {
			texts = append(texts, warmup[i].Text)
		}
		for _, b := range blocks {
			counts := map[schema.Workload]int{}
			for i := range b.prompts {
				counts[b.prompts[i].Workload]++
				texts = append(texts, b.prompts[i].Text)
			}
			if counts[schema.WorkloadPrefill] != 2 || counts[schema.WorkloadDecode] != 2 {
				t.Errorf("a block of %v", counts)
			}
		}
		return blocks, texts
	}
	order := func(blocks []block) (all []time.Duration) {
		for _, b := range blocks {
			all = append(all, b.Period)
		}
		return all
	}
	blocks, texts := deal(1)
	first := map[time.Duration]int{}
	for round := range 12 {
		of := blocks[4*round : 4*round+4]
		first[of[0].Period]++
		got := order(of)
		slices.Sort(got)
		if !slices.Equal(got, []time.Duration{0, 10 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond}) || of[3].Round.V != int32(round+1) {
			t.Errorf("round %d: %v", round, of)
		}
	}
	if len(first) < 3 {
		t.Errorf("the rounds begin with %v", first)
	}
	if slices.Sort(texts); len(slices.Compact(texts)) != 12*4*4+4 {
		t.Error("a text is sent twice")
	}
	again, _ := deal(1)
	other, _ := deal(2)
	if !slices.Equal(order(blocks), order(again)) || slices.Equal(order(blocks), order(other)) {
		t.Error("the order does not follow the seed")
	}
}

func TestPeriodsAreComparedOnceEach(t *testing.T) {
	ms := time.Millisecond
	for planned, want := range map[time.Duration][]time.Duration{
		20 * ms: {0, 100 * ms, 20 * ms, 10 * ms}, 10 * ms: {0, 100 * ms, 10 * ms}, 100 * ms: {0, 100 * ms, 10 * ms}, 2 * ms: {0, 100 * ms, 10 * ms, 2 * ms},
	} {
		if got := comparedPeriods(planned); !slices.Equal(got, want) {
			t.Errorf("beside a plan of %v: %v, want %v", planned, got, want)
		}
	}
}

// watched is a board that tells when it was read last.
type watched struct {
	sampler.Device
	readNS *atomic.Int64
}

func (w watched) Read(lanes sampler.Lane, r *schema.Reading) error {
	w.readNS.Store(clock.Now())
	return w.Device.Read(lanes, r)
}

// slowedBySampling is a server that holds a request back for 20 ms where the board was read in the 12 ms before, as a
// driver's lock would. Behind it is the simulated server, whose own timing knows nothing of sampling.
func slowedBySampling(t *testing.T, upstream string, readNS *atomic.Int64) (endpoint string) {
	t.Helper()
	host, err := url.Parse(strings.TrimSuffix(upstream, "/v1"))
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(host)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if now := clock.Now(); r.Method == http.MethodPost && now-readNS.Load() < 12e6 {
			clock.SleepUntil(now + 20e6)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/v1"
}

func TestAServerThatSamplingSlowsDownIsFoundOut(t *testing.T) {
	kind, err := catalog.BoardByName("H200")
	if err != nil {
		t.Fatal(err)
	}
	var readNS atomic.Int64
	board := sim.NewBoard(kind, 0)
	dir := t.TempDir()
	o := &overhead{
		target:   target{Out: dir, Endpoint: slowedBySampling(t, startSim(t, "--gpu", "sim:H200"), &readNS), RunID: "slowed", Seed: 1, Silence: time.Minute},
		Blocks:   5,
		Requests: 2, PromptSize: 50, Size: 10,
	}
	var out, progress bytes.Buffer
	b := &boards{devices: []sampler.Device{watched{board, &readNS}}, patience: 10 * time.Second}
	if err := o.compare(&terminal{out: &out, err: &progress}, &layers{}, b, 10*time.Millisecond, nebula.Profile{}); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	lines, err := analysis.Dataset{Dir: dir}.Overhead("slowed")
	if err != nil || len(lines) != 3 {
		t.Fatalf("%+v, %v", lines, err)
	}
	fast := lines[2]
	if fast.Period != 10*time.Millisecond || fast.TTFT.Rounds != 5 || fast.TTFT.Lo.V < 10 {
		t.Errorf("sampling every 10 ms delays each first token by 20 ms, found %+v", fast.TTFT)
	}
	if fast.TPOT.Pct.V > 20 {
		t.Errorf("the rest of the answer is not delayed, found %+v", fast.TPOT)
	}
	// The run's own row says the same, and the next trace of this setting would carry it.
	about := board.Board()
	in := analysis.Setting{Host: hostname(), Model: catalog.DefaultModel, Server: "sim", Driver: about.DriverVersion, Boards: []string{about.UUID}, Period: fast.Period}
	stored, err := analysis.Dataset{Dir: dir}.LatestOverhead(in)
	if err != nil || stored.RunID != "slowed" || stored.TTFT != fast.TTFT.Effect || stored.TPOT != fast.TPOT.Effect {
		t.Errorf("stored %+v (%v), the requests say %+v", stored, err, fast)
	}
}

func TestATraceCarriesTheOverheadThatWasMeasuredBefore(t *testing.T) {
	dir := t.TempDir()
	simulated := []string{"--out", dir, "--gpu", "sim:H200", "--endpoint", "sim"}
	run := func(args ...string) { collectOrFail(t, nil, append(args, simulated...)...) }
	run("overhead", "--run-id", "measured", "--blocks", "4", "--requests", "2", "--prompt-size", "20", "--size", "4")
	trace := []string{"collect", "--sizes", "10", "--prompts", "1", "--warmup", "0", "--idle", "0s", "--run-id"}
	run(append(trace, "traced")...)
	run(append(trace, "elsewhere", "--period", "50ms")...)
	measured, traced, elsewhere := overheadColumns(t, dir, "measured"), overheadColumns(t, dir, "traced"), overheadColumns(t, dir, "elsewhere")
	if len(measured) != 8 || measured["overhead_run_id"] != "measured" || measured["overhead_period_s"] != "0.02" || measured["overhead_ttft_pct_lo"] == "(null)" {
		t.Errorf("the run that measured: %v", measured)
	}
	if !maps.Equal(traced, measured) {
		t.Errorf("a trace at the same period: %v, want %v", traced, measured)
	}
	for name, value := range elsewhere {
		if value != "(null)" {
			t.Errorf("a trace at another period: %s is %s", name, value)
		}
	}
}

// overheadColumns is what a run's row says of overhead.
func overheadColumns(t *testing.T, dir, run string) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "runs", run+"-"+schema.Slug(hostname())+".parquet"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := pqarrow.ReadTable(t.Context(), f, nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for i := range int(table.NumCols()) {
		if c := table.Column(i); strings.HasPrefix(c.Name(), "overhead_") {
			values[c.Name()] = c.Data().Chunk(0).ValueStr(0)
		}
	}
	return values
}

func TestTermCommitsTheBlocksThatWereMeasured(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const warmup, round = 4, 16
	terminate(t, dir, warmup+round+3, "overhead", "--out", dir, "--run-id", "cut", "--gpu", "sim:H200", "--endpoint", "sim", "--requests", "2", "--prompt-size", "20", "--size", "30", "--blocks", "50")
	lines, err := analysis.Dataset{Dir: dir}.Overhead("cut")
	if err != nil || len(lines) != 4 {
		t.Fatalf("%+v, %v", lines, err)
	}
	for _, l := range lines {
		if l.Blocks == 0 || l.Requests == 0 {
			t.Errorf("%+v", l)
		}
	}
	if o := overheadColumns(t, dir, "cut"); o["overhead_run_id"] != "cut" || lines[2].TTFT.Rounds < 3 && o["overhead_ttft_pct"] != "(null)" {
		t.Errorf("%v", o)
	}
}
