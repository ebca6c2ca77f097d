package store

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/llm-tracer/tracer/schema"
)

// rowGroupRows is DuckDB's own batch of vectors; smaller groups cost its readers.
const rowGroupRows = 122_880

// parquetWriter writes record batches. It is pqarrow's FileWriter with two differences: a run of equal strings is looked up in
// the dictionary once, where v17 hashes every value, which is a third of the cost of our rows; and of numbers of which some are
// absent the others are moved together once, see dense.
type parquetWriter struct {
	file   *file.Writer
	group  file.BufferedRowGroupWriter
	rows   int64 // in the group
	runs   []*runColumn
	ctx    context.Context //nolint:containedctx // pqarrow takes its options through one
	levels levels
	dense  dense
}

// levels are reusable definition levels: all present, all absent, and a column's own.
type levels struct{ present, absent, own []int16 }

func newParquetWriter[R any](w io.Writer, t schema.Table[R], mem memory.Allocator) (pw *parquetWriter, err error) {
	defer func() { // v17 panics where the file's first bytes cannot be written
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	logical, props, arrowProps := t.Schema(), properties(t, mem), pqarrow.DefaultWriterProps()
	root, err := pqarrow.ToParquet(logical, props, arrowProps)
	if err != nil {
		return nil, err
	}
	meta := make(metadata.KeyValueMetadata, 0)
	for i, key := range logical.Metadata().Keys() { // in their order: equal tables are equal files
		if err := meta.Append(key, logical.Metadata().Values()[i]); err != nil {
			return nil, err
		}
	}
	stored := base64.StdEncoding.EncodeToString(flight.SerializeSchema(logical, memory.DefaultAllocator))
	if err := meta.Append("ARROW:schema", stored); err != nil { // units and descriptions, for pyarrow
		return nil, err
	}
	present := make([]int16, BatchRows)
	for i := range present {
		present[i] = 1
	}
	return &parquetWriter{
		file:   file.NewParquetWriter(w, root.Root(), file.WithWriterProps(props), file.WithWriteMetadata(meta)),
		runs:   make([]*runColumn, len(t.Columns)),
		ctx:    pqarrow.NewArrowWriteContext(context.Background(), &arrowProps),
		levels: levels{present: present, absent: make([]int16, BatchRows)},
	}, nil
}

func properties[R any](t schema.Table[R], mem memory.Allocator) *parquet.WriterProperties {
	props := []parquet.WriterProperty{
		parquet.WithAllocator(mem),
		parquet.WithCreatedBy("tracer"),
		parquet.WithVersion(parquet.V2_LATEST),
		parquet.WithDataPageVersion(pages(t)),
		// The default, repeated, is what hyparquet cannot read; undefined is what DuckDB cannot.
		parquet.WithRootRepetition(parquet.Repetitions.Required),
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithDictionaryDefault(false),
	}
	for _, c := range t.Columns {
		switch c.Encoding {
		case schema.Dictionary, schema.RunLength:
			props = append(props, parquet.WithDictionaryFor(c.Name, true))
		case schema.Delta:
			props = append(props, parquet.WithEncodingFor(c.Name, parquet.Encodings.DeltaBinaryPacked))
		case schema.Plain:
		}
	}
	return parquet.NewWriterProperties(props...)
}

// pages is the pages' version. Those of version 2 keep definition levels out of the compression: sensors that are read now and
// then took 16 % of our rows that way. Rows with lists must not be cut in two by a page, which v17 sees to in version 2 alone.
func pages[R any](t schema.Table[R]) parquet.DataPageVersion {
	for _, c := range t.Columns {
		if arrow.IsListLike(c.Type.ID()) {
			return parquet.DataPageV2
		}
	}
	return parquet.DataPageV1
}

// write appends a batch of at most BatchRows rows. Groups are whole batches, so they end at rowGroupRows or just after.
func (w *parquetWriter) write(batch arrow.Record) error {
	if w.group == nil || w.rows >= rowGroupRows {
		if err := w.closeGroup(); err != nil {
			return err
		}
		w.group = w.file.AppendBufferedRowGroup()
		clear(w.runs) // a group has its own dictionaries
	}
	for i, a := range batch.Columns() {
		if err := w.writeColumn(i, a); err != nil {
			return fmt.Errorf("column %s: %w", batch.ColumnName(i), err)
		}
	}
	w.rows += batch.NumRows()
	return nil
}

func (w *parquetWriter) writeColumn(i int, a arrow.Array) error {
	column, err := w.group.Column(i)
	if err != nil {
		return err
	}
	nullable := column.Descr().MaxDefinitionLevel() > 0
	switch a := a.(type) {
	case *array.RunEndEncoded:
		if w.runs[i] == nil {
			w.runs[i] = &runColumn{out: column.(*file.ByteArrayColumnChunkWriter), nullable: nullable, index: map[string]int32{}}
		}
		return w.runs[i].write(a, &w.levels)
	case *array.List:
		definition, repetition := listLevels(a)
		return pqarrow.WriteArrowToColumn(w.ctx, column, a.ListValues(), definition, repetition, true)
	}
	levels := w.levels.of(a, nullable)
	if written, err := w.dense.write(column, a, levels); written || err != nil {
		return err
	}
	return pqarrow.WriteArrowToColumn(w.ctx, column, a, levels, nil, nullable)
}

// of are the definition levels of a flat column; a required one has none.
func (l *levels) of(a arrow.Array, nullable bool) []int16 {
	switch {
	case !nullable:
		return nil
	case a.NullN() == 0:
		return l.present[:a.Len()]
	case a.NullN() == a.Len():
		return l.absent[:a.Len()]
	}
	l.own = l.own[:0]
	valid, offset := a.NullBitmapBytes(), a.Data().Offset()
	for i := offset / 8; len(l.own) < a.Len()+offset%8; i++ {
		l.own = append(l.own, levelsOf[valid[i]][:]...)
	}
	return l.own[offset%8:][:a.Len()]
}

// levelsOf are the definition levels of the rows that a byte of a validity bitmap stands for.
var levelsOf = func() (all [256][8]int16) {
	for b := range all {
		for i := range all[b] {
			all[b][i] = int16(b >> i & 1)
		}
	}
	return all
}()

// listLevels are the levels of a required list of present elements: an element is defined at 2, an empty list at 0; what
// continues a list repeats at 1.
func listLevels(a *array.List) (definition, repetition []int16) {
	for i := range a.Len() {
		from, to := a.ValueOffsets(i)
		if from == to {
			definition, repetition = append(definition, 0), append(repetition, 0)
		}
		for k := from; k < to; k++ {
			definition, repetition = append(definition, 2), append(repetition, min(1, int16(k-from)))
		}
	}
	return definition, repetition
}

func (w *parquetWriter) closeGroup() error {
	w.rows = 0
	if w.group == nil {
		return nil
	}
	return w.group.Close()
}

// close writes the footer.
func (w *parquetWriter) close() error {
	if err := w.closeGroup(); err != nil {
		return err
	}
	return w.file.Close()
}

// indexRows is after how many rows a string column's page is closed. Until then v17 keeps 4 bytes a row, which rare stages hold
// for as long as their row group takes to fill.
const indexRows = 8 * BatchRows

// runColumn writes one string column of one row group.
type runColumn struct {
	out      *file.ByteArrayColumnChunkWriter
	nullable bool
	index    map[string]int32 // of the values in the dictionary
	rows     int              // in the page
	scratch  []int32
}

// dictionaryEncoder is the part of v17's internal encoder that says how many values it holds.
type dictionaryEncoder interface{ NumEntries() int }

func (c *runColumn) write(a *array.RunEndEncoded, l *levels) error {
	ends, values := a.RunEndsArr().(*array.Int32), a.Values().(*array.String)
	from := 0
	for run := range ends.Len() {
		n := int(ends.Value(run)) - from
		from += n
		var err error
		if values.IsNull(run) {
			_, err = c.out.WriteBatch(nil, l.absent[:n], nil)
		} else {
			err = c.writeRun(values.Value(run), n, l)
		}
		if err != nil {
			return err
		}
	}
	if c.rows += from; c.rows < indexRows {
		return nil
	}
	c.rows = 0
	return c.out.FlushCurrentPage()
}

// writeRun writes n times v: the first through the dictionary encoder, which takes it up, the others as its index.
func (c *runColumn) writeRun(v string, n int, l *levels) error {
	present := func(n int) []int16 {
		if c.nullable {
			return l.present[:n]
		}
		return nil
	}
	index, known := c.index[v]
	if !known {
		v = strings.Clone(v) // statistics and index keep it; the batch's memory goes back to its allocator
		if _, err := c.out.WriteBatch([]parquet.ByteArray{parquet.ByteArray(v)}, present(1), nil); err != nil {
			return err
		}
		n--
	}
	dictionary, ok := c.out.CurrentEncoder().(dictionaryEncoder)
	if !ok { // the dictionary outgrew its page: this group goes on without one
		clear(c.index)
		rest := make([]parquet.ByteArray, n)
		for i := range rest {
			rest[i] = parquet.ByteArray(v)
		}
		_, err := c.out.WriteBatch(rest, present(n), nil)
		return err
	}
	if !known {
		index = int32(dictionary.NumEntries() - 1)
		c.index[v] = index
	}
	if n == 0 {
		return nil
	}
	c.scratch = c.scratch[:0]
	for range n {
		c.scratch = append(c.scratch, index)
	}
	buffer := memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(c.scratch))
	data := array.NewData(arrow.PrimitiveTypes.Int32, n, []*memory.Buffer{nil, buffer}, nil, 0, 0)
	defer data.Release()
	indices := array.NewInt32Data(data)
	defer indices.Release()
	c.out.PageStatistics().IncNumValues(int64(n)) // WriteDictIndices leaves statistics to its caller
	return c.out.WriteDictIndices(indices, present(n), nil)
}
