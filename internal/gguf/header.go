package gguf

import (
	"encoding/binary"
	"math"
)

const (
	version   = 3
	alignment = 32 // of the weights and of each tensor in them, bytes: the format's default

	// value types of the format
	typeUint32  = 4
	typeInt32   = 5
	typeFloat32 = 6
	typeBool    = 7
	typeString  = 8
	typeArray   = 9

	weightF32  = 0 // ggml's number for tensors of F32
	fileAllF32 = 0 // llama.cpp's number for files of F32
)

// chatTemplate writes each message under its role. It exists because llama.cpp refuses chat to a model without one.
const chatTemplate = `{% for m in messages %}{{ '<|' + m['role'] + '|>
' + m['content'] + '
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>
' }}{% endif %}`

func align(n int) int { return (n + alignment - 1) / alignment * alignment }

// header is everything before the weights: counts, metadata, and each tensor's shape and offset.
func (m Model) header(tensors []tensor) []byte {
	meta := m.metadata()
	head := append([]byte(nil), "GGUF"...)
	head = binary.LittleEndian.AppendUint32(head, version)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(tensors)))
	head = binary.LittleEndian.AppendUint64(head, meta.count)
	head = append(head, meta.encoded...)
	offset := 0
	for _, t := range tensors {
		head = appendTensorInfo(head, t, offset)
		offset += align(t.bytes())
	}
	return append(head, make([]byte, align(len(head))-len(head))...)
}

func (m Model) metadata() *metadata {
	v := newVocabulary()
	meta := &metadata{}
	meta.string("general.architecture", "llama")
	meta.string("general.name", "tracer-tiny-random")
	meta.uint32("general.file_type", fileAllF32)
	meta.uint32("llama.context_length", m.Context)
	meta.uint32("llama.embedding_length", m.Dim)
	meta.uint32("llama.block_count", m.Layers)
	meta.uint32("llama.feed_forward_length", m.FFN)
	meta.uint32("llama.attention.head_count", m.Heads)
	meta.uint32("llama.attention.head_count_kv", m.KVHeads)
	meta.float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
	meta.uint32("llama.rope.dimension_count", m.headDim())
	meta.float32("llama.rope.freq_base", 10000)
	meta.uint32("llama.vocab_size", len(v.tokens))
	meta.string("tokenizer.ggml.model", "gpt2")
	meta.string("tokenizer.ggml.pre", "gpt-2")
	meta.strings("tokenizer.ggml.tokens", v.tokens)
	meta.int32s("tokenizer.ggml.token_type", v.types)
	meta.strings("tokenizer.ggml.merges", v.merges)
	meta.uint32("tokenizer.ggml.bos_token_id", v.end())
	meta.uint32("tokenizer.ggml.eos_token_id", v.end())
	meta.bool("tokenizer.ggml.add_bos_token", false)
	meta.string("tokenizer.chat_template", chatTemplate)
	return meta
}

// metadata is the encoded list of key-value pairs and their number, which the file wants before them.
type metadata struct {
	count   uint64
	encoded []byte
}

func (d *metadata) key(key string, valueType uint32) {
	d.count++
	d.encoded = appendString(d.encoded, key)
	d.encoded = binary.LittleEndian.AppendUint32(d.encoded, valueType)
}

func (d *metadata) array(key string, elementType uint32, length int) {
	d.key(key, typeArray)
	d.encoded = binary.LittleEndian.AppendUint32(d.encoded, elementType)
	d.encoded = binary.LittleEndian.AppendUint64(d.encoded, uint64(length))
}

func (d *metadata) uint32(key string, v int) {
	d.key(key, typeUint32)
	d.encoded = binary.LittleEndian.AppendUint32(d.encoded, uint32(v))
}

func (d *metadata) float32(key string, v float32) {
	d.key(key, typeFloat32)
	d.encoded = binary.LittleEndian.AppendUint32(d.encoded, math.Float32bits(v))
}

func (d *metadata) bool(key string, v bool) {
	d.key(key, typeBool)
	b := byte(0)
	if v {
		b = 1
	}
	d.encoded = append(d.encoded, b)
}

func (d *metadata) string(key, v string) {
	d.key(key, typeString)
	d.encoded = appendString(d.encoded, v)
}

func (d *metadata) strings(key string, v []string) {
	d.array(key, typeString, len(v))
	for _, s := range v {
		d.encoded = appendString(d.encoded, s)
	}
}

func (d *metadata) int32s(key string, v []int32) {
	d.array(key, typeInt32, len(v))
	for _, n := range v {
		d.encoded = binary.LittleEndian.AppendUint32(d.encoded, uint32(n))
	}
}

func appendString(to []byte, s string) []byte {
	to = binary.LittleEndian.AppendUint64(to, uint64(len(s)))
	return append(to, s...)
}

func appendTensorInfo(to []byte, t tensor, offset int) []byte {
	to = appendString(to, t.name)
	dimensions := []int{t.in, t.out}
	if t.out == 0 {
		dimensions = dimensions[:1]
	}
	to = binary.LittleEndian.AppendUint32(to, uint32(len(dimensions)))
	for _, d := range dimensions {
		to = binary.LittleEndian.AppendUint64(to, uint64(d))
	}
	to = binary.LittleEndian.AppendUint32(to, weightF32)
	return binary.LittleEndian.AppendUint64(to, uint64(offset))
}
