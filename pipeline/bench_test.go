package pipeline

import (
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

const (
	benchPeriod = 20 * time.Millisecond
	benchBoards = 4
)

// campaign makes readings and spans as a run of four boards at the automatic period gives them: power on every row, a
// new value on every fifth, utilisation on every fifth, the slow sensors once a second; requests of 50 ms prefill and
// 4 s decode.
type campaign struct {
	rng     *rand.Rand
	now     int64
	power   [benchBoards]float32
	request int
	prompts []schema.Prompt
}

func newCampaign() *campaign {
	c := &campaign{rng: rand.New(rand.NewPCG(1, 2)), now: clock.Now()}
	for i := range 100 {
		c.prompts = append(c.prompts, schema.Prompt{ID: fmt.Sprintf("decode-00100-%04d", i), Workload: schema.WorkloadDecode, TargetTokens: 100})
	}
	return c
}

func (c *campaign) reading(i int) schema.Reading {
	board, slot := i%benchBoards, i/benchBoards
	at := c.now + int64(slot)*int64(benchPeriod) + int64(board)*2000 + c.rng.Int64N(40_000)
	r := schema.Reading{Board: int32(board), StartNS: at, EndNS: at + 2000 + c.rng.Int64N(800)}
	fresh := slot%5 == 0
	if fresh {
		c.power[board] = 280 + float32(c.rng.IntN(40_000))/1000
	}
	r.PowerInstantW, r.PowerIsNew = schema.Some(c.power[board]), schema.Some(fresh)
	if fresh {
		r.PowerAverageW = schema.Some(290 + float32(c.rng.IntN(9000))/1000)
		r.GPUUtilPct, r.MemoryUtilPct = schema.Some(95+int32(c.rng.IntN(4))), schema.Some(60+int32(c.rng.IntN(9)))
	}
	if slot%50 == 0 {
		r.EnergyTotalJ = schema.Some(float64(at/1_000_000) * 0.3)
		r.SMClockMHz, r.MemoryClockMHz = schema.Some(int32(1980)), schema.Some(int32(2619))
		r.TemperatureC, r.PState = schema.Some(55+int32(c.rng.IntN(3))), schema.Some(int32(0))
		r.MemoryUsedB, r.PowerLimitW, r.Throttle = schema.Some(int64(70<<30)), schema.Some(float32(700)), schema.Some(int64(0))
	}
	return r
}

// span is the i-th request: one every 4.1 s.
func (c *campaign) span(i int) *schema.Span {
	start := c.now + int64(i)*4_100_000_000
	return &schema.Span{
		RequestID: fmt.Sprintf("bench-%06d", i), Prompt: &c.prompts[i%len(c.prompts)], LLM: "meta-llama/Meta-Llama-3-8B",
		StartNS: start, FirstTokenNS: schema.Some(start + 50_000_000), LastTokenNS: schema.Some(start + 4_000_000_000), EndNS: start + 4_001_000_000,
		InputTokens: schema.Some(int32(17)), OutputTokensRequested: schema.Some(int32(100)), OutputTokens: schema.Some(int32(100)),
	}
}

func benchBoardList() []schema.Board {
	var boards []schema.Board
	for i := range benchBoards {
		boards = append(boards, schema.Board{Index: int32(i), UUID: fmt.Sprintf("GPU-%08x-bench", i), Name: "sim-H100-SXM"})
	}
	return boards
}

func benchRun() *schema.Run {
	return &schema.Run{ID: "bench", Host: "host", Model: "meta-llama/Meta-Llama-3-8B", CorpusID: "corpus"}
}

// BenchmarkRingToParquet carries readings from the ring through the journal, labelling and record batches into published
// Parquet; beside it, the same without the journal. One op is one sample. Run it with -cpu 1 for the figure of one core.
func BenchmarkRingToParquet(b *testing.B) {
	b.Run("journal", func(b *testing.B) {
		ringToParquet(b, func(p *Pipeline, now int64) error { return p.step(now, false, nil) })
	})
	b.Run("none", func(b *testing.B) {
		popped := make([]schema.Reading, batchRows)
		ringToParquet(b, func(p *Pipeline, _ int64) error {
			for n := p.Readings.Pop(popped); n > 0; n = p.Readings.Pop(popped) {
				for i := range popped[:n] {
					if err := p.file(&popped[i]); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}

func ringToParquet(b *testing.B, take func(p *Pipeline, now int64) error) {
	b.ReportAllocs()
	c := newCampaign()
	dir := b.TempDir()
	readings, spans := ring.New[schema.Reading](1<<16), ring.New[schema.SpanEvent](64)
	p, err := Open(Config{Dir: dir, Run: benchRun(), Boards: benchBoardList(), Prompts: c.prompts, Readings: readings, Spans: []*ring.SPSC[schema.SpanEvent]{spans}})
	if err != nil {
		b.Fatal(err)
	}
	p.record.age = 0 // every look at the rings goes to the journal
	const burst = 1 << 15
	made := make([]schema.Reading, burst)
	var used time.Duration
	for done := 0; done < b.N; done += burst {
		b.StopTimer() // making the input is not the pipeline's work
		for i := range made {
			made[i] = c.reading(done + i)
		}
		end := made[burst-1].EndNS
		for ; c.span(c.request).StartNS < end; c.request++ {
			spans.Push(&schema.SpanEvent{Span: c.span(c.request)})
			if err := p.takeSpans(); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		used -= userTime()
		for i := range made {
			readings.Push(&made[i])
		}
		if err := take(p, end); err != nil {
			b.Fatal(err)
		}
		used += userTime()
	}
	used -= userTime()
	if _, err := p.Commit(make([]schema.Sampling, benchBoards), "bench"); err != nil {
		b.Fatal(err)
	}
	used += userTime()
	b.StopTimer()
	rows := (b.N + burst - 1) / burst * burst
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "samples/s")
	b.ReportMetric(float64(sampleBytes(b, dir))/float64(rows), "file-B/row")
	b.ReportMetric(float64(used)/float64(rows), "cpu-ns/row")
}

// BenchmarkRecover publishes what a journal holds. One op is one reading of it.
func BenchmarkRecover(b *testing.B) {
	b.ReportAllocs()
	broke := breakOff(b, b.N/133+1)
	dir := broke.cut(b, broke.sizes[len(broke.sizes)-1])
	b.ResetTimer()
	if _, err := Recover(dir, brokenName, "bench", false); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(broke.sizes[len(broke.sizes)-1]-broke.header)/float64(broke.readings), "journal-B/row")
}

func sampleBytes(b *testing.B, dir string) int64 {
	files, err := filepath.Glob(filepath.Join(dir, "samples", "*", "*", "*", "*.parquet"))
	if err != nil {
		b.Fatal(err)
	}
	var n int64
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			b.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

// BenchmarkHotPath is the part that must not allocate: ring, label, record builder. One op is one sample.
func BenchmarkHotPath(b *testing.B) {
	b.ReportAllocs()
	c := newCampaign()
	const burst = 4096
	made, popped := make([]schema.Reading, burst), make([]schema.Reading, burst)
	samples := make([]schema.Sample, burst)
	for i := range made {
		made[i] = c.reading(i)
	}
	var t timeline
	for i := range 100 {
		t.add(c.span(i))
	}
	boards, run, q := benchBoardList(), benchRun(), ring.New[schema.Reading](2*burst)
	builder := schema.Samples.NewBuilder(&store.Recycler{}) // as in a run
	defer builder.Release()
	builder.Append(samplesOf(&t, made, samples, run, boards)) // grows the builders once
	builder.NewRecord().Release()
	b.ResetTimer()
	for done := 0; done < b.N; done += burst {
		for i := range made {
			q.Push(&made[i])
		}
		q.Pop(popped)
		builder.Append(samplesOf(&t, popped, samples, run, boards))
		b.StopTimer() // handing the batch to the encoder allocates; BenchmarkRingToParquet counts that
		builder.NewRecord().Release()
		builder.Reserve(burst)
		b.StartTimer()
	}
}

func samplesOf(t *timeline, from []schema.Reading, to []schema.Sample, run *schema.Run, boards []schema.Board) []schema.Sample {
	for i := range from {
		l := t.at(from[i].MidNS())
		to[i] = schema.Sample{Reading: from[i], Run: run, Board: &boards[from[i].Board], Stage: l.stage, Span: l.span, Workload: l.workload, Concurrent: l.concurrent}
	}
	return to
}

// BenchmarkCSV writes the same rows, the seed's nine columns and no more, through encoding/csv.
func BenchmarkCSV(b *testing.B) {
	b.ReportAllocs()
	c := newCampaign()
	made := make([]schema.Reading, 1<<15)
	for i := range made {
		made[i] = c.reading(i)
	}
	var t timeline
	for i := range 100 {
		t.add(c.span(i))
	}
	out := &countingWriter{}
	w := csv.NewWriter(out)
	record := make([]string, 9)
	b.ResetTimer()
	for i := range b.N {
		r := &made[i%len(made)]
		record[0] = clock.Anchor().Wall(r.MidNS()).Format("2006-01-02T15:04:05.000000Z")
		l := label{stage: schema.StageIdle}
		if i < len(made) {
			l = t.at(r.MidNS())
		}
		record[1], record[2], record[3] = "", "", ""
		if l.span != nil {
			record[1], record[2], record[3] = l.span.Prompt.ID, strconv.Itoa(int(l.span.InputTokens.V)), strconv.Itoa(int(l.span.OutputTokensRequested.V))
		}
		record[4], record[5], record[6] = "sim-H100-SXM", "meta-llama/Meta-Llama-3-8B", string(l.stage)
		record[7], record[8] = "", strconv.FormatFloat(float64(r.PowerInstantW.V), 'f', 3, 32)
		if r.GPUUtilPct.OK {
			record[7] = strconv.Itoa(int(r.GPUUtilPct.V))
		}
		if err := w.Write(record); err != nil {
			b.Fatal(err)
		}
	}
	w.Flush()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "samples/s")
	b.ReportMetric(float64(out.n)/float64(b.N), "file-B/row")
}

type countingWriter struct{ n int64 }

func (w *countingWriter) Write(p []byte) (int, error) {
	w.n += int64(len(p))
	return len(p), nil
}

var _ io.Writer = (*countingWriter)(nil)
