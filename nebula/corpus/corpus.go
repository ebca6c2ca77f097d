// Package corpus makes the prompts of a run: texts of exact sizes that ask for work of one kind.
//
// A prefill prompt is a long text that ends in Instruction, so that the model reads much and answers a word. A decode
// prompt asks for a long story in a few words. The built-in generator writes both from word lists of its own: it needs no
// service, costs a second for a thousand prompts, and gives the same prompts for the same Spec on every machine.
//
// Sizes are counted in tokens by the tokenizer inside the program (package tokens), before any chat template.
package corpus

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/schema"
)

// Source is what the prompts of Builtin carry as their origin.
const Source = "builtin"

// maxSize bounds a size, in tokens: ten times what any catalogued model reads.
const maxSize = 1 << 20

// Spec says which prompts to make.
type Spec struct {
	Workloads []schema.Workload
	Sizes     []int // tokens: of the prompt (prefill) or of the answer (decode)
	PerSize   int   // prompts for each workload and size
	Seed      uint64
	// ExactLength has decode requests ask the server for exactly as many tokens as the size, where it can. Without it
	// the size is a ceiling, and the model may end its story earlier.
	ExactLength bool
}

// Builtin makes the prompts of spec, ordered by workload, size and number. No two have the same text, and the prefill
// prompts of one size begin with different words, so that a server's prefix cache finds nothing to reuse. CreatedUnixMS
// stays 0: the texts follow from the spec, whenever they are made.
func Builtin(spec Spec) ([]schema.Prompt, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	prompts := make([]schema.Prompt, 0, len(spec.Workloads)*len(spec.Sizes)*spec.PerSize)
	for _, w := range spec.Workloads {
		var err error
		switch w {
		case schema.WorkloadPrefill:
			prompts, err = appendPrefill(prompts, spec)
		case schema.WorkloadDecode:
			prompts, err = appendDecode(prompts, spec)
		}
		if err != nil {
			return nil, err
		}
	}
	return prompts, nil
}

func (s Spec) check() error {
	if len(s.Workloads) == 0 || len(s.Sizes) == 0 || s.PerSize < 1 {
		return fmt.Errorf("no prompts asked for: %d workloads, %d sizes and %d prompts a size; each must be 1 or more",
			len(s.Workloads), len(s.Sizes), s.PerSize)
	}
	for i, w := range s.Workloads {
		if w != schema.WorkloadPrefill && w != schema.WorkloadDecode {
			return fmt.Errorf("no workload %q; there are %s and %s", w, schema.WorkloadPrefill, schema.WorkloadDecode)
		}
		if slices.Contains(s.Workloads[:i], w) {
			return fmt.Errorf("workload %q is listed twice; list it once", w)
		}
	}
	for i, size := range s.Sizes {
		if size < 1 || size > maxSize {
			return fmt.Errorf("size %d is not between 1 and %d tokens", size, maxSize)
		}
		if slices.Contains(s.Sizes[:i], size) {
			return fmt.Errorf("size %d is listed twice; list it once", size)
		}
	}
	return nil
}

// seal fills in what follows from the text.
func seal(p schema.Prompt, size, number int) schema.Prompt {
	sum := sha256.Sum256([]byte(p.Text))
	p.ID = fmt.Sprintf("%s-%05d-%04d", p.Workload, size, number)
	p.TargetTokens = int32(size)
	p.TextTokens = int32(tokens.Count(p.Text))
	p.Tokenizer = tokens.Name
	p.Source = Source
	p.SHA256 = hex.EncodeToString(sum[:])
	return p
}
