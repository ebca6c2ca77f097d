package corpus

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/schema"
)

// Instruction ends every prefill prompt: the answer to it is a word, so that nearly all of the work is prefill.
const Instruction = "Summarize in 1 word."

// prefillMaxTokens bounds the answer to a prefill prompt. A word is a few tokens; the rest is room for models that
// answer in a sentence all the same.
const prefillMaxTokens = 16

// appendPrefill makes texts of exactly each size, the instruction counted. Openers are dealt from one shuffled deck for
// all sizes: the prompts of a size begin differently, and so do the prompts of two sizes until the deck is through.
func appendPrefill(prompts []schema.Prompt, spec Spec) ([]schema.Prompt, error) {
	var (
		bare     = tokens.Count(Instruction)
		tail     = tokens.Count(" " + Instruction) // after a text
		teller   = storyteller{rng: rand.New(rand.NewPCG(spec.Seed, 1))}
		deck     = teller.rng.Perm(len(words.openers))
		dealt    int
		existing = map[string]bool{}
	)
	for _, size := range spec.Sizes {
		body := size - tail
		if err := roomFor(spec.PerSize, size, bare, body); err != nil {
			return nil, err
		}
		for number := range spec.PerSize {
			text := Instruction
			for body > 0 {
				opener := words.openers[deck[dealt%len(deck)]]
				dealt++
				text = teller.tell(opener, body) + " " + Instruction
				if !existing[text] {
					break
				}
			}
			existing[text] = true
			p := seal(schema.Prompt{Workload: schema.WorkloadPrefill, Text: text, MaxTokens: prefillMaxTokens}, size, number)
			if int(p.TextTokens) != size {
				return nil, fmt.Errorf("prompt %s has %d tokens instead of %d: %s", p.ID, p.TextTokens, size,
					strings.ToValidUTF8(text[:min(len(text), 80)], ""))
			}
			prompts = append(prompts, p)
		}
	}
	return prompts, nil
}

// roomFor refuses sizes that hold no instruction, or not enough different texts in the body of tokens before it. One
// token holds an opener, a second its full stop, a third a verb, a fourth an adverb.
func roomFor(perSize, size, bare, body int) error {
	different := 1
	switch {
	case size < bare:
		return fmt.Errorf("size %d does not hold the instruction %q: the smallest possible is %d tokens", size, Instruction,
			bare)
	case body == 1 || body == 2:
		different = len(words.openers)
	case body == 3:
		different = len(words.openers) * len(words.rested)
	case body > 3:
		different = len(words.openers) * len(words.rested) * len(words.adverbs)
	}
	if perSize > different {
		return fmt.Errorf("size %d has room for %d different prompts, not %d: ask for fewer a size, or for a larger size",
			size, different, perSize)
	}
	return nil
}
