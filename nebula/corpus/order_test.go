package corpus

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/schema"
)

func TestOrderKeepsEveryPromptOnce(t *testing.T) {
	prompts := build(t, Spec{
		Workloads: []schema.Workload{schema.WorkloadPrefill, schema.WorkloadDecode}, Sizes: []int{10, 30}, PerSize: 25,
	})
	rapid.Check(t, func(t *rapid.T) {
		some := prompts[:rapid.IntRange(0, len(prompts)).Draw(t, "prompts")]
		ordered := Order(some, rapid.Uint64().Draw(t, "seed"))
		if schema.CorpusID(ordered) != schema.CorpusID(some) {
			t.Errorf("Order changed the %d prompts", len(some))
		}
	})
}

func TestOrderSpreadsEverySizeOverTheRun(t *testing.T) {
	prompts := build(t, Spec{
		Workloads: []schema.Workload{schema.WorkloadPrefill, schema.WorkloadDecode}, Sizes: []int{10, 20, 30}, PerSize: 40,
	})
	ordered := Order(prompts, 3)
	quarter := len(ordered) / 4
	for q := range 4 {
		count := map[string]int{}
		for _, p := range ordered[q*quarter : (q+1)*quarter] {
			count[fmt.Sprint(p.Workload, p.TargetTokens)]++
		}
		for g, n := range count {
			if n < 8 || n > 12 { // 10, and one more or less at each end
				t.Errorf("quarter %d holds %d of the 40 prompts of %s", q, n, g)
			}
		}
	}
	same := func(a, b schema.Prompt) bool { return a.ID == b.ID }
	if !slices.EqualFunc(ordered, Order(prompts, 3), same) {
		t.Error("the same seed ordered differently")
	}
	if slices.EqualFunc(ordered, Order(prompts, 4), same) {
		t.Error("another seed ordered alike")
	}
}

func TestHashFollowsContents(t *testing.T) {
	prompts := build(t, Spec{Workloads: []schema.Workload{schema.WorkloadDecode}, Sizes: []int{10}, PerSize: 3})
	whole := schema.CorpusID(prompts)
	reversed := slices.Clone(prompts)
	slices.Reverse(reversed)
	if schema.CorpusID(reversed) != whole {
		t.Error("the order of prompts changed the hash")
	}
	later := slices.Clone(prompts)
	later[1].CreatedUnixMS = 12345
	if schema.CorpusID(later) != whole {
		t.Error("the time of making changed the hash")
	}
	for name, change := range map[string]func(*schema.Prompt){
		"text":       func(p *schema.Prompt) { p.Text += "." },
		"max tokens": func(p *schema.Prompt) { p.MaxTokens++ },
		"exact":      func(p *schema.Prompt) { p.ExactLength = !p.ExactLength },
	} {
		changed := slices.Clone(prompts)
		change(&changed[1])
		if schema.CorpusID(changed) == whole {
			t.Errorf("another %s left the hash as it was", name)
		}
	}
	if schema.CorpusID(prompts[:2]) == whole {
		t.Error("a prompt less left the hash as it was")
	}
}
