package fit

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/nebula/sim"
)

// The simulator's own constants (nebula/sim, timing.go).
const (
	simCompute  = 0.308
	simMemory   = 0.624
	simOverhead = 13e-3
)

// served are requests as the simulated server times them, with the jitter of a client.
func served(t *testing.T, board string, sizes []int, seed uint64) []Request {
	t.Helper()
	b, err := catalog.BoardByName(board)
	if err != nil {
		t.Fatal(err)
	}
	m, err := catalog.ModelByName(catalog.DefaultModel)
	if err != nil {
		t.Fatal(err)
	}
	timing := sim.NewTiming(b, m)
	rng := rand.New(rand.NewPCG(seed, 3))
	jitter := func() float64 { return 0.2e-3 * rng.NormFloat64() }
	var all []Request
	add := func(workload string, size, n, out int) {
		first := timing.Prefill(n).Seconds()
		all = append(all, Request{
			GPU: "sim-" + board, LLM: m.Name, Boards: 1, Workload: workload, Size: int64(size), Input: int64(n), Output: int64(out),
			TTFT: first + jitter(), Decode: timing.Request(n, out).Seconds() - first + jitter(),
		})
	}
	for _, size := range sizes {
		for i := range 5 {
			add("prefill", size, size, 1+i%2)
		}
	}
	for _, size := range []int{10, 50, 100, 300} {
		for range 5 {
			add("decode", size, 10, size)
		}
	}
	return all
}

func fitted(requests []Request, given Hardware) *Fit {
	f := &Fit{GPU: requests[0].GPU, LLM: requests[0].LLM, Boards: requests[0].Boards}
	f.latencies(requests)
	f.kavier(requests, given)
	return f
}

func TestKaviersConstantsComeBackToTheSimulators(t *testing.T) {
	t.Parallel()
	const draws = 100
	for _, board := range []string{"A10", "A100-80", "H100-SXM", "L4"} {
		covered := map[string]int{"COMPUTE_EFFICIENCY": 0, "MEMORY_EFFICIENCY": 0, "PREFILL_OVERHEAD_S": 0}
		for seed := range uint64(draws) {
			k := &fitted(served(t, board, []int{10, 50, 100, 200, 500, 1000, 2000, 4000}, seed), Hardware{}).Kavier
			for _, c := range []struct {
				name string
				Estimate
				truth float64
			}{{"COMPUTE_EFFICIENCY", k.Compute, simCompute}, {"MEMORY_EFFICIENCY", k.Memory, simMemory}, {"PREFILL_OVERHEAD_S", k.Overhead, simOverhead}} {
				if c.Why != "" || math.Abs(c.Value/c.truth-1) > 0.1 {
					t.Fatalf("%s: %s is %+v, want %v within 10 %%", board, c.name, c.Estimate, c.truth)
				}
				if c.Lo <= c.truth && c.truth <= c.Hi {
					covered[c.name]++
				}
			}
		}
		for name, n := range covered {
			if n < draws*85/100 {
				t.Errorf("%s: in %d of %d draws the interval of %s holds the simulator's", board, n, draws, name)
			}
		}
	}
}

func TestKavierMakesOurLatenciesOfItsConstants(t *testing.T) {
	for _, board := range []string{"A10", "H100-SXM"} {
		f := fitted(served(t, board, []int{10, 50, 100, 200, 500, 1000, 2000, 4000}, 1), Hardware{})
		for _, c := range f.Kavier.Checks {
			if off := math.Abs(c.KPrefill/c.Prefill - 1); float64(c.Input) >= f.PrefillTime.Knee && off > 0.1 {
				t.Errorf("%s: a prefill of %d tokens is off by %.1f %%", board, c.Input, 100*off)
			}
			if off := math.Abs(c.KDecode/c.Decode - 1); c.Output > 1 && off > 0.1 {
				t.Errorf("%s: a decode of %d tokens is off by %.1f %%", board, c.Output, 100*off)
			}
			if off := math.Abs(c.KLatency/c.Latency - 1); c.Workload == "decode" && off > 0.1 {
				t.Errorf("%s: a decode request of %d tokens is off by %.1f %%", board, c.Output, 100*off)
			}
		}
		if len(f.Kavier.Checks) != 20 || f.Kavier.Note == "" {
			t.Errorf("%s: %d sizes checked, note %q", board, len(f.Kavier.Checks), f.Kavier.Note)
		}
	}
}

func TestKavierGetsNoConstantThatNothingSupports(t *testing.T) {
	sizes := []int{10, 50, 100, 200, 500, 1000}
	requests := served(t, "A10", sizes, 1)
	for i := range requests {
		requests[i].GPU = "NVIDIA Something"
	}
	if k := fitted(requests, Hardware{}).Kavier; k.Compute.Why != "it needs --tflops, --bandwidth" || len(k.Checks) > 0 {
		t.Errorf("an unknown board: %+v", k.Compute)
	}
	if k := fitted(requests, Hardware{TFLOPS: 125, BandwidthGBs: 600}).Kavier; math.Abs(k.Compute.Value-simCompute) > 0.02 {
		t.Errorf("an unknown board with flags: %+v", k.Compute)
	}
	if k := fitted(requests, Hardware{TFLOPS: 12, BandwidthGBs: 600}).Kavier; k.Compute.Why == "" {
		t.Errorf("a board faster than it can be: %+v", k.Compute)
	}
	for i := range requests {
		requests[i].Boards = 2
	}
	if k := fitted(requests, Hardware{}).Kavier; k.Memory.Why == "" {
		t.Errorf("two boards: %+v", k.Memory)
	}
	if k := fitted(served(t, "A10", []int{10, 50}, 1), Hardware{}).Kavier; k.Compute.Why == "" || k.Overhead.Why == "" || k.Memory.Why != "" {
		t.Errorf("no size above the knee: compute %+v, overhead %+v, memory %+v", k.Compute, k.Overhead, k.Memory)
	}
}
