// Package catalog is the one table of boards and models that simulation and planning draw on.
//
// Sources of the boards: vendor datasheets for memory, bandwidth, dense bf16 rate and TDP. Idle watts are readings from
// public notes with no model loaded; they vary by several watts between specimens. Sources of the models: the config.json
// that each publisher ships (layers, hidden size, key-value heads, head dimension) and its stated parameter count.
package catalog

import (
	"fmt"
	"slices"
	"strings"
)

// Board is one GPU product.
type Board struct {
	Name         string  // as in sim:NAME; the simulated board calls itself sim-NAME
	Architecture string  // ampere-ga100, ampere-ga10x, ada, hopper, blackwell
	MemoryGB     float64 // 10⁹ bytes
	BandwidthGBs float64 // 10⁹ bytes per second
	BF16TFLOPs   float64 // dense, no sparsity
	TDPW         float64
	IdleW        float64 // no model loaded
	Cores        int32   // CUDA cores
	MaxSMMHz     int32
	MaxMemMHz    int32
}

// Model is one language model, in bf16.
type Model struct {
	Name    string // as its publisher writes it
	Params  float64
	Layers  int
	Hidden  int
	KVHeads int
	HeadDim int
}

// WeightBytes is the size of the weights in bf16.
func (m Model) WeightBytes() float64 { return 2 * m.Params }

// KVBytesPerToken is the size of one token's keys and values in bf16.
func (m Model) KVBytesPerToken() float64 { return 2 * 2 * float64(m.Layers*m.KVHeads*m.HeadDim) }

var boards = []Board{
	{"A10", "ampere-ga10x", 24, 600, 125, 150, 20, 9216, 1695, 6251},
	{"A100-40", "ampere-ga100", 40, 1555, 312, 400, 55, 6912, 1410, 1215},
	{"A100-80", "ampere-ga100", 80, 2039, 312, 400, 62, 6912, 1410, 1593},
	{"H100-PCIe", "hopper", 80, 2000, 756, 350, 80, 14592, 1755, 1593},
	{"H100-SXM", "hopper", 80, 3350, 989, 700, 95, 16896, 1980, 2619},
	{"H200", "hopper", 141, 4800, 989, 700, 80, 16896, 1980, 3201},
	{"L4", "ada", 24, 300, 121, 72, 13, 7424, 2040, 6251},
	{"L40S", "ada", 48, 864, 362, 350, 45, 18176, 2520, 9001},
	{"B200", "blackwell", 180, 7700, 2250, 1000, 130, 18944, 1965, 3996},
}

var models = []Model{
	{"meta-llama/Llama-2-7b", 6.74e9, 32, 4096, 32, 128},
	{"mistralai/Mistral-7B-v0.1", 7.24e9, 32, 4096, 8, 128},
	{"meta-llama/Meta-Llama-3-8B", 8.03e9, 32, 4096, 8, 128},
	{"meta-llama/Llama-2-13b", 13.0e9, 40, 5120, 40, 128},
	{"Qwen/Qwen2.5-14B", 14.8e9, 48, 5120, 8, 128},
	{"Qwen/Qwen2.5-32B", 32.8e9, 64, 5120, 8, 128},
	{"meta-llama/Meta-Llama-3-70B", 70.6e9, 80, 8192, 8, 128},
}

// DefaultModel is what the simulated server serves unless told otherwise.
const DefaultModel = "meta-llama/Meta-Llama-3-8B"

// BoardByName finds a board, whatever the case of its letters.
func BoardByName(name string) (Board, error) {
	return byName("simulated board", boards, name, func(b Board) string { return b.Name })
}

// ModelByName finds a model, whatever the case of its letters.
func ModelByName(name string) (Model, error) {
	return byName("simulated model", models, name, func(m Model) string { return m.Name })
}

// Boards lists every board.
func Boards() []Board { return slices.Clone(boards) }

// Models lists every model.
func Models() []Model { return slices.Clone(models) }

func byName[T any](kind string, all []T, name string, of func(T) string) (T, error) {
	i := slices.IndexFunc(all, func(v T) bool { return strings.EqualFold(of(v), name) })
	if i >= 0 {
		return all[i], nil
	}
	names := make([]string, len(all))
	for i, v := range all {
		names[i] = of(v)
	}
	var none T
	return none, fmt.Errorf("no %s %q; there are %s", kind, name, strings.Join(names, ", "))
}
