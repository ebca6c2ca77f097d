package sim

import (
	"fmt"
	"strings"

	"github.com/llm-tracer/tracer/internal/catalog"
)

const (
	// usableMemory is the share of a board's memory that a server takes for weights, keys and values: vLLM's default
	// gpu_memory_utilization.
	usableMemory = 0.9
	// longestContext is how many tokens, prompt and answer, one request may have: room for the longest published prompt
	// and answer. Real models stop at their own limits (Llama-3-8B at 8,192).
	longestContext = 20_000
	// shortestContext is what a board must hold beside the weights to be of use.
	shortestContext = 2048
	// mostSequences is how many requests run together: vLLM's default max_num_seqs.
	mostSequences = 256
)

// room is how many tokens of keys and values fit beside the weights; negative where the weights alone do not fit.
func room(b catalog.Board, m catalog.Model) int {
	return int((usableMemory*b.MemoryGB*1e9 - m.WeightBytes()) / m.KVBytesPerToken())
}

// Fits says whether a board can serve a model: nil, or an error that names what would fit instead.
func Fits(b catalog.Board, m catalog.Model) error {
	if room(b, m) >= shortestContext {
		return nil
	}
	var boards, models []string
	for _, other := range catalog.Boards() {
		if room(other, m) >= shortestContext {
			boards = append(boards, other.Name)
		}
	}
	for _, other := range catalog.Models() {
		if room(b, other) >= shortestContext {
			models = append(models, other.Name)
		}
	}
	return fmt.Errorf("%s (%.0f GB of weights in bf16) does not fit on %s (%.0f GB, %.0f %% of it usable): "+
		"take one of the boards %s, or one of the models %s", m.Name, m.WeightBytes()/1e9, b.Name, b.MemoryGB,
		100*usableMemory, list(boards), list(models))
}

func list(names []string) string {
	if len(names) == 0 {
		return "(none)"
	}
	return strings.Join(names, ", ")
}
