package gguf

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var small = Model{Layers: 2, Dim: 32, FFN: 48, Heads: 4, KVHeads: 2, Context: 128, Seed: 1}

func TestFileParsesBack(t *testing.T) {
	r := &reader{t: t, rest: encode(t, small)}
	if magic := string(r.take(4)); magic != "GGUF" {
		t.Fatalf("magic %q", magic)
	}
	if v := r.uint32(); v != 3 {
		t.Fatalf("version %d", v)
	}
	tensors, keys := r.uint64(), r.uint64()
	if tensors != 3+9*2 || keys != 22 {
		t.Fatalf("%d tensors and %d keys, want 21 and 22", tensors, keys)
	}

	meta := map[string]any{}
	for range keys {
		key := r.string()
		meta[key] = r.value(r.uint32())
	}
	for key, want := range map[string]any{
		"general.architecture":          "llama",
		"llama.block_count":             uint32(2),
		"llama.attention.head_count_kv": uint32(2),
		"llama.rope.dimension_count":    uint32(8),
		"llama.vocab_size":              uint32(959),
		"tokenizer.ggml.eos_token_id":   uint32(958),
		"tokenizer.ggml.tokens":         uint64(959),
		"tokenizer.ggml.token_type":     uint64(959),
		"tokenizer.ggml.merges":         uint64(702),
		"tokenizer.ggml.add_bos_token":  false,
	} {
		if meta[key] != want {
			t.Errorf("%s is %v, want %v", key, meta[key], want)
		}
	}

	var next uint64
	for range tensors {
		name, bytes := r.string(), uint64(4)
		for range r.uint32() {
			bytes *= r.uint64()
		}
		kind, offset := r.uint32(), r.uint64()
		if kind != weightF32 || offset != next {
			t.Fatalf("%s has type %d at %d, want %d at %d", name, kind, offset, weightF32, next)
		}
		next += uint64(align(int(bytes)))
	}
	r.take(align(r.read) - r.read)
	if uint64(len(r.rest)) != next {
		t.Fatalf("%d bytes of weights, tensors add up to %d", len(r.rest), next)
	}
}

func TestSameSeedGivesSameBytes(t *testing.T) {
	first := encode(t, small)
	if !bytes.Equal(first, encode(t, small)) {
		t.Error("two writes of one model differ")
	}
	other := small
	other.Seed++
	if bytes.Equal(first, encode(t, other)) {
		t.Error("two seeds give the same weights")
	}
	// Files are cached under a name that holds Revision, so other bytes under the same Revision would go unnoticed.
	const digest = "7b6716c1540ef823c4305f76313953bc36e81be35e386509104d74f3b673be17"
	if got := sha256.Sum256(first); hex.EncodeToString(got[:]) != digest {
		t.Errorf("the model of revision %d is now written as %x: raise Revision and mend this digest", Revision, got)
	}
}

func TestImpossibleShapesAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Model)
		want   string
	}{
		"no layers":       {func(m *Model) { m.Layers = 0 }, "layers 0"},
		"too wide":        {func(m *Model) { m.FFN = 1 << 30 }, "ffn 1073741824"},
		"uneven heads":    {func(m *Model) { m.Heads = 3 }, "3 heads of an even size"},
		"odd head size":   {func(m *Model) { m.Heads = 32 }, "32 heads of an even size"},
		"uneven kv heads": {func(m *Model) { m.KVHeads = 3 }, "share 3 key"},
	} {
		t.Run(name, func(t *testing.T) {
			m := small
			test.change(&m)
			if _, err := m.WriteTo(&bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error about %q", err, test.want)
			}
		})
	}
}

func TestFailedWriteLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	bad := small
	bad.Heads = 3
	if err := bad.WriteFile(filepath.Join(dir, "model.gguf")); err == nil {
		t.Error("an impossible model was written")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v (%v)", left, err)
	}
	if _, err := small.WriteTo(fullDisk{}); !errors.Is(err, errFull) {
		t.Errorf("writing to a full disk: %v", err)
	}
}

var errFull = errors.New("no space left")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func encode(t *testing.T, m Model) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := m.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("wrote %d bytes, reported %d: %v", b.Len(), n, err)
	}
	return b.Bytes()
}

// reader is the other half of the format, kept apart from the writer so that the two check each other.
type reader struct {
	t    *testing.T
	rest []byte
	read int
}

func (r *reader) take(n int) []byte {
	r.t.Helper()
	if n > len(r.rest) {
		r.t.Fatalf("file ends %d bytes early at byte %d", n-len(r.rest), r.read)
	}
	b := r.rest[:n]
	r.rest, r.read = r.rest[n:], r.read+n
	return b
}

func (r *reader) uint32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) uint64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) string() string { return string(r.take(int(r.uint64()))) }

// value is a scalar, or the length of an array.
func (r *reader) value(kind uint32) any {
	switch kind {
	case typeUint32, typeInt32, typeFloat32:
		return r.uint32()
	case typeBool:
		return r.take(1)[0] == 1
	case typeString:
		return r.string()
	case typeArray:
		element, length := r.uint32(), r.uint64()
		for range length {
			r.value(element)
		}
		return length
	default:
		r.t.Fatalf("unknown value type %d at byte %d", kind, r.read)
		return nil
	}
}
