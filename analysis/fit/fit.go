// Package fit finds the constants that simulators want in a dataset's requests: time and energy of a prefill against its
// length, time and energy of an output token against its context, the board's power, and from these the constants of Kavier
// and the power model of OpenDC. Each has a 95 % interval; what the data do not support has a reason instead of a value.
//
// All fits are weighted least squares over single requests: latencies by one over their size's median squared, energies by
// one over the square of their own intervals. Requests far from all others of their size are left out and counted (trim).
// Intervals follow from the scatter of the requests, or, where the curve misses the sizes by more than that, from the
// scatter of the sizes (regress). The gain of the power sensor moves all joules and watts alike, and is told beside them.
package fit

import (
	"context"
	"fmt"
	"slices"

	"github.com/llm-tracer/tracer/analysis/query"
)

// Fit is what was found of one model on one kind of board.
type Fit struct {
	GPU       string   `json:"gpu_name"`
	LLM       string   `json:"llm_name"`
	Boards    int      `json:"boards"` // that a request ran on
	Simulated bool     `json:"simulated"`
	Runs      []string `json:"run_ids"`
	Requests  int      `json:"requests"`
	GainError float64  `json:"sensor_gain_error"` // relative, 95 %: systematic, on all joules and watts

	PrefillTime   Curve    `json:"prefill_time"`
	PrefillEnergy Curve    `json:"prefill_energy"`
	TokenTime     Curve    `json:"decode_time_per_token"`
	TokenEnergy   Curve    `json:"decode_energy_per_token"`
	IdleW         Estimate `json:"idle_w"`
	PrefillW      Estimate `json:"prefill_w"`
	DecodeW       Estimate `json:"decode_w"`
	Kavier        Kavier   `json:"kavier"`
	Power         Power    `json:"opendc"`
}

// Of fits every model on every kind of board among those chosen.
func Of(ctx context.Context, d *query.Dataset, choice query.Choice, given Hardware) ([]Fit, error) {
	boards, err := d.Boards(ctx, choice)
	if err != nil {
		return nil, err
	}
	all, err := readRequests(ctx, d, boards)
	if err != nil {
		return nil, err
	}
	var fits []Fit
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].GPU == all[0].GPU && all[n].LLM == all[0].LLM && all[n].Boards == all[0].Boards {
			n++
		}
		f, err := one(ctx, d, boards, all[:n], given)
		if err != nil {
			return nil, err
		}
		fits, all = append(fits, f), all[n:]
	}
	if len(fits) == 0 {
		return nil, fmt.Errorf("%w: no valid request is among them", query.ErrNoneChosen)
	}
	return fits, nil
}

// one fits requests of one model on one kind of board.
func one(ctx context.Context, d *query.Dataset, all []query.Board, requests []Request, given Hardware) (Fit, error) {
	f := Fit{GPU: requests[0].GPU, LLM: requests[0].LLM, Boards: requests[0].Boards, Requests: len(requests)}
	var boards []query.Board
	for _, r := range requests {
		if !slices.Contains(f.Runs, r.RunID) {
			f.Runs = append(f.Runs, r.RunID)
		}
	}
	for _, b := range all {
		if slices.Contains(f.Runs, b.RunID) {
			f.Simulated = f.Simulated || b.Simulated
			f.GainError = max(f.GainError, b.GainError)
		}
		if b.Name == f.GPU && b.LLM == f.LLM && b.Boards == f.Boards {
			boards = append(boards, b)
		}
	}
	f.latencies(requests)
	f.energies(requests)
	if len(boards) == 0 { // of several kinds at once
		why := "the requests ran on boards of several kinds"
		f.IdleW, f.Kavier.Utilisation = unsupported("W", why), unsupported("", why)
		f.Power.unsupported(why)
	} else if err := f.sensors(ctx, d, boards); err != nil {
		return f, err
	}
	f.kavier(requests, given)
	return f, nil
}

// latencies fits prefill and decode times.
func (f *Fit) latencies(requests []Request) {
	var prefill, decode []observation
	for _, r := range requests {
		prefill = append(prefill, observation{x: float64(r.Input), y: r.TTFT})
		if steps := float64(r.Output - 1); steps >= 1 && r.Decode > 0 {
			decode = append(decode, observation{x: r.context(), y: r.Decode / steps, w: steps, key: r.key()})
		}
	}
	weigh(prefill)
	weigh(decode)
	f.PrefillTime = prefillCurve(prefill, "s")
	f.TokenTime = tokenCurve(decode, "s")
}

// weigh gives latencies their weights: their errors are taken to be in proportion to their size's median, and to fall with
// the number of steps that one is the mean of.
func weigh(all []observation) {
	type size struct {
		x   float64
		key [2]int64
	}
	centre := map[size]float64{}
	for _, group := range grouped(all) {
		for _, o := range group {
			centre[size{o.x, o.key}] = median(group, func(o observation) float64 { return o.y })
		}
	}
	for i, o := range all {
		c := centre[size{o.x, o.key}]
		all[i].w = max(o.w, 1) / (c * c)
	}
}

// energies fits prefill and decode energies, and the power of the stages.
func (f *Fit) energies(requests []Request) {
	var prefill, decode []observation
	var prefillJ, prefillS, decodeJ, decodeS []float64
	unresolved := 0
	for _, r := range requests {
		if sigma, ok := deviation(r.PrefillJ, r.PrefillLo, r.PrefillHi); ok && r.PrefillS > 0 {
			if r.Unresolved {
				unresolved++
			}
			prefill = append(prefill, observation{x: float64(r.Input), y: *r.PrefillJ, w: 1 / (sigma * sigma)})
			prefillJ, prefillS = append(prefillJ, *r.PrefillJ), append(prefillS, r.PrefillS)
		}
		steps := float64(r.Output - 1)
		if sigma, ok := deviation(r.DecodeJ, r.DecodeLo, r.DecodeHi); ok && steps >= 1 && r.Decode > 0 {
			sigma /= steps
			decode = append(decode, observation{x: r.context(), y: *r.DecodeJ / steps, w: 1 / (sigma * sigma), key: r.key()})
			decodeJ, decodeS = append(decodeJ, *r.DecodeJ), append(decodeS, r.Decode)
		}
	}
	f.PrefillEnergy = prefillCurve(prefill, "J")
	if unresolved > 0 {
		f.PrefillEnergy.remark(fmt.Sprintf("the sensor saw %d of %d prefills only together with other work", unresolved, len(prefill)))
	}
	f.TokenEnergy = tokenCurve(decode, "J")
	f.PrefillW, f.DecodeW = ratio(prefillJ, prefillS, "W"), ratio(decodeJ, decodeS, "W")
}

// sensors fits what the boards' samples tell.
func (f *Fit) sensors(ctx context.Context, d *query.Dataset, boards []query.Board) error {
	idle, err := readIdle(ctx, d, boards)
	if err != nil {
		return err
	}
	f.IdleW = idleMean(idle)
	if f.Power, err = PowerOf(ctx, d, boards); err != nil {
		return err
	}
	busy, err := readBusy(ctx, d, boards)
	if err != nil {
		return err
	}
	f.Kavier.Utilisation = busyMean(busy)
	return nil
}

// idleMean takes a second's values together: they follow one another.
func idleMean(values []second) Estimate {
	var means []float64
	var within average
	for i, v := range values {
		within.add(v.PowerW, 1)
		if i+1 == len(values) || values[i+1].Run != v.Run || values[i+1].Block != v.Block {
			means = append(means, within.mean())
			within = average{}
		}
	}
	if len(means) < 3 {
		return unsupported("W", fmt.Sprintf("%d seconds of idle baseline before the first request; 3 are needed", len(means)))
	}
	return mean(means, "W")
}

func busyMean(requests []second) Estimate {
	var values []float64
	for _, r := range requests {
		values = append(values, r.Utilisation)
	}
	if len(values) < 3 {
		return unsupported("", fmt.Sprintf("%d requests of a second or more with a utilisation; 3 are needed", len(values)))
	}
	e := mean(values, "")
	e.Lo, e.Hi = min(e.Lo, e.Value-utilisationStep/2), min(max(e.Hi, e.Value+utilisationStep/2), 1)
	return e
}

// utilisationStep is what utilisation is told in: whole per cents. Where all say the same, the mean is known no better.
const utilisationStep = 0.01

// context is the mean number of tokens that a decode step looked back on: from the prompt and one token to all but the last.
func (r *Request) context() float64 { return float64(r.Input) + float64(r.Output)/2 }

func (r *Request) key() [2]int64 { return [2]int64{r.Input, r.Output} }

// leastRelative bounds an interval's weight: no energy is known better than to a thousandth.
const leastRelative = 1e-3

// deviation is the standard deviation that a 95 % interval stands for.
func deviation(v, lo, hi *float64) (float64, bool) {
	if v == nil || lo == nil || hi == nil || *v <= 0 {
		return 0, false
	}
	return max((*hi-*lo)/(2*1.96), leastRelative**v), true
}
