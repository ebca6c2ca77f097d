package corpus

import (
	"slices"
	"testing"

	"github.com/llm-tracer/tracer/internal/tokens"
)

func TestEveryWordIsOneTokenWhereItStands(t *testing.T) {
	after := slices.Concat(words.openers, words.nouns, words.adjectives, words.adverbs, words.rested, words.met,
		words.prepositions, words.joiners, []string{"The", "They", "the"})
	for _, w := range after {
		if n := tokens.Count(" " + w); n != 1 {
			t.Errorf("%q is %d tokens after a space", w, n)
		}
	}
	for _, w := range slices.Concat(words.openers, []string{"The", "They"}) {
		if n := tokens.Count(w); n != 1 {
			t.Errorf("%q is %d tokens at the start of a text", w, n)
		}
	}
	for _, w := range words.times {
		if n := tokens.Count(" " + w); n != 2 {
			t.Errorf("%q is %d tokens after a space", w, n)
		}
	}
	for _, stop := range []string{".", ".\n\n", ","} {
		if n := tokens.Count(stop); n != 1 {
			t.Errorf("%q is %d tokens", stop, n)
		}
	}
}

func TestNoWordIsListedTwice(t *testing.T) {
	for name, list := range map[string][]string{
		"openers": words.openers, "nouns": words.nouns, "adjectives": words.adjectives, "adverbs": words.adverbs,
		"rested": words.rested, "met": words.met, "prepositions": words.prepositions, "joiners": words.joiners,
		"times": words.times, "elements": elements,
	} {
		seen := map[string]bool{}
		for _, w := range list {
			if seen[w] {
				t.Errorf("%s: %q twice", name, w)
			}
			seen[w] = true
		}
		t.Logf("%s: %d", name, len(list))
	}
}

func TestThereAreAHundredElements(t *testing.T) {
	if len(elements) != 100 {
		t.Errorf("%d elements", len(elements))
	}
}
