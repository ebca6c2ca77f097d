// Package gguf writes language models of random weights in GGUF v3, the file format of llama.cpp. Such a model says
// nothing sensible, but it is served, tokenised, prefilled and decoded like any other, so that tests can meet a real
// server without downloading anybody's weights. The same Model and seed always give the same bytes.
//
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// Revision changes whenever the same Model comes to be written as other bytes; files kept under a name derived from the
// Model carry it in that name.
const Revision = 1

// Model is the shape of a LLaMA-architecture model and the seed of its weights.
type Model struct {
	Layers  int    // transformer blocks
	Dim     int    // width of the residual stream
	FFN     int    // width of the feed-forward layer
	Heads   int    // query heads; divides Dim into an even head size
	KVHeads int    // key and value heads; divides Heads
	Context int    // trained context length, tokens
	Seed    uint64 // seed of the weights
}

// Tiny is 15 million weights, 61 MB. On two cores of a server CPU llama.cpp prefills 1,000 tokens of it in 0.8 s and
// decodes on one core in 6 ms a token: both stages are long against a sampling period of 20 ms, and a test is still over
// in seconds.
var Tiny = Model{Layers: 6, Dim: 512, FFN: 1024, Heads: 8, KVHeads: 4, Context: 8192, Seed: 1}

// Check says what keeps the shape from being a model.
func (m Model) Check() error {
	for _, size := range []struct {
		name  string
		value int
	}{
		{"layers", m.Layers}, {"dim", m.Dim}, {"ffn", m.FFN}, {"heads", m.Heads}, {"kv", m.KVHeads}, {"ctx", m.Context},
	} {
		if size.value < 1 || size.value > 1<<20 {
			return fmt.Errorf("%s %d is not between 1 and %d", size.name, size.value, 1<<20)
		}
	}
	switch {
	case m.Dim%m.Heads != 0 || m.headDim()%2 != 0: // rotary embedding turns pairs of dimensions
		return fmt.Errorf("dim %d does not give %d heads of an even size", m.Dim, m.Heads)
	case m.Heads%m.KVHeads != 0:
		return fmt.Errorf("%d heads cannot share %d key and value heads evenly", m.Heads, m.KVHeads)
	}
	return nil
}

func (m Model) headDim() int { return m.Dim / m.Heads }

// WriteTo writes the whole file.
func (m Model) WriteTo(w io.Writer) (int64, error) {
	if err := m.Check(); err != nil {
		return 0, err
	}
	tensors := m.tensors()
	head := m.header(tensors)
	out := bufio.NewWriterSize(w, 1<<20)
	written := int64(len(head))
	out.Write(head) // a bufio.Writer keeps its first error for Flush
	random := rand.New(rand.NewPCG(m.Seed, 0))
	for _, t := range tensors {
		t.writeWeights(out, random)
		written += int64(align(t.bytes()))
	}
	if err := out.Flush(); err != nil {
		return 0, fmt.Errorf("writing model: %w", err)
	}
	return written, nil
}

// WriteFile writes the model under a temporary name and renames it, so that path never holds half a model.
func (m Model) WriteFile(path string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("creating model file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = m.WriteTo(f); err != nil {
		_ = f.Close()
		return err
	}
	if err = f.Close(); err != nil {
		return fmt.Errorf("closing model file: %w", err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("publishing model file: %w", err)
	}
	return nil
}

// tensor is one matrix of in columns and out rows, or with out 0 a vector. Weights are F32: on a CPU decode is bound by
// memory and prefill by arithmetic, so that wide weights give the longest decode for a given prefill.
type tensor struct {
	name    string
	in, out int
	std     float64 // standard deviation of the weights; 0: all weights are 1
}

func (t tensor) weights() int { return t.in * max(t.out, 1) }
func (t tensor) bytes() int   { return 4 * t.weights() }

func (t tensor) writeWeights(w *bufio.Writer, random *rand.Rand) {
	var word [4]byte
	for range t.weights() {
		weight := 1.0
		if t.std != 0 {
			weight = random.NormFloat64() * t.std
		}
		binary.LittleEndian.PutUint32(word[:], math.Float32bits(float32(weight)))
		w.Write(word[:])
	}
	w.Write(make([]byte, align(t.bytes())-t.bytes()))
}

// tensors lists the weights by the names llama.cpp knows them by. A matrix scaled by 1/√in keeps the variance of what
// it multiplies, so that activations neither vanish nor overflow whatever the depth.
func (m Model) tensors() []tensor {
	matrix := func(name string, in, out int) tensor { return tensor{name, in, out, 1 / math.Sqrt(float64(in))} }
	norm := func(name string) tensor { return tensor{name: name, in: m.Dim} }
	vocabulary, kv := vocabularySize, m.KVHeads*m.headDim()

	all := []tensor{{"token_embd.weight", m.Dim, vocabulary, 1}}
	for layer := range m.Layers {
		block := fmt.Sprintf("blk.%d.", layer)
		all = append(all,
			norm(block+"attn_norm.weight"),
			matrix(block+"attn_q.weight", m.Dim, m.Dim),
			matrix(block+"attn_k.weight", m.Dim, kv),
			matrix(block+"attn_v.weight", m.Dim, kv),
			matrix(block+"attn_output.weight", m.Dim, m.Dim),
			norm(block+"ffn_norm.weight"),
			matrix(block+"ffn_gate.weight", m.Dim, m.FFN),
			matrix(block+"ffn_up.weight", m.Dim, m.FFN),
			matrix(block+"ffn_down.weight", m.FFN, m.Dim),
		)
	}
	return append(all, norm("output_norm.weight"), matrix("output.weight", m.Dim, vocabulary))
}
