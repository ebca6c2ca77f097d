package paper

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg"

	"github.com/llm-tracer/tracer/analysis/report"
)

// measured is a model of two boards, of which the second never saw a prefill alone.
func measured() *report.Model {
	m := &report.Model{Dataset: "set", Tracer: "test", BinW: 5}
	for i, name := range []string{"NVIDIA A10", "sim-H200"} {
		m.Servings = append(m.Servings, report.Serving{Label: name, LLM: "org/model", Colour: i})
		m.Runs = append(m.Runs, report.Run{RunID: "run-" + name, UUID: name, GPU: name, Label: name, LLM: "org/model", Serving: i, Simulated: i == 1})
		for bin := range 40 {
			m.Powers = append(m.Powers, report.Power{GPU: name, LLM: "org/model", Stage: "prefill", W: 100 + bin, Updates: int64(bin)})
		}
		for _, size := range []float64{10, 100, 1000} {
			m.Sizes = append(m.Sizes, report.Size{Serving: i, Workload: "prefill", InputTokens: &size, TTFTLo: new(0.01), TTFT: new(0.02), TTFTHi: new(0.03)})
			for _, stage := range []string{"prefill", "decode"} {
				m.Energies = append(m.Energies, report.Energy{Serving: i, Workload: stage, Target: int32(size), Stage: stage, Seen: i == 0, J: size, OfAllJ: size, Half: size / 2, InputTokens: &size, OutputTokens: &size})
			}
		}
		for _, workload := range []string{"prefill", "decode"} {
			m.CloseUps = append(m.CloseUps, report.CloseUp{Run: i, Workload: workload, In: new(int32(10)), Out: new(int32(20)), FirstTokenS: 0.5, LastTokenS: 2, Points: []report.Point{{S: 0, Value: new(60.0)}, {S: 1, Value: new(90.0)}, {S: 2}}})
		}
	}
	return m
}

func TestEachFigureIsWrittenInEachFormat(t *testing.T) {
	folder := t.TempDir()
	names, err := Write(measured(), folder, []string{"svg", "pdf", "png"}, Window{})
	if err != nil {
		t.Fatal(err)
	}
	for _, figure := range []string{"request-prefill", "request-decode", "power-by-stage", "ttft", "prefill-energy", "token-energy", "energy-split"} {
		if !slices.Contains(names, figure+".svg") {
			t.Errorf("there is no %s in %v", figure, names)
			continue
		}
		words := said(t, read(t, folder, figure+".svg"))
		for _, want := range []string{"SIMULATED", "NVIDIA A10", "sim-H200"} {
			if !strings.Contains(words, want) {
				t.Errorf("%s.svg does not say %s", figure, want)
			}
		}
		if pdf := read(t, folder, figure+".pdf"); !bytes.HasPrefix(pdf, []byte("%PDF-")) {
			t.Errorf("%s.pdf begins with %q", figure, pdf[:8])
		}
		picture, err := png.Decode(bytes.NewReader(read(t, folder, figure+".png")))
		if err != nil || picture.Bounds().Dx() < 900 {
			t.Errorf("%s.png: %v, %v", figure, picture, err)
		}
	}
	if said := string(read(t, folder, "figures.txt")); !strings.Contains(said, "run-NVIDIA A10") {
		t.Errorf("figures.txt does not name the run:\n%s", said)
	}
}

func TestAnUnseenStageIsDashed(t *testing.T) {
	folder := t.TempDir()
	m := measured()
	if _, err := Write(m, folder, []string{"svg"}, Window{}); err != nil {
		t.Fatal(err)
	}
	with := bytes.Count(read(t, folder, "energy-split.svg"), []byte("stroke-dasharray"))
	for i := range m.Energies {
		m.Energies[i].Seen = true
	}
	if _, err := Write(m, folder, []string{"svg"}, Window{}); err != nil {
		t.Fatal(err)
	}
	if without := bytes.Count(read(t, folder, "energy-split.svg"), []byte("stroke-dasharray")); with <= without {
		t.Errorf("%d dashed lines with unseen stages, %d without", with, without)
	}
}

func TestLongNamesFitTheirPlaces(t *testing.T) {
	m := measured()
	for i, llm := range []string{"meta-llama/Meta-Llama-3-8B", "some-owner/a-model-whose-name-is-longer-than-any-panel-of-a-figure-is-wide-in-a-column-of-a-paper"} {
		m.Servings[i].LLM, m.Runs[i].LLM = llm, llm
	}
	folder := t.TempDir()
	if _, err := Write(m, folder, []string{"svg"}, Window{}); err != nil {
		t.Fatal(err)
	}
	for _, figure := range []string{"request-prefill", "ttft", "energy-split"} {
		words := said(t, read(t, folder, figure+".svg"))
		if !strings.Contains(words, "Meta-Llama-3-8B") || !strings.Contains(words, "a-model-whose") || !strings.Contains(words, "…") || strings.Contains(words, "meta-llama/") {
			t.Errorf("%s.svg says %q", figure, words)
		}
	}
	figure := figure{title: strings.Repeat("words ", 40), width: column}
	for _, line := range figure.titleLines() {
		if wide := textStyle(normal).Width(line); wide > column {
			t.Errorf("%q is %v wide, its figure %v", line, wide, vg.Length(column))
		}
	}
}

func TestTicksAreFewAndPlain(t *testing.T) {
	for _, c := range []struct {
		most   int
		lo, hi float64
		want   string
	}{
		{3, 0, 537.4, "0 200 400"},
		{3, -0.38, 0.64, "0.0 0.5"},
		{5, -0.03, 0.02, "−0.03 −0.02 −0.01 0.00 0.01 0.02"},
		{5, 0, 120_000, "0 50000 100000"},
		{5, 1, 1, ""},
	} {
		var labels []string
		for _, tick := range linear(c.most).Ticks(c.lo, c.hi) {
			labels = append(labels, tick.Label)
		}
		if got := strings.Join(labels, " "); got != c.want {
			t.Errorf("from %v to %v: %s, want %s", c.lo, c.hi, got, c.want)
		}
	}
}

func TestThinnedPointsKeepTheirExtremes(t *testing.T) {
	var at, v []float64
	for i := range 100_000 {
		at, v = append(at, float64(i)), append(v, 100)
	}
	v[54_321], v[77_777] = 1, 999
	thin := within(at, v, Window{0, 100_000})
	if len(thin) > 2*pieces {
		t.Errorf("%d points are left", len(thin))
	}
	found := 0
	for _, p := range thin {
		if p.X == 54_321 && p.Y == 1 || p.X == 77_777 && p.Y == 999 {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 extremes are left", found)
	}
}

func read(t *testing.T, folder, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// said is all that an SVG says.
func said(t *testing.T, drawing []byte) string {
	t.Helper()
	var all strings.Builder
	for d := xml.NewDecoder(bytes.NewReader(drawing)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		if words, ok := token.(xml.CharData); ok {
			all.Write(words)
		}
	}
}
