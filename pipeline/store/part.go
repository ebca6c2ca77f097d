package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/llm-tracer/tracer/schema"
)

// Sizes of what is written.
const (
	BatchRows = 4096      // encoded together: fewer at a time halve the encoder's speed
	PartBytes = 128 << 20 // a part is closed once it is this large
)

// Part is one Parquet file being written under _tracer/tmp.
type Part[R any] struct {
	path    string // relative to the dataset, where it will be published
	tmp     *os.File
	out     *hashed
	parquet *parquetWriter
	builder *schema.Builder[R]
	pending []R
	rows    int64
}

// hashed counts and digests what passes through.
type hashed struct {
	w   io.Writer
	sum hash.Hash
	n   int64
	err error // the first: the encoder on top does not always pass it on
}

func (h *hashed) Write(p []byte) (int, error) {
	n, err := h.w.Write(p)
	h.n += int64(n)
	h.sum.Write(p[:n])
	h.err = cmp.Or(h.err, err)
	return n, err
}

// failed is what went wrong while writing, in the file system's words where it was the file system.
func (h *hashed) failed(what, path string, err error) error {
	return fmt.Errorf("%s %s: %w", what, path, cmp.Or(h.err, err))
}

// partName does not end in .parquet: no reader's glob finds it.
func partName(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:8]) + ".part"
}

// tmp is where a file stands until it is published.
func (r Run) tmp(path string) string { return filepath.Join(r.Tmp(), partName(path)) }

// CreatePart begins a file in tmpDir that is to be published at path.
func CreatePart[R any](t schema.Table[R], mem memory.Allocator, tmpDir, path string) (*Part[R], error) {
	f, err := os.OpenFile(filepath.Join(tmpDir, partName(path)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("creating a part of %s: %w", t.Name, err)
	}
	out := &hashed{w: f, sum: sha256.New()}
	w, err := newParquetWriter(out, t, mem)
	if err != nil {
		_ = f.Close()
		return nil, out.failed("starting a part of", t.Name, err)
	}
	return &Part[R]{path: path, tmp: f, out: out, parquet: w, builder: t.NewBuilder(mem)}, nil
}

// Add takes one row; every BatchRows of them are encoded.
func (p *Part[R]) Add(row *R) error {
	p.pending = append(p.pending, *row)
	if len(p.pending) < BatchRows {
		return nil
	}
	return p.encode()
}

func (p *Part[R]) encode() error {
	if len(p.pending) == 0 {
		return nil
	}
	p.builder.Reserve(len(p.pending))
	p.builder.Append(p.pending)
	p.rows += int64(len(p.pending))
	p.pending = p.pending[:0]
	record := p.builder.NewRecord()
	defer record.Release()
	return p.encoded(record)
}

// AddBatch takes up to BatchRows rows in the layout of the table's builder.
func (p *Part[R]) AddBatch(record arrow.Record) error {
	if err := p.encode(); err != nil {
		return err
	}
	p.rows += record.NumRows()
	return p.encoded(record)
}

func (p *Part[R]) encoded(record arrow.Record) error {
	if err := p.parquet.write(record); err != nil {
		return p.out.failed("writing", p.path, err)
	}
	return nil
}

// Full says that the part has reached its size.
func (p *Part[R]) Full() bool { return p.out.n >= PartBytes }

// Finish writes the footer and syncs the file; it is then whole, but not yet published.
func (p *Part[R]) Finish() (File, error) {
	defer p.builder.Release()
	if err := p.encode(); err != nil {
		return File{}, err
	}
	if err := p.parquet.close(); err != nil || p.out.err != nil {
		return File{}, p.out.failed("closing", p.path, err)
	}
	if err := p.tmp.Sync(); err != nil {
		return File{}, fmt.Errorf("syncing %s: %w", p.path, err)
	}
	if err := p.tmp.Close(); err != nil {
		return File{}, fmt.Errorf("closing %s: %w", p.path, err)
	}
	return File{Path: p.path, Rows: p.rows, Bytes: p.out.n, SHA256: hex.EncodeToString(p.out.sum.Sum(nil))}, nil
}

// Discard gives the part up. Its file stays for whoever clears the folder.
func (p *Part[R]) Discard() { _ = p.tmp.Close() }

// WriteFile writes a small table whole.
func WriteFile[R any](tmp string, t schema.Table[R], path string, rows []R) (File, error) {
	out, err := CreatePart(t, memory.DefaultAllocator, tmp, path)
	if err != nil {
		return File{}, err
	}
	for i := range rows {
		if err := out.Add(&rows[i]); err != nil {
			return File{}, err
		}
	}
	return out.Finish()
}
