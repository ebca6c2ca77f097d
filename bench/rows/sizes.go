package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/klauspost/compress/zstd"

	"github.com/llm-tracer/tracer/analysis/scan"
)

// column is what one column's values take as they lie in memory: those that are there, one after the other, and a bit a row for
// which are. deltas has differences in place of whole numbers.
type column struct {
	values, deltas []byte
	valid          []byte
	last           int64
}

func (c *column) add(a arrow.Array) error {
	c.valid = append(c.valid, bitmap(a)...)
	for i := range a.Len() {
		if a.IsNull(i) {
			continue
		}
		switch a := a.(type) {
		case *array.Int32:
			c.whole(int64(a.Value(i)), 4)
		case *array.Int64:
			c.whole(a.Value(i), 8)
		case *array.Timestamp:
			c.whole(int64(a.Value(i)), 8)
		case *array.Float32:
			c.both(binary.LittleEndian.AppendUint32(nil, math.Float32bits(a.Value(i))))
		case *array.Float64:
			c.both(binary.LittleEndian.AppendUint64(nil, math.Float64bits(a.Value(i))))
		case *array.Boolean:
			c.both([]byte{map[bool]byte{true: 1}[a.Value(i)]})
		case *array.String:
			c.both(append([]byte(a.Value(i)), 0))
		default:
			return fmt.Errorf("a column of %s", a.DataType())
		}
	}
	return nil
}

func (c *column) both(b []byte) { c.values, c.deltas = append(c.values, b...), append(c.deltas, b...) }

func (c *column) whole(v int64, width int) {
	c.values = append(c.values, binary.LittleEndian.AppendUint64(nil, uint64(v))[:width]...)
	c.deltas = append(c.deltas, binary.LittleEndian.AppendUint64(nil, uint64(v-c.last))[:width]...)
	c.last = v
}

func bitmap(a arrow.Array) []byte {
	bits := make([]byte, (a.Len()+7)/8)
	for i := range a.Len() {
		if a.IsValid(i) {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return bits
}

// weighed is what rows take, in bytes a row.
type weighed struct {
	rows, file, raw    float64
	plain, plainBest   float64 // zstd on values, at tracer's level and at the best
	deltas, deltasBest float64
}

func weigh(dataset string) (w weighed, err error) {
	fastest, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return w, err
	}
	best, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return w, err
	}
	err = filepath.WalkDir(filepath.Join(dataset, "samples"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".parquet") {
			return err
		}
		columns, rows, err := columnsOf(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		w.rows += float64(rows)
		w.file += float64(info.Size())
		size := func(enc *zstd.Encoder, b []byte) float64 { return float64(len(enc.EncodeAll(b, nil))) }
		for _, c := range columns {
			w.raw += float64(len(c.values) + len(c.valid))
			w.plain += size(fastest, c.values) + size(fastest, c.valid)
			w.plainBest += size(best, c.values) + size(best, c.valid)
			w.deltas += size(fastest, c.deltas) + size(fastest, c.valid)
			w.deltasBest += size(best, c.deltas) + size(best, c.valid)
		}
		return nil
	})
	for _, v := range []*float64{&w.file, &w.raw, &w.plain, &w.plainBest, &w.deltas, &w.deltasBest} {
		*v /= w.rows
	}
	return w, err
}

func columnsOf(path string) ([]*column, int64, error) {
	f, err := scan.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close() //nolint:errcheck // read only
	batches, err := f.Read(context.Background(), nil, 0, f.Rows(), f.Rows())
	if err != nil {
		return nil, 0, err
	}
	defer batches.Close()
	var columns []*column
	for {
		batch, err := batches.Next()
		if errors.Is(err, io.EOF) {
			return columns, f.Rows(), nil
		}
		if err != nil {
			return nil, 0, err
		}
		for i, a := range batch.Columns() {
			if i == len(columns) {
				columns = append(columns, &column{})
			}
			if err := columns[i].add(a); err != nil {
				return nil, 0, err
			}
		}
	}
}
