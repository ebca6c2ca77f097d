package fit

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// Estimate is a value with its 95 % interval, or why the data support none.
type Estimate struct {
	Value, Lo, Hi float64
	Unit          string
	Why           string // not empty: there is no value
}

// MarshalJSON writes null for what is not supported.
func (e Estimate) MarshalJSON() ([]byte, error) {
	written := struct {
		Value *float64 `json:"value"`
		Lo    *float64 `json:"lo"`
		Hi    *float64 `json:"hi"`
		Unit  string   `json:"unit,omitempty"`
		Why   string   `json:"unsupported,omitempty"`
	}{Unit: e.Unit, Why: e.Why}
	if e.Why == "" {
		written.Value, written.Lo, written.Hi = &e.Value, &e.Lo, &e.Hi
	}
	return json.Marshal(written)
}

func interval(value, half float64, unit string) Estimate {
	return Estimate{Value: value, Lo: value - half, Hi: value + half, Unit: unit}
}

func unsupported(unit, why string) Estimate { return Estimate{Unit: unit, Why: why} }

// supported is the estimate of what cannot be zero, or why it is none: an interval wider than the value says nothing.
func supported(value, half float64, unit string) Estimate {
	if math.IsNaN(half) || half > math.Abs(value) {
		return unsupported(unit, fmt.Sprintf("%.3g ± %.2g: the interval is wider than the value", value, half))
	}
	return interval(value, half, unit)
}

// over is constant/e: an efficiency from a time.
func (e Estimate) over(constant float64, unit string) Estimate {
	if e.Why != "" {
		return unsupported(unit, e.Why)
	}
	return Estimate{Value: constant / e.Value, Lo: constant / e.Hi, Hi: constant / e.Lo, Unit: unit}
}

// mean is the mean of values with its interval.
func mean(values []float64, unit string) Estimate {
	n := float64(len(values))
	if n < 3 {
		return unsupported(unit, fmt.Sprintf("%.0f values; 3 are needed", n))
	}
	var sum, squares float64
	for _, v := range values {
		sum += v
	}
	for _, v := range values {
		squares += (v - sum/n) * (v - sum/n)
	}
	return interval(sum/n, student(n-1)*math.Sqrt(squares/(n-1)/n), unit)
}

// ratio is the sum of one thing over the sum of another, request by request: watts, from joules and seconds.
func ratio(over, under []float64, unit string) Estimate {
	n := float64(len(over))
	if n < 3 {
		return unsupported(unit, fmt.Sprintf("%.0f requests with energies; 3 are needed", n))
	}
	var a, b, squares float64
	for i := range over {
		a, b = a+over[i], b+under[i]
	}
	for i := range over {
		d := over[i] - a/b*under[i]
		squares += d * d
	}
	return interval(a/b, student(n-1)*math.Sqrt(squares*n/(n-1))/b, unit)
}

func quantile[T any](all []T, q float64, of func(T) float64) float64 {
	values := make([]float64, len(all))
	for i, v := range all {
		values[i] = of(v)
	}
	slices.Sort(values)
	return values[int(math.Round(q*float64(len(values)-1)))]
}
