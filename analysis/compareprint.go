package analysis

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/llm-tracer/tracer/analysis/query"
)

// Print writes the comparison as a table, with what else is different between the sides.
func (c *Comparison) Print(w io.Writer) error {
	for _, side := range []struct {
		name string
		*Measured
	}{{"A", &c.A}, {"B", &c.B}} {
		fmt.Fprintf(w, "%s: %s on %s, %s, in %s: %s\n", side.name, names(side.LLMs), names(side.Served), names(side.Engines), side.Dir, names(side.RunIDs))
		if len(side.Served) > 1 {
			fmt.Fprintf(w, "note: %s averages over requests that ran on %s; choose among them with run=ID or gpu=NAME\n", side.name, names(side.Served))
		}
	}
	switch {
	case c.A.Simulated && c.B.Simulated:
		fmt.Fprintln(w, "SIMULATED on both sides: these numbers describe no real hardware.")
	case c.A.Simulated || c.B.Simulated:
		fmt.Fprintln(w, "SIMULATED on one side: its numbers describe no real hardware.")
	}
	for _, kind := range []struct {
		what string
		a, b []string
	}{{"models", c.A.LLMs, c.B.LLMs}, {"corpora", c.A.Corpora, c.B.Corpora}, {"servers", c.A.Engines, c.B.Engines}} {
		if !slices.Equal(slices.Sorted(slices.Values(kind.a)), slices.Sorted(slices.Values(kind.b))) {
			fmt.Fprintf(w, "note: the %s differ\n", kind.what)
		}
	}
	fmt.Fprintln(w)
	if len(c.Lines) == 0 {
		return c.printEmpty(w)
	}
	if err := table(w, c.Lines, ratioColumns); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nmeans over valid requests; B/A with 95 %% percentile bootstrap over requests (%d resamples, seed %d); each interval holds for itself\n", c.Resamples, c.Seed)
	_, err := fmt.Fprintln(w, c.gains())
	return err
}

// printEmpty says why there is nothing to compare.
func (c *Comparison) printEmpty(w io.Writer) error {
	fmt.Fprintln(w, "Nothing to compare: the sides have no valid requests of the same workload and size.")
	for _, side := range []struct {
		name string
		*Measured
	}{{"A", &c.A}, {"B", &c.B}} {
		var sizes, reasons []string
		for _, s := range side.sizes() {
			sizes = append(sizes, fmt.Sprintf("%s %d", s.workload, s.tokens))
		}
		line := fmt.Sprintf("%s: %d valid requests", side.name, len(side.requests))
		if len(sizes) > 0 {
			line += " (" + few(sizes, ", ", 12) + ")"
		}
		for _, reason := range slices.Sorted(maps.Keys(side.Counts.Reasons)) {
			reasons = append(reasons, fmt.Sprintf("%d × %s", side.Counts.Reasons[reason], reason))
		}
		if line += fmt.Sprintf(", %d not valid", side.Counts.Invalid); len(reasons) > 0 {
			line += ": " + few(reasons, ", ", 12)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// gains says what the sensors' gains do to the ratios of joules.
func (c *Comparison) gains() string {
	a, b := 100*c.A.GainError, 100*c.B.GainError
	switch {
	case a == 0 && b == 0:
		return "J: intervals include what the sensors leave open; the gains of simulated sensors are known"
	case c.SameGain:
		return "J: intervals include what the sensors leave open; their gains fall out, for the same boards measured both sides"
	}
	return fmt.Sprintf("J: intervals include what the sensors leave open, and their gains, of ±%.0f %% (A) and ±%.0f %% (B) against a meter", a, b)
}

var ratioColumns = []column[RatioLine]{
	{"workload", func(l RatioLine) string { return string(l.Workload) }},
	{"size", func(l RatioLine) string { return strconv.Itoa(int(l.Size)) }},
	{"mean", func(l RatioLine) string { return l.Metric }},
	{"requests", func(l RatioLine) string { return fmt.Sprintf("%d, %d", l.RequestsA, l.RequestsB) }},
	{"A", func(l RatioLine) string { return number(&l.A, l.digits) }},
	{"B", func(l RatioLine) string { return number(&l.B, l.digits) }},
	{"B/A", func(l RatioLine) string { return number(&l.Ratio, 3) }},
	{"95 % interval", func(l RatioLine) string {
		if l.Lo == nil {
			return "–"
		}
		return fmt.Sprintf("%.3f to %.3f", *l.Lo, *l.Hi)
	}},
	{"", func(l RatioLine) string {
		switch {
		case l.Lo == nil:
			return fmt.Sprintf("fewer than %d requests", leastRequests)
		case !l.Differs:
			return "not distinguishable"
		}
		return ""
	}},
}

// names are three of them, printable.
func names(all []string) string { return few(all, " and ", 3) }

// few are so many of them, printable.
func few(all []string, joined string, most int) string {
	shown := query.Printable(strings.Join(all[:min(len(all), most)], joined))
	if more := len(all) - most; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	return shown
}
