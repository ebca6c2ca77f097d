package paper

import (
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/analysis/fit"
)

func TestResidualsAreDrawnAndWhatIsNotFittedSaysWhy(t *testing.T) {
	line := fit.Curve{Form: "a + b·n"}
	for i := range 3 * mostPoints {
		x := float64(1 + i%50)
		line.Points = append(line.Points, fit.Point{X: x, Y: 2 * x, Fitted: 1.9 * x, Residual: 0.1 * x})
	}
	folder := t.TempDir()
	names, err := Residuals([]fit.Fit{{
		GPU: "NVIDIA A10", LLM: "org/model", Boards: 2, Simulated: true, PrefillTime: line, PrefillEnergy: fit.Curve{Why: "no request has it"}, TokenTime: line,
	}}, folder, []string{"svg", "pdf"})
	if err != nil || strings.Join(names, " ") != "residuals-2x-A10-org--model.svg residuals-2x-A10-org--model.pdf" {
		t.Fatalf("%v, %v", names, err)
	}
	drawing := read(t, folder, names[0])
	words := said(t, drawing)
	for _, want := range []string{"SIMULATED", "org/model on 2 × NVIDIA A10", "a + b·n", "no fit: no request has", "residual (%)", "context tokens"} {
		if !strings.Contains(words, want) {
			t.Errorf("it does not say %q: %s", want, words)
		}
	}
	if len(drawing) > 4*mostPoints*400 {
		t.Errorf("%d bytes", len(drawing))
	}
}
