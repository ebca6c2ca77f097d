package corpus

import (
	"fmt"
	"math/rand/v2"

	"github.com/llm-tracer/tracer/schema"
)

// appendDecode makes requests for stories. The size counts tokens of the answer, and the text asks for as many words: a
// word of English is some 4/3 tokens, so a model that does as it is told is cut at the size rather than done before it.
// A server that can be asked for an exact length needs no such margin; for the others MaxTokens is only a ceiling.
func appendDecode(prompts []schema.Prompt, spec Spec) ([]schema.Prompt, error) {
	if most := len(elements) * len(elements); spec.PerSize > most {
		return nil, fmt.Errorf("%d decode prompts a size: the %d elements give %d different stories", spec.PerSize,
			len(elements), most)
	}
	rng := rand.New(rand.NewPCG(spec.Seed, 2))
	for _, size := range spec.Sizes {
		pool := rng.Perm(len(elements))
		for number := range spec.PerSize {
			element := story(pool, number)
			prompts = append(prompts, seal(schema.Prompt{
				Workload:    schema.WorkloadDecode,
				Text:        fmt.Sprintf("Generate a %d word story about %s", size, element),
				Element:     element,
				MaxTokens:   int32(size),
				ExactLength: spec.ExactLength,
			}, size, number))
		}
	}
	return prompts, nil
}

// story names what the prompt of that number is about: each element of the pool once, then pairs of two.
func story(pool []int, number int) string {
	first := elements[pool[number%len(pool)]]
	if number < len(pool) {
		return first
	}
	second := elements[pool[(number+number/len(pool))%len(pool)]]
	return first + " and " + second
}
