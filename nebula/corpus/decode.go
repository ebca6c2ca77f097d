package corpus

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/llm-tracer/tracer/schema"
)

// Story is what a decode prompt asks for.
func Story(size int, element string) string {
	return fmt.Sprintf("Generate a %d word story about %s", size, element)
}

// decode makes requests for stories. The size counts tokens of the answer, and the text asks for as many words: a word of
// English is some 4/3 tokens, so a model that does as it is told is cut at the size rather than done before it. A server
// that can be asked for an exact length needs no such margin; for the others MaxTokens is only a ceiling.
func decode(ctx context.Context, spec Spec, counter Counter) ([]schema.Prompt, error) {
	if most := len(elements) * len(elements); spec.PerSize > most {
		return nil, refused("%d decode prompts a size: the %d elements give %d different stories", spec.PerSize,
			len(elements), most)
	}
	rng := rand.New(rand.NewPCG(spec.Seed, 2))
	prompts := make([]schema.Prompt, 0, len(spec.Sizes)*spec.PerSize)
	for _, size := range spec.Sizes {
		deck := rng.Perm(len(elements))
		for number := range spec.PerSize {
			element := subject(deck, number)
			prompts = append(prompts, schema.Prompt{
				Workload: schema.WorkloadDecode, Text: Story(size, element), Element: element,
				MaxTokens: int32(size), ExactLength: spec.ExactLength, Source: SourceBuiltin,
			})
		}
	}
	return prompts, each(ctx, prompts, func(ctx context.Context, i int) error {
		n, err := counter.Count(ctx, prompts[i].Text)
		seal(&prompts[i], spec.Sizes[i/spec.PerSize], i%spec.PerSize, n, counter)
		return err
	})
}

// subject names what the prompt of that number is about: each element of the deck once, then pairs of two.
func subject(deck []int, number int) string {
	first := elements[deck[number%len(deck)]]
	if number < len(deck) {
		return first
	}
	second := elements[deck[(number+number/len(deck))%len(deck)]]
	return first + " and " + second
}
