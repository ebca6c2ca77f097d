package sim

import (
	"strings"

	"github.com/llm-tracer/tracer/internal/catalog"
)

// Shares of the board's power limit. Two things are published: prefill draws near the limit, and the more so the longer
// the prompt, while decode draws markedly less and steadily so (POLCA, arXiv 2308.12908; Splitwise, arXiv 2311.18677).
// The numbers are assumed. Decode of one request is lower on the largest boards than here: on H100 and H200 some 20 to
// 45 % of the limit has been reported.
const (
	decodeFloor   = 0.58 // a pass over the weights: decode of one short context, or the shortest prefill
	decodeContext = 0.12 // added as contexts grow to longestContext tokens
	decodeBatch   = 0.05 // added as a batch's arithmetic comes to fill the step
	prefillPeak   = 0.97 // a prefill that is all arithmetic
)

// Shares of time. The utilisation counters saturate near 98 % in both stages; how busy the memory is, is assumed.
const (
	kernelBusy  = 0.98
	memoryFloor = 0.20 // activations, while arithmetic decides
	memorySpan  = 0.65 // added while the time is all reading
)

// loadedShare is how much of the way from idle to the limit a board draws with a model loaded and nothing to do. Boards
// with GDDR sleep deeply (P8) until a process holds a context: an A40 idles at 30 W and then at 110 W of its 300 W. Those
// with HBM never sleep, and differ by some watts. Both shares are assumed from that.
func loadedShare(architecture string) float64 {
	if architecture == "ada" || strings.HasPrefix(architecture, "ampere-ga10x") {
		return 0.25
	}
	return 0.05
}

// Level is what a board shows while it does one kind of work.
type Level struct {
	PowerW  float64
	GPUBusy float64 // share of time with a kernel running, 0 to 1
	MemBusy float64 // share of time with memory reads or writes, 0 to 1
}

// Power says what a board draws while it works on a model.
type Power struct {
	timing Timing
	board  catalog.Board
}

// NewPower is the power of a model on a board.
func NewPower(b catalog.Board, m catalog.Model) Power { return Power{NewTiming(b, m), b} }

// Bare is the board before the model is loaded.
func (p Power) Bare() Level { return Level{PowerW: p.board.IdleW} }

// Idle is the board with the model loaded and no request.
func (p Power) Idle() Level {
	return Level{PowerW: p.board.IdleW + loadedShare(p.board.Architecture)*(p.board.TDPW-p.board.IdleW)}
}

// Prefill is the board reading a prompt: between a pass over the weights and pure arithmetic, by the share of the time
// that arithmetic takes.
func (p Power) Prefill(promptTokens int) Level {
	total := p.timing.Prefill(promptTokens).Seconds()
	arithmetic := p.timing.prefillCompute(promptTokens) / total
	return p.level(decodeFloor+(prefillPeak-decodeFloor)*arithmetic, p.timing.weights()/total)
}

// Decode is the board giving a token to each of several sequences that hold contextTokens between them.
func (p Power) Decode(sequences, contextTokens int) Level {
	total := p.timing.Step(sequences, contextTokens).Seconds()
	grown := min(1, float64(contextTokens)/longestContext)
	arithmetic := p.timing.stepCompute(sequences) / total
	reading := (p.timing.weights() + p.timing.context(contextTokens)) / total
	return p.level(decodeFloor+decodeContext*grown+decodeBatch*arithmetic, reading)
}

// level has the given share of the limit, and the memory read for the given share of the time.
func (p Power) level(limit, reading float64) Level {
	return Level{
		PowerW:  limit * p.board.TDPW,
		GPUBusy: kernelBusy,
		MemBusy: memoryFloor + memorySpan*min(1, reading),
	}
}
