package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/parquet/file" //nolint:depguard // a tool that rewrites footers; no station imports it
	"github.com/klauspost/compress/zstd"
)

// Parquet's page types, and its magic.
const (
	dataPageV1     = 0
	dictionaryPage = 2
	dataPageV2     = 3
	magic          = "PAR1"
)

// splicer puts another run's name in the place of a run's, of the same length, into Parquet files: pages that hold it are
// compressed anew, all others are copied as they are. That costs a hundredth of encoding the rows again.
type splicer struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newSplicer() (*splicer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithZeroFrames(true), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	return &splicer{enc, dec}, err
}

// file is a Parquet file's bytes with was replaced by is.
func (s *splicer) file(body []byte, was, is string) ([]byte, error) {
	if len(was) != len(is) {
		return nil, fmt.Errorf("%q and %q differ in length, which statistics and plain values show", was, is)
	}
	r, err := file.NewParquetReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	meta := r.MetaData()
	out := bytes.NewBuffer(make([]byte, 0, len(body)+len(body)/50))
	out.WriteString(magic)
	for _, group := range meta.RowGroups {
		group.TotalCompressedSize = nil
		group.FileOffset = nil
		for _, c := range group.Columns {
			m := c.MetaData
			from, data := m.DataPageOffset, int64(out.Len())
			if m.DictionaryPageOffset != nil {
				from = min(from, *m.DictionaryPageOffset)
			}
			first, err := s.chunk(out, body[from:from+m.TotalCompressedSize], []byte(was), []byte(is))
			if err != nil {
				return nil, fmt.Errorf("column %v: %w", m.PathInSchema, err)
			}
			if m.DictionaryPageOffset != nil {
				dictionary := data
				m.DictionaryPageOffset, data = &dictionary, data+first
			}
			m.DataPageOffset, m.TotalCompressedSize = data, int64(out.Len())-data
			if m.DictionaryPageOffset != nil {
				m.TotalCompressedSize += first
			}
			c.FileOffset = int64(out.Len())
			if st := m.Statistics; st != nil {
				for _, v := range []*[]byte{&st.Min, &st.Max, &st.MinValue, &st.MaxValue} {
					*v = bytes.ReplaceAll(*v, []byte(was), []byte(is))
				}
			}
		}
	}
	footer, err := meta.WriteTo(out, nil)
	if err != nil {
		return nil, err
	}
	out.Write(binary.LittleEndian.AppendUint32(nil, uint32(footer)))
	out.WriteString(magic)
	return out.Bytes(), nil
}

// chunk copies a column's pages; first is the length of the first one.
func (s *splicer) chunk(out *bytes.Buffer, pages, was, is []byte) (first int64, err error) {
	begin := out.Len()
	for len(pages) > 0 {
		h, err := readHeader(pages)
		if err != nil {
			return 0, err
		}
		body := pages[h.length : h.length+h.compressed]
		if err := s.page(out, pages[:h.length], body, h, was, is); err != nil {
			return 0, err
		}
		if first == 0 {
			first = int64(out.Len() - begin)
		}
		pages = pages[h.length+h.compressed:]
	}
	return first, nil
}

func (s *splicer) page(out *bytes.Buffer, head, body []byte, h header, was, is []byte) error {
	plain := body[h.levels:]
	if h.zstd {
		var err error
		if plain, err = s.dec.DecodeAll(plain, nil); err != nil {
			return err
		}
	}
	if !bytes.Contains(plain, was) && !bytes.Contains(head, was) {
		out.Write(head)
		out.Write(body)
		return nil
	}
	plain = bytes.ReplaceAll(plain, was, is)
	if h.zstd {
		plain = s.enc.EncodeAll(plain, nil)
	}
	out.Write(head[:h.sizeAt])
	out.Write(binary.AppendVarint(nil, int64(h.levels+len(plain))))
	out.Write(bytes.ReplaceAll(head[h.sizeAt+h.sizeLen:], was, is))
	out.Write(body[:h.levels])
	out.Write(plain)
	return nil
}

// header is what is needed of a page's header, in Thrift's compact protocol.
type header struct {
	length, compressed int
	sizeAt, sizeLen    int  // where the compressed size stands in it
	levels             int  // bytes before the values that are not compressed
	zstd               bool // the values are compressed
}

func readHeader(p []byte) (h header, err error) {
	t := thrift{p: p}
	h.zstd = true
	kind := int64(-1)
	t.fields(func(id int16, typ byte) {
		switch {
		case id == 1:
			kind = t.varint()
		case id == 3:
			h.sizeAt = t.at
			h.compressed = int(t.varint())
			h.sizeLen = t.at - h.sizeAt
		case id == 8: // the header of a data page, version 2
			t.fields(func(id int16, typ byte) {
				switch id {
				case 5, 6:
					h.levels += int(t.varint())
				case 7:
					h.zstd = typ == 1
				default:
					t.skip(typ)
				}
			})
		default:
			t.skip(typ)
		}
	})
	h.length = t.at
	if known := kind == dataPageV1 || kind == dictionaryPage || kind == dataPageV2; !known || t.failed || h.length+h.compressed > len(p) || h.levels > h.compressed {
		return h, errors.New("a page's header cannot be read")
	}
	return h, nil
}

// thrift reads the compact protocol, as far as page headers use it.
type thrift struct {
	p      []byte
	at     int
	failed bool
}

func (t *thrift) byte() byte {
	if t.at >= len(t.p) {
		t.failed = true
		return 0
	}
	t.at++
	return t.p[t.at-1]
}

func (t *thrift) uvarint() uint64 {
	v, n := binary.Uvarint(t.p[min(t.at, len(t.p)):])
	if n <= 0 {
		t.failed, n = true, 0
	}
	t.at += n
	return v
}

func (t *thrift) varint() int64 {
	v := t.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (t *thrift) fields(field func(id int16, typ byte)) {
	for id := int16(0); !t.failed; {
		b := t.byte()
		if b == 0 {
			return
		}
		if delta := int16(b >> 4); delta > 0 {
			id += delta
		} else {
			id = int16(t.varint())
		}
		field(id, b&0xf)
	}
}

func (t *thrift) skip(typ byte) {
	switch typ {
	case 1, 2: // a truth value stands in its type
	case 3:
		t.byte()
	case 4, 5, 6:
		t.uvarint()
	case 8:
		n := int(t.uvarint())
		if n > len(t.p)-t.at {
			t.failed = true
			return
		}
		t.at += n
	case 12:
		t.fields(func(_ int16, typ byte) { t.skip(typ) })
	default:
		t.failed = true
	}
}
