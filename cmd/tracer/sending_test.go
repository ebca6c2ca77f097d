package main

import (
	"slices"
	"testing"

	"github.com/llm-tracer/tracer/schema"
)

func TestSequentialOrderIsTheCorpusOverAndOver(t *testing.T) {
	three := 3
	c := collect{corpusFlags: corpusFlags{Sizes: []int{20, 30}, Prompts: &three, ExactLength: true}, target: target{Seed: 1}, Repeat: 2, Order: "sequential", Warmup: 2}
	r, err := c.offline()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.corpus) != 12 || len(r.prompts) != 24 || len(r.warmup) != 2 {
		t.Fatalf("%d prompts, %d requests, %d for warm-up", len(r.corpus), len(r.prompts), len(r.warmup))
	}
	for i, p := range r.prompts {
		if p.ID != r.corpus[i%12].ID || p.Repetition != int32(1+i/12) || p.Reopen != (i >= 12) {
			t.Errorf("request %d is repetition %d of %s", i, p.Repetition, p.ID)
		}
	}
	c.Order = "interleaved"
	mixed, err := c.offline()
	if err != nil {
		t.Fatal(err)
	}
	same := func(a, b schema.Prompt) bool { return a.ID == b.ID && a.Repetition == b.Repetition }
	if slices.EqualFunc(mixed.prompts, r.prompts, same) {
		t.Error("interleaved is the corpus's order")
	}
	for _, p := range r.warmup {
		if p.ID[:7] != "warmup-" || slices.ContainsFunc(r.corpus, func(q schema.Prompt) bool { return q.Text == p.Text }) {
			t.Errorf("warm-up %s has a text of the corpus", p.ID)
		}
	}
	c.ExactLength = false
	loose, err := c.offline()
	if err != nil || slices.ContainsFunc(loose.prompts, func(p schema.Prompt) bool { return p.ExactLength }) {
		t.Errorf("--no-exact-length still asks for exact lengths, or %v", err)
	}
}
