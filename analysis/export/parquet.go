package export

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/file"
	parquetschema "github.com/apache/arrow/go/v17/parquet/schema"
)

// groupRows is how many rows a row group has at most: as many as are held in memory.
const groupRows = 1 << 20

// parquetFile writes Parquet under a schema given to the letter: readers of these files compare types, repetition and
// annotations, which follow from Arrow's types otherwise.
type parquetFile struct{ file *file.Writer }

func required(name string, t parquet.Type) parquetschema.Node {
	return parquetschema.MustPrimitive(parquetschema.NewPrimitiveNode(name, parquet.Repetitions.Required, t, -1, -1))
}

func optional(name string, t parquet.Type) parquetschema.Node {
	return parquetschema.MustPrimitive(parquetschema.NewPrimitiveNode(name, parquet.Repetitions.Optional, t, -1, -1))
}

func optionalText(name string) parquetschema.Node {
	return parquetschema.MustPrimitive(parquetschema.NewPrimitiveNodeLogical(name, parquet.Repetitions.Optional, parquetschema.StringLogicalType{}, parquet.Types.ByteArray, -1, -1))
}

func requiredMillis(name string) parquetschema.Node {
	utc := parquetschema.NewTimestampLogicalType(true, parquetschema.TimeUnitMillis)
	return parquetschema.MustPrimitive(parquetschema.NewPrimitiveNodeLogical(name, parquet.Repetitions.Required, utc, parquet.Types.Int64, -1, -1))
}

func newParquet(w io.Writer, message string, columns parquetschema.FieldList) (p *parquetFile, err error) {
	defer func() { // v17 panics where the file's first bytes cannot be written
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	root, err := parquetschema.NewGroupNode(message, parquet.Repetitions.Required, columns, -1)
	if err != nil {
		return nil, err
	}
	properties := parquet.NewWriterProperties(parquet.WithCreatedBy("tracer"), parquet.WithRootRepetition(parquet.Repetitions.Required), parquet.WithCompression(compress.Codecs.Zstd))
	return &parquetFile{file.NewParquetWriter(w, root, file.WithWriterProps(properties))}, nil
}

// nulls is a column of so many NULLs.
type nulls int

// group writes one row group, column after column; no value of a slice is NULL.
func (p *parquetFile) group(columns ...any) error {
	group := p.file.AppendRowGroup()
	for _, values := range columns {
		to, err := group.NextColumn()
		if err != nil {
			return err
		}
		if err := errors.Join(fillColumn(to, values), to.Close()); err != nil {
			return err
		}
	}
	return group.Close()
}

func fillColumn(to file.ColumnChunkWriter, values any) (err error) {
	present := func(n int) []int16 {
		levels := make([]int16, n)
		for i := range levels {
			levels[i] = to.Descr().MaxDefinitionLevel()
		}
		return levels
	}
	switch v := values.(type) {
	case []int32:
		_, err = to.(*file.Int32ColumnChunkWriter).WriteBatch(v, present(len(v)), nil)
	case []int64:
		_, err = to.(*file.Int64ColumnChunkWriter).WriteBatch(v, present(len(v)), nil)
	case []float64:
		_, err = to.(*file.Float64ColumnChunkWriter).WriteBatch(v, present(len(v)), nil)
	case nulls:
		_, err = to.(*file.ByteArrayColumnChunkWriter).WriteBatch(nil, make([]int16, v), nil)
	}
	return err
}

func (p *parquetFile) close() error { return p.file.Close() }
