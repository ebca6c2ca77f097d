package fit

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestBoardsStandSideBySide(t *testing.T) {
	sizes := []int{10, 50, 100, 200, 500, 1000, 2000}
	fits := []Fit{*fitted(served(t, "A10", sizes, 1), Hardware{}), *fitted(served(t, "H100-SXM", sizes, 1), Hardware{})}
	for i := range fits {
		fits[i].GainError = 0.06
		fits[i].Simulated = true
	}
	var text, table strings.Builder
	if err := Print(&text, fits); err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(text.String(), "\n")
	if strings.Join(strings.Fields(first), " ") != "sim-A10 sim-H100-SXM" {
		t.Errorf("the first line is %q", first)
	}
	for _, want := range []string{"SIMULATED", "off by up to 6 %", "MEMORY_EFFICIENCY    0.62"} {
		if strings.Count(text.String(), want) < 2 {
			t.Errorf("%q is not said of both:\n%s", want, &text)
		}
	}
	if err := WriteCSV(&table, fits); err != nil || strings.Count(table.String(), "\n") != 1+2*len(fits[0].lines()) {
		t.Errorf("%v:\n%s", err, &table)
	}
	body, err := json.Marshal(fits[0])
	if err != nil || !strings.Contains(string(body), `"PREFILL_OVERHEAD_S":{"value":0.01`) {
		t.Errorf("%s, %v", body, err)
	}
}

func TestValuesAreReadable(t *testing.T) {
	for want, e := range map[string]Estimate{
		"14.49 ± 0.56 ms":       interval(0.01449, 0.00056, "s"),
		"0.4171 ± 0.0012 ms":    interval(0.4171e-3, 0.0012e-3, "s"),
		"3.16 ± 0.33 ns/token²": interval(3.16e-9, 0.33e-9, "s/token²"),
		"138.9 ± 3.5 W":         interval(138.9, 3.5, "W"),
		"0.980 ± 0.000 ":        interval(0.98, 0, ""),
		"2400 ± 310 J":          interval(2400, 310, "J"),
	} {
		value, half, unit := line{Estimate: e}.readable()
		if got := value + " ± " + half + " " + unit; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestLongTracesAreThinnedByWholeBlocks(t *testing.T) {
	var all []second
	for i := range 3*mostSeconds + 7 {
		all = append(all, second{Block: int64(i / blockSeconds)})
	}
	kept := thinned(all)
	if len(kept) > mostSeconds+blockSeconds || len(kept) < mostSeconds/2 {
		t.Errorf("%d of %d seconds are kept", len(kept), 3*mostSeconds+7)
	}
	for i := 0; i+blockSeconds <= len(kept); i += blockSeconds {
		if kept[i].Block != kept[i+blockSeconds-1].Block {
			t.Fatalf("block %d is broken", kept[i].Block)
		}
	}
}
