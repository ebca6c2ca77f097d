package sim

import (
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
)

// Efficiencies of a serving stack on a GPU. They are fitted, by the smallest greatest relative error, to the published
// latencies of one A10 serving Llama-3-8B in bf16 with vLLM 0.9.0 (testdata/SOURCE.md): within 7.7 % at every prompt size
// from 64 to 16,384 tokens and within 9.0 % at every answer length from 53 to 13,940. The published decode rows cannot be
// met closer than 8.7 %: their seconds per token differ by a fifth between two neighbouring lengths. The same four numbers
// serve every other board and model, where nothing was fitted.
const (
	computeEfficiency = 0.308 // share of the dense bf16 rate that a prefill's matrix products reach
	memoryEfficiency  = 0.624 // share of the bandwidth that reading weights and keys and values reaches
	attentionShare    = 0.43  // cost of a floating-point operation of causal attention, in those of a matrix product
	prefillOverhead   = 13e-3 // seconds a prefill costs beside the board's work: scheduling, launches, sampling
)

// Timing says how long a board works on a model.
type Timing struct {
	board catalog.Board
	model catalog.Model
}

// NewTiming is the timing of a model on a board, whether or not it fits there.
func NewTiming(b catalog.Board, m catalog.Model) Timing { return Timing{b, m} }

// Prefill is the time to read a prompt and give the first token: the overhead, and then the arithmetic over all its
// tokens or one pass over the weights, whichever takes longer.
func (t Timing) Prefill(promptTokens int) time.Duration {
	return seconds(prefillOverhead + max(t.prefillCompute(promptTokens), t.weights()))
}

// Step is the time to give one more token to each of several sequences together, which hold contextTokens between them:
// the arithmetic, or one pass over the weights and over everybody's keys and values, whichever takes longer.
func (t Timing) Step(sequences, contextTokens int) time.Duration {
	return seconds(max(t.stepCompute(sequences), t.weights()+t.context(contextTokens)))
}

// Request is the time from the start of a request that the server has to itself to its last token.
func (t Timing) Request(promptTokens, answerTokens int) time.Duration {
	total := t.Prefill(promptTokens)
	for made := 1; made < answerTokens; made++ {
		total += t.Step(1, promptTokens+made)
	}
	return total
}

// prefillCompute is the arithmetic of n tokens in seconds: two operations for each weight and token, and causal attention,
// in which each token meets half of them on average, in scores and in values: 2·layers·hidden·n² operations.
func (t Timing) prefillCompute(n int) float64 {
	tokens := float64(n)
	products := 2 * t.model.Params * tokens
	attention := 2 * float64(t.model.Layers*t.model.Hidden) * tokens * tokens
	return t.compute(products + attentionShare*attention)
}

func (t Timing) stepCompute(sequences int) float64 {
	return t.compute(2 * t.model.Params * float64(sequences))
}

func (t Timing) compute(operations float64) float64 {
	return operations / (t.board.BF16TFLOPs * 1e12 * computeEfficiency)
}

// weights is the time of one pass over the weights in seconds, and context that over the keys and values of tokens.
func (t Timing) weights() float64 { return t.memory(t.model.WeightBytes()) }

func (t Timing) context(tokens int) float64 {
	return t.memory(float64(tokens) * t.model.KVBytesPerToken())
}

func (t Timing) memory(bytes float64) float64 {
	return bytes / (t.board.BandwidthGBs * 1e9 * memoryEfficiency)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
