package main

import (
	parquet "github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/iceberg-go"
	iceio "github.com/apache/iceberg-go/io"
)

// metrics are what engines leave files out by. Parquet's plain encoding of a bound is Iceberg's.
type metrics struct {
	rows                 int64
	sizes, values, nulls map[int]int64
	lower, upper         map[int][]byte
	groups               []int64 // where the row groups begin
}

// readFooter sums up a file's footer by field ids.
func readFooter(fs iceio.IO, at string, s *iceberg.Schema) (*metrics, error) {
	from, err := fs.Open(at)
	if err != nil {
		return nil, err
	}
	defer from.Close() //nolint:errcheck // read only
	r, err := parquet.NewParquetReader(from)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // read only
	m := &metrics{
		rows: r.NumRows(), sizes: map[int]int64{}, values: map[int]int64{}, nulls: map[int]int64{}, lower: map[int][]byte{}, upper: map[int][]byte{},
	}
	bounds := map[int]metadata.TypedStatistics{}
	for g := range r.NumRowGroups() {
		group := r.MetaData().RowGroup(g)
		for c := range group.NumColumns() {
			chunk, err := group.ColumnChunk(c)
			if err != nil {
				return nil, err
			}
			field, ok := s.FindFieldByName(chunk.PathInSchema()[0])
			if !ok || len(chunk.PathInSchema()) > 1 { // an element of a list has no bounds
				continue
			}
			if c == 0 {
				m.groups = append(m.groups, chunkStart(chunk))
			}
			m.sizes[field.ID] += chunk.TotalCompressedSize()
			m.values[field.ID] += chunk.NumValues()
			if err := merge(bounds, field.ID, chunk); err != nil {
				return nil, err
			}
		}
	}
	for id, b := range bounds {
		if b == nil {
			continue
		}
		m.nulls[id] = b.NullCount()
		if b.HasMinMax() {
			m.lower[id], m.upper[id] = b.EncodeMin(), b.EncodeMax()
		}
	}
	return m, nil
}

func chunkStart(c *metadata.ColumnChunkMetaData) int64 {
	if c.HasDictionaryPage() {
		return min(c.DictionaryPageOffset(), c.DataPageOffset())
	}
	return c.DataPageOffset()
}

// merge adds a chunk's statistics to its column's. A column of which one chunk has none gets none: nil.
func merge(bounds map[int]metadata.TypedStatistics, id int, c *metadata.ColumnChunkMetaData) error {
	set, err := c.StatsSet()
	if err != nil {
		return err
	}
	before, seen := bounds[id]
	if !set || seen && before == nil {
		bounds[id] = nil
		return nil
	}
	own, err := c.Statistics()
	if err != nil {
		return err
	}
	switch {
	case !seen:
		bounds[id] = own
	case own.NumValues() > 0 && !own.HasMinMax() || before.NumValues() > 0 && !before.HasMinMax():
		bounds[id] = nil
	default:
		before.Merge(own)
	}
	return nil
}
