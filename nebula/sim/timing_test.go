package sim

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/internal/catalog"
)

func TestMoreWorkTakesLonger(t *testing.T) {
	boards, models := catalog.Boards(), catalog.Models()
	rapid.Check(t, func(t *rapid.T) {
		timing := NewTiming(rapid.SampledFrom(boards).Draw(t, "board"), rapid.SampledFrom(models).Draw(t, "model"))
		n := rapid.IntRange(1, longestContext).Draw(t, "tokens")
		more := n + rapid.IntRange(1, 1000).Draw(t, "more")
		if timing.Prefill(n) > timing.Prefill(more) {
			t.Errorf("prefill of %d tokens takes %v, of %d %v", n, timing.Prefill(n), more, timing.Prefill(more))
		}
		if timing.Step(1, n) > timing.Step(1, more) || timing.Step(1, n) > timing.Step(2, n) {
			t.Errorf("a step at %d tokens takes %v, at %d %v, of two %v", n, timing.Step(1, n), more, timing.Step(1, more),
				timing.Step(2, n))
		}
		if timing.Prefill(n) < timing.Step(1, 0) {
			t.Errorf("prefill of %d tokens takes %v, less than one pass over the weights", n, timing.Prefill(n))
		}
	})
}

func TestAModelThatDoesNotFitIsRefused(t *testing.T) {
	for _, c := range []struct {
		board, model string
		want         []string // empty where it fits
	}{
		{"A10", "meta-llama/Meta-Llama-3-8B", nil},
		{"A10", "meta-llama/Llama-2-7b", nil},
		{"A100-40", "meta-llama/Llama-2-13b", nil},
		{"A100-80", "Qwen/Qwen2.5-32B", nil},
		{"B200", "meta-llama/Meta-Llama-3-70B", nil},
		{"A10", "meta-llama/Llama-2-13b", []string{
			"meta-llama/Llama-2-13b (26 GB of weights in bf16)", "does not fit on A10 (24 GB", "boards A100-40, A100-80,",
			"models meta-llama/Llama-2-7b, mistralai/Mistral-7B-v0.1, meta-llama/Meta-Llama-3-8B",
		}},
		{"H200", "meta-llama/Meta-Llama-3-70B", []string{"boards B200,"}},
		{"L4", "Qwen/Qwen2.5-32B", []string{"H100-PCIe", "H200"}},
	} {
		err := Fits(board(t, c.board), model(t, c.model))
		if err == nil && len(c.want) > 0 {
			t.Errorf("%s serves %s", c.board, c.model)
		}
		if err != nil && len(c.want) == 0 {
			t.Errorf("%s with %s: %v", c.board, c.model, err)
		}
		for _, want := range c.want {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%v: lacks %q", err, want)
			}
		}
	}
}

func TestNewRefusesAModelThatDoesNotFit(t *testing.T) {
	load := &recorder{}
	_, err := New(Config{Board: board(t, "A10"), Model: model(t, "meta-llama/Llama-2-13b"), Loads: []Load{load}})
	if err == nil || len(load.levels) != 0 {
		t.Errorf("error %v, and the board was set %d times", err, len(load.levels))
	}
}

func TestContextIsShorterWhereMemoryIsShort(t *testing.T) {
	s, err := New(Config{Board: board(t, "A10"), Model: model(t, "meta-llama/Llama-2-7b")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if want := (21_600_000_000 - 13_480_000_000) / 524_288; s.context != want {
		t.Errorf("context of %d tokens, want %d", s.context, want)
	}
}
