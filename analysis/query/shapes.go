package query

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/apache/thrift/lib/go/thrift"
)

// shape is the part of a Parquet file's footer that says which columns it has: files with the same bytes there can be read
// together without DuckDB looking into each beforehand, and keeping what it found.
type shape string

// shaped puts a table's files into groups of one shape, in the order of the files.
func shaped(ctx context.Context, files []string) (groups [][]string, err error) {
	at := map[shape]int{}
	for _, path := range files {
		s, err := shapeOf(ctx, path)
		if err != nil {
			return nil, err
		}
		i, known := at[s]
		if !known {
			i = len(groups)
			at[s], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], path)
	}
	return groups, nil
}

// shapeOf reads a file's footer. DuckDB looks into the first file of a group alone; so what is no Parquet file is found here.
func shapeOf(ctx context.Context, path string) (shape, error) {
	footer, err := footerOf(path)
	if err == nil {
		var s []byte
		if s, err = columnsIn(ctx, footer); err == nil {
			return shape(s), nil
		}
	}
	if os.IsNotExist(err) || os.IsPermission(err) {
		return "", err
	}
	return "", fmt.Errorf("reading the file '%s': %w", path, err)
}

var errNoParquet = errors.New("it is no Parquet file: its end is not one's")

// footerOf is what stands before the last eight bytes of a Parquet file, which say how long it is.
func footerOf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	is, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var end [8]byte
	if _, err := f.ReadAt(end[:], max(0, is.Size()-int64(len(end)))); err != nil {
		return nil, errNoParquet
	}
	before := is.Size() - int64(len(end))
	length := int64(binary.LittleEndian.Uint32(end[:]))
	if string(end[4:]) != "PAR1" || length > before {
		return nil, errNoParquet
	}
	footer := make([]byte, length)
	_, err = f.ReadAt(footer, before-length)
	return footer, err
}

// columnsIn are the bytes of a footer's second field, the schema: a list of the columns with their types.
func columnsIn(ctx context.Context, footer []byte) ([]byte, error) {
	const schemaField = 2
	left := bytes.NewBuffer(footer)
	p := thrift.NewTCompactProtocolConf(&thrift.TMemoryBuffer{Buffer: left}, nil)
	if _, err := p.ReadStructBegin(ctx); err != nil {
		return nil, err
	}
	for {
		_, kind, id, err := p.ReadFieldBegin(ctx)
		switch {
		case err != nil:
			return nil, err
		case kind == thrift.STOP:
			return nil, errors.New("its footer has no schema")
		}
		from := len(footer) - left.Len()
		if err := thrift.SkipDefaultDepth(ctx, p, kind); err != nil {
			return nil, err
		}
		if id == schemaField {
			return slices.Clone(footer[from : len(footer)-left.Len()]), nil
		}
	}
}
