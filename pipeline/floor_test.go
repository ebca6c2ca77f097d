package pipeline

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/klauspost/compress/zstd"

	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// floorRows is how many rows a round has: two row groups of four boards.
const floorRows = 1 << 20

// BenchmarkFloors is what the stations between ring and Parquet cost, each alone and on the same rows, beside the least that
// they could: a copy of the rows' memory, and zstd on what the encoder gives it. One op is one sample; cpu-ns/row is CPU time
// of the process, which stays comparable on a machine that has other work.
func BenchmarkFloors(b *testing.B) {
	c := newCampaign()
	readings := make([]schema.Reading, floorRows)
	for i := range readings {
		readings[i] = c.reading(i)
	}
	samples := c.samples(readings)
	boards := perBoard(samples)
	b.Run("copy", func(b *testing.B) {
		to := make([]schema.Reading, batchRows)
		perRow(b, func() { inBatches(readings, func(rows []schema.Reading) { copy(to, rows) }) })
	})
	b.Run("ring", func(b *testing.B) {
		q, to := ring.New[schema.Reading](1<<16), make([]schema.Reading, batchRows)
		perRow(b, func() {
			inBatches(readings, func(rows []schema.Reading) {
				for i := range rows {
					q.Push(&rows[i])
				}
				q.Pop(to)
			})
		})
	})
	b.Run("journal", func(b *testing.B) { perRow(b, func() { journalled(b, readings) }) })
	b.Run("batch", func(b *testing.B) {
		builder := schema.Samples.NewBuilder(&store.Recycler{})
		defer builder.Release()
		perRow(b, func() {
			for _, rows := range boards { // as their parts hold them
				inBatches(rows, func(rows []schema.Sample) {
					builder.Reserve(len(rows))
					builder.Append(rows)
					builder.NewRecord().Release()
				})
			}
		})
	})
	b.Run("parquet", func(b *testing.B) {
		dir := b.TempDir()
		perRow(b, func() {
			written(b, dir, boards)
			emptied(b, dir)
		})
	})
	b.Run("zstd", func(b *testing.B) {
		dir := b.TempDir()
		written(b, dir, boards)
		pages := pagesOf(b, dir)
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			b.Fatal(err)
		}
		var to []byte
		perRow(b, func() {
			for _, p := range pages {
				to = enc.EncodeAll(p, to[:0])
			}
		})
	})
}

// samples labels readings as the pipeline does.
func (c *campaign) samples(from []schema.Reading) []schema.Sample {
	var t timeline
	for i := 0; c.span(i).StartNS < from[len(from)-1].EndNS; i++ {
		t.spans = append(t.spans, c.span(i)) // in order
	}
	return samplesOf(&t, from, make([]schema.Sample, len(from)), benchRun(), benchBoardList())
}

// perBoard sorts rows as their parts hold them.
func perBoard(samples []schema.Sample) (boards [benchBoards][]schema.Sample) {
	for i := range samples {
		board := samples[i].Reading.Board
		boards[board] = append(boards[board], samples[i])
	}
	return boards
}

func inBatches[R any](rows []R, take func([]R)) {
	for ; len(rows) > 0; rows = rows[min(batchRows, len(rows)):] {
		take(rows[:min(batchRows, len(rows))])
	}
}

// perRow repeats a round of floorRows.
func perRow(b *testing.B, round func()) {
	b.ReportAllocs()
	b.ResetTimer()
	began := userTime()
	rows := 0
	for ; rows < b.N; rows += floorRows {
		round()
	}
	b.ReportMetric(float64(userTime()-began)/float64(rows), "cpu-ns/row")
}

// userTime is the process's CPU time. Beside the kernel's part, which is mostly the files', it is what the code costs.
func userTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no way to fail for the own process
	}
	return time.Duration(u.Utime.Nano())
}

// journalled appends readings to a journal and reads them back, as the pipeline does with every one.
func journalled(b *testing.B, readings []schema.Reading) {
	b.Helper()
	j, err := journal.Create(filepath.Join(b.TempDir(), "bench.journal"), &journal.Header{Run: *benchRun(), Boards: benchBoardList()}, &store.Recycler{})
	if err != nil {
		b.Fatal(err)
	}
	rows := j.Rows()
	var back []schema.Reading
	inBatches(readings, func(batch []schema.Reading) {
		if err := j.Readings(journal.Look{}, batch); err != nil {
			b.Fatal(err)
		}
		if back, err = rows.Next(j.Size(), back); err != nil {
			b.Fatal(err)
		}
	})
	if err := j.Remove(); err != nil {
		b.Fatal(err)
	}
}

// written writes one part a board.
func written(b *testing.B, dir string, boards [benchBoards][]schema.Sample) {
	b.Helper()
	batches := &store.Recycler{}
	for i, rows := range boards {
		part, err := store.CreatePart(schema.Samples, batches, dir, benchBoardList()[i].UUID)
		if err != nil {
			b.Fatal(err)
		}
		for k := range rows {
			if err := part.Add(&rows[k]); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := part.Finish(); err != nil {
			b.Fatal(err)
		}
	}
}

func emptied(b *testing.B, dir string) {
	b.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
		b.Fatal(err)
	}
}

// pagesOf are the pages of a folder's files before their compression.
func pagesOf(b *testing.B, dir string) (pages [][]byte) {
	b.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.part"))
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range names {
		r, err := file.OpenParquetFile(name, false)
		if err != nil {
			b.Fatal(err)
		}
		for g := range r.NumRowGroups() {
			for c := range r.MetaData().Schema.NumColumns() {
				from, err := r.RowGroup(g).GetColumnPageReader(c)
				if err != nil {
					b.Fatal(err)
				}
				for from.Next() {
					pages = append(pages, bytes.Clone(from.Page().Data()))
				}
			}
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	return pages
}
