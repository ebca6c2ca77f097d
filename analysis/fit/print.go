package fit

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/llm-tracer/tracer/analysis/query"
)

// line is one estimate under its name.
type line struct {
	part, name string
	Estimate
	note string
}

// lines are the fit's estimates, in the order in which they are told.
func (f *Fit) lines() []line {
	curve := func(part string, c Curve) []line {
		if c.Outliers > 0 {
			c.remark(fmt.Sprintf("outliers left out: %d", c.Outliers))
		}
		return []line{{part, "a", c.A, c.Form}, {part, "b", c.B, c.Note}}
	}
	prefill := func(part string, c Curve) []line {
		note := ""
		if c.Knee > 0 {
			note = fmt.Sprintf("under %.0f tokens", c.Knee)
		}
		return append(curve(part, c), line{part, "c", c.C, ""}, line{part, "floor", c.Floor, note})
	}
	var all []line
	all = append(all, prefill("prefill time", f.PrefillTime)...)
	all = append(all, curve("time per output token", f.TokenTime)...)
	all = append(all, prefill("prefill energy", f.PrefillEnergy)...)
	all = append(all, curve("energy per output token", f.TokenEnergy)...)
	k := &f.Kavier
	return append(all,
		line{"power", "idle", f.IdleW, "before the first request"}, line{"power", "prefill", f.PrefillW, "all prefills together"}, line{"power", "decode", f.DecodeW, "all decodes together"},
		line{"Kavier", "COMPUTE_EFFICIENCY", k.Compute, ""}, line{"Kavier", "MEMORY_EFFICIENCY", k.Memory, ""},
		line{"Kavier", "PREFILL_OVERHEAD_S", k.Overhead, ""}, line{"Kavier", "MAX_GPU_UTILIZATION", k.Utilisation, "in the middle of requests of a second or more"},
		line{"OpenDC", "idlePower", f.Power.Idle, f.Power.Note}, line{"OpenDC", "maxPower", f.Power.Max, ""},
	)
}

// Print writes the fits for people: side by side, where there are several, and one after the other.
func Print(w io.Writer, fits []Fit) error {
	if len(fits) > 1 {
		if err := sideBySide(w, fits); err != nil {
			return err
		}
	}
	for i := range fits {
		if i > 0 || len(fits) > 1 {
			fmt.Fprintln(w)
		}
		if err := fits[i].write(w); err != nil {
			return err
		}
	}
	return nil
}

// sideBySide writes a column for each fit.
func sideBySide(w io.Writer, fits []Fit) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	models, boards, columns := "", "", make([][]line, len(fits))
	for i := range fits {
		models += "\t" + query.Printable(fits[i].LLM)
		boards += "\t" + query.Served(fits[i].GPU, fits[i].Boards)
		columns[i] = fits[i].lines()
	}
	fmt.Fprintf(t, "\t%s\n\t%s\n", boards, models)
	for row, first := range columns[0] {
		fmt.Fprintf(t, "%s\t%s", first.part, first.name)
		for i := range columns {
			if l := columns[i][row]; l.Why != "" {
				fmt.Fprint(t, "\t–")
			} else {
				value, half, unit := l.readable()
				fmt.Fprintf(t, "\t%s ± %s %s", value, half, unit)
			}
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

func (f *Fit) write(w io.Writer) error {
	fmt.Fprintf(w, "%s on %s: %d valid requests of %d run(s)\n", query.Printable(f.LLM), query.Served(f.GPU, f.Boards), f.Requests, len(f.Runs))
	if f.Simulated {
		fmt.Fprintln(w, "SIMULATED: these numbers describe no real hardware.")
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	part := ""
	for _, l := range f.lines() {
		name := l.part
		if name == part {
			name = ""
		}
		part = l.part
		if l.Why != "" {
			fmt.Fprintf(t, "%s\t%s\t–\t\tnot supported: %s\n", name, l.name, l.Why)
			continue
		}
		value, half, unit := l.readable()
		fmt.Fprintf(t, "%s\t%s\t%s ± %s\t%s\t%s\n", name, l.name, value, half, unit, l.note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if f.GainError > 0 {
		fmt.Fprintf(w, "\nThe power sensor's gain is off by up to %.2g %%, which moves all joules and watts alike and is in no interval above.\n", 100*f.GainError)
	}
	return errors.Join(f.writeKavier(w), f.writePower(w))
}

// readable is a value in a unit that suits it; half of an asymmetric interval is its wider side.
func (l line) readable() (value, half, unit string) {
	factor, unit := 1.0, l.Unit
	v := math.Abs(l.Value)
	switch {
	case v >= 0.1 || unit == "" || strings.HasPrefix(unit, "W"):
	case v >= 1e-4:
		factor, unit = 1e3, "m"+unit
	case v >= 1e-7:
		factor, unit = 1e6, "µ"+unit
	default:
		factor, unit = 1e9, "n"+unit
	}
	h := factor * max(l.Hi-l.Value, l.Value-l.Lo)
	digits := 3
	if h > 1e-6 {
		digits = min(max(1-int(math.Floor(math.Log10(h))), 0), 6)
	}
	return strconv.FormatFloat(factor*l.Value, 'f', digits, 64), strconv.FormatFloat(h, 'f', digits, 64), unit
}

func (f *Fit) writeKavier(w io.Writer) error {
	k := &f.Kavier
	if k.Hardware.Params > 0 {
		h := k.Hardware
		fmt.Fprintf(w, "\nKavier's constants are for %.4g parameters of %g bytes, %g TFLOPS and %g GB/s (%s).\n", h.Params, h.BytesPerParam, h.TFLOPS, h.BandwidthGBs, query.Printable(h.Source))
	}
	if len(k.Checks) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "workload\ttokens in\tout\trequests\tprefill ms\tKavier\toff\tdecode ms\tKavier\toff\trequest ms\tKavier\toff\t\n")
	off := func(traced, kavier float64) string {
		if traced == 0 {
			return "–\t–\t–\t"
		}
		return fmt.Sprintf("%.1f\t%.1f\t%+.1f %%\t", 1e3*traced, 1e3*kavier, 100*(kavier/traced-1))
	}
	for _, c := range k.Checks {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s%s%s\n", c.Workload, c.Input, c.Output, c.Requests, off(c.Prefill, c.KPrefill), off(c.Decode, c.KDecode), off(c.Latency, c.KLatency))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if k.Note != "" {
		fmt.Fprintln(w, k.Note+".")
	}
	return nil
}

func (f *Fit) writePower(w io.Writer) error {
	p := &f.Power
	if p.Model == nil {
		return nil
	}
	body, err := json.Marshal(p.Model)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\nOpenDC's power model misses a second's mean power by %.1f W (rms, of %d s): utilisation alone does not tell prefill from decode.\n\n  \"gpuPowerModel\": %s\n", p.RMSW, p.Seconds, body)
	return nil
}

// WriteCSV writes one row for each estimate; what is not supported has an empty value and a reason.
func WriteCSV(w io.Writer, fits []Fit) error {
	out := csv.NewWriter(w)
	err := out.Write([]string{"gpu_name", "boards", "llm_name", "simulated", "part", "name", "value", "lo", "hi", "unit", "unsupported"})
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	for i := range fits {
		f := &fits[i]
		for _, l := range f.lines() {
			row := []string{f.GPU, strconv.Itoa(f.Boards), f.LLM, strconv.FormatBool(f.Simulated), l.part, l.name, "", "", "", l.Unit, l.Why}
			if l.Why == "" {
				row[6], row[7], row[8] = number(l.Value), number(l.Lo), number(l.Hi)
			}
			err = errors.Join(err, out.Write(row))
		}
	}
	out.Flush()
	return errors.Join(err, out.Error())
}
