package corpus

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/llm-tracer/tracer/schema"
)

// Order gives the prompts in the order to send them: random within each workload and size, and every workload and size
// spread evenly over the run, so that a board that warms up, or a server that others begin to use, affects all alike.
func Order(prompts []schema.Prompt, seed uint64) []schema.Prompt {
	type group struct {
		workload schema.Workload
		size     int32
	}
	type place struct {
		at     float64 // share of the run before it
		prompt int
	}
	var (
		rng    = rand.New(rand.NewPCG(seed, 3))
		total  = map[group]int{}
		seen   = map[group]int{}
		places = make([]place, 0, len(prompts))
	)
	of := func(i int) group { return group{prompts[i].Workload, prompts[i].TargetTokens} }
	for i := range prompts {
		total[of(i)]++
	}
	for _, i := range rng.Perm(len(prompts)) {
		g := of(i)
		// the k-th of n falls somewhere in the k-th n-th of the run
		places = append(places, place{(float64(seen[g]) + rng.Float64()) / float64(total[g]), i})
		seen[g]++
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.prompt, b.prompt)) })
	ordered := make([]schema.Prompt, len(places))
	for i, p := range places {
		ordered[i] = prompts[p.prompt]
	}
	return ordered
}
