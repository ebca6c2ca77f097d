package fit

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/internal/catalog"
)

// Hardware is what Kavier's formulas take besides its constants; zero is unknown.
type Hardware struct {
	Params        float64 `json:"params"`
	BytesPerParam float64 `json:"bytes_per_param"`
	TFLOPS        float64 `json:"tflops"`         // dense, at the precision of the weights
	BandwidthGBs  float64 `json:"bandwidth_gb_s"` // 10⁹ bytes per second
	Source        string  `json:"source"`
}

// nvmlNames are boards of the catalog as NVML names them.
var nvmlNames = map[string]string{
	"NVIDIA A10": "A10", "NVIDIA A100-SXM4-40GB": "A100-40", "NVIDIA A100-PCIE-40GB": "A100-40", "NVIDIA A100-SXM4-80GB": "A100-80",
	"NVIDIA H100 PCIe": "H100-PCIe", "NVIDIA H100 80GB HBM3": "H100-SXM", "NVIDIA H200": "H200", "NVIDIA L4": "L4", "NVIDIA L40S": "L40S", "NVIDIA B200": "B200",
}

// filled is what was given, and for the rest the catalog's.
func (h Hardware) filled(gpu, llm string) Hardware {
	var looked []string
	if h.TFLOPS == 0 || h.BandwidthGBs == 0 {
		name := nvmlNames[gpu]
		if simulated, ok := strings.CutPrefix(gpu, "sim-"); ok {
			name = simulated
		}
		if b, err := catalog.BoardByName(name); err == nil {
			h.TFLOPS, h.BandwidthGBs = cmp.Or(h.TFLOPS, b.BF16TFLOPs), cmp.Or(h.BandwidthGBs, b.BandwidthGBs)
			looked = append(looked, "board "+b.Name)
		}
	}
	if h.Params == 0 {
		if m, err := catalog.ModelByName(llm); err == nil {
			h.Params = m.Params
			looked = append(looked, "model "+m.Name)
		}
	}
	if h.BytesPerParam == 0 {
		h.BytesPerParam = 2
		looked = append(looked, "2 bytes per parameter, as bf16 has")
	}
	h.Source = "flags"
	if len(looked) > 0 {
		h.Source = "tracer's catalog: " + strings.Join(looked, ", ")
	}
	return h
}

// missing names the flags that would have to say what is not known.
func (h Hardware) missing() string {
	var flags []string
	if h.Params == 0 {
		flags = append(flags, "--params")
	}
	if h.TFLOPS == 0 {
		flags = append(flags, "--tflops")
	}
	if h.BandwidthGBs == 0 {
		flags = append(flags, "--bandwidth")
	}
	return strings.Join(flags, ", ")
}

// Kavier has the constants of kavier.sdk.io.constants:
//
//	prefill = PREFILL_OVERHEAD_S + n_in·2·params/(TFLOPS·COMPUTE_EFFICIENCY)
//	decode  = n_out·max(2·params/(TFLOPS·COMPUTE_EFFICIENCY), bytes·params/(bandwidth·MEMORY_EFFICIENCY))
//
// They are those of the fitted curves at their beginnings: the rise of a long prompt's prefill before attention's square
// shows, and a token's time at no context. Kavier knows neither of these, nor that a prefill takes no less than one pass
// over the weights; Checks tell what that comes to at each size.
type Kavier struct {
	Hardware    Hardware `json:"hardware"`
	Compute     Estimate `json:"COMPUTE_EFFICIENCY"`
	Memory      Estimate `json:"MEMORY_EFFICIENCY"`
	Overhead    Estimate `json:"PREFILL_OVERHEAD_S"`
	Utilisation Estimate `json:"MAX_GPU_UTILIZATION"`
	Note        string   `json:"note,omitempty"`
	Checks      []Check  `json:"checks"`
}

// Check holds what Kavier makes of the constants against the trace, at one size: seconds, the trace's medians.
type Check struct {
	Workload string  `json:"workload"`
	Input    int64   `json:"input_tokens"`
	Output   int64   `json:"output_tokens"`
	Requests int     `json:"requests"`
	Prefill  float64 `json:"traced_prefill_s"`
	KPrefill float64 `json:"kavier_prefill_s"`
	Decode   float64 `json:"traced_decode_s"`  // from the first to the last token
	KDecode  float64 `json:"kavier_decode_s"`  // of as many steps: one less than tokens
	Latency  float64 `json:"traced_latency_s"` // to the last token
	KLatency float64 `json:"kavier_latency_s"` // as Kavier counts: a step for every token
}

func (f *Fit) kavier(requests []Request, given Hardware) {
	k := &f.Kavier
	k.Hardware = given.filled(f.GPU, f.LLM)
	k.Checks = []Check{} // JSON's empty list, which a reader goes through as well
	h := k.Hardware
	switch missing := h.missing(); {
	case f.Boards > 1:
		k.none(fmt.Sprintf("the requests ran on %d boards, and Kavier knows one", f.Boards))
		return
	case missing != "":
		k.none("it needs " + missing)
		return
	}
	k.Compute = f.PrefillTime.B.over(2*h.Params/(h.TFLOPS*1e12), "")
	k.Memory = f.TokenTime.A.over(h.BytesPerParam*h.Params/(h.BandwidthGBs*1e9), "")
	if k.Memory.Why == "" && k.Compute.Why == "" && k.computeS() > f.TokenTime.A.Value {
		k.Memory = unsupported("", "decode is bound by arithmetic here")
	}
	for _, e := range []*Estimate{&k.Compute, &k.Memory} {
		if e.Why == "" && e.Value > 1 {
			*e = unsupported("", fmt.Sprintf("%.2f: more than the hardware can; check --params, --bytes-per-param, --tflops and --bandwidth", e.Value))
		}
	}
	if k.Overhead = f.PrefillTime.A; k.Compute.Why != "" {
		k.Overhead = unsupported("s", "it is what is left of a prefill's time without its rise with the length, which is not supported")
	}
	if k.Compute.Why != "" || k.Memory.Why != "" || k.Overhead.Why != "" {
		k.Note = "without all of its constants, Kavier's times are not checked"
		return
	}
	k.check(requests)
}

func (k *Kavier) none(why string) {
	k.Compute, k.Memory, k.Overhead = unsupported("", why), unsupported("", why), unsupported("s", why)
}

// computeS is one token's arithmetic.
func (k *Kavier) computeS() float64 {
	return 2 * k.Hardware.Params / (k.Hardware.TFLOPS * 1e12 * k.Compute.Value)
}

// prefill and decode are Kavier's formulas.
func (k *Kavier) prefill(n int64) float64 { return k.Overhead.Value + float64(n)*k.computeS() }

func (k *Kavier) decode(n int64) float64 {
	h := k.Hardware
	return float64(n) * max(k.computeS(), h.BytesPerParam*h.Params/(h.BandwidthGBs*1e9*k.Memory.Value))
}

// check compares Kavier's times with the trace's, size by size.
func (k *Kavier) check(requests []Request) {
	sorted := slices.Clone(requests)
	slices.SortStableFunc(sorted, func(a, b Request) int {
		return cmp.Or(-cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Input, b.Input), cmp.Compare(a.Output, b.Output))
	})
	worst := 0.0
	for len(sorted) > 0 {
		r := sorted[0]
		n := 1
		for n < len(sorted) && sorted[n].Workload == r.Workload && sorted[n].key() == r.key() {
			n++
		}
		of := sorted[:n]
		sorted = sorted[n:]
		c := Check{Workload: r.Workload, Input: r.Input, Output: r.Output, Requests: n, KPrefill: k.prefill(r.Input)}
		c.KDecode, c.KLatency = k.decode(r.Output-1), c.KPrefill+k.decode(r.Output)
		c.Prefill = quantile(of, 0.5, func(r Request) float64 { return r.TTFT })
		c.Decode = quantile(of, 0.5, func(r Request) float64 { return r.Decode })
		c.Latency = quantile(of, 0.5, func(r Request) float64 { return r.TTFT + r.Decode })
		worst = max(worst, math.Abs(c.KPrefill/c.Prefill-1), math.Abs(c.KLatency/c.Latency-1))
		k.Checks = append(k.Checks, c)
	}
	if worst > 0.1 {
		k.Note = "Kavier lets a prefill be shorter than one pass over the weights, and gives the first token a decode step of its own: where it is off by more than 10 %, these are why"
	}
}
