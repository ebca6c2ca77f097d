// Arrow reads a file of samples into memory and writes it again, as often as told, with one version of Arrow's own Parquet
// writer (pqarrow) under tracer's encodings: what that costs. bench/arrow/run.sh runs it with v17 and with v18, whose import
// paths are all that differs.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// outcome of one writing.
type outcome struct {
	CPUNS    float64 `json:"cpu_ns_per_row"`
	Bytes    float64 `json:"bytes_per_row"`
	Garbage  float64 `json:"allocated_bytes_per_row"`
	Mallocs  float64 `json:"allocations_per_1000_rows"`
	DataPage string  `json:"pages"`
}

func main() {
	path := flag.String("in", "", "Parquet file of samples")
	repeats := flag.Int("repeats", 5, "")
	pages := flag.Int("pages", 1, "version of the data pages")
	flag.Parse()
	if err := run(*path, *repeats, *pages); err != nil {
		fmt.Fprintln(os.Stderr, "bench/arrow:", err)
		os.Exit(1)
	}
}

func run(path string, repeats, pages int) error {
	table, err := read(path)
	if err != nil {
		return err
	}
	defer table.Release()
	var outcomes []outcome
	for range repeats + 1 {
		o, err := write(table, pages)
		if err != nil {
			return err
		}
		outcomes = append(outcomes, o)
	}
	return json.NewEncoder(os.Stdout).Encode(outcomes[1:]) // the first warms up
}

func read(path string) (arrow.Table, error) {
	from, err := file.OpenParquetFile(path, false)
	if err != nil {
		return nil, err
	}
	defer from.Close() //nolint:errcheck // read only
	rows, err := pqarrow.NewFileReader(from, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	return rows.ReadTable(context.Background())
}

// counted is a file that takes no room.
type counted struct{ n int64 }

func (c *counted) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func write(table arrow.Table, pages int) (o outcome, err error) {
	var out counted
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := userNS()
	w, err := pqarrow.NewFileWriter(table.Schema(), &out, properties(table.Schema(), pages), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return o, err
	}
	if err := w.WriteTable(table, 122_880); err != nil {
		return o, err
	}
	if err := w.Close(); err != nil {
		return o, err
	}
	used := userNS() - began
	runtime.ReadMemStats(&after)
	n := float64(table.NumRows())
	return outcome{
		CPUNS: float64(used) / n, Bytes: float64(out.n) / n, Garbage: float64(after.TotalAlloc-before.TotalAlloc) / n,
		Mallocs: 1000 * float64(after.Mallocs-before.Mallocs) / n, DataPage: fmt.Sprint(pages),
	}, nil
}

// properties are those of pipeline/store.
func properties(s *arrow.Schema, pages int) *parquet.WriterProperties {
	version := parquet.DataPageV1
	if pages == 2 {
		version = parquet.DataPageV2
	}
	props := []parquet.WriterProperty{
		parquet.WithVersion(parquet.V2_LATEST), parquet.WithDataPageVersion(version),
		parquet.WithCompression(compress.Codecs.Zstd), parquet.WithDictionaryDefault(false),
	}
	for _, f := range s.Fields() {
		switch f.Type.ID() {
		case arrow.STRING:
			props = append(props, parquet.WithDictionaryFor(f.Name, true))
		case arrow.INT32, arrow.INT64, arrow.TIMESTAMP:
			props = append(props, parquet.WithEncodingFor(f.Name, parquet.Encodings.DeltaBinaryPacked))
		}
	}
	return parquet.NewWriterProperties(props...)
}

func userNS() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no way to fail for the own process
	}
	return u.Utime.Nano()
}
