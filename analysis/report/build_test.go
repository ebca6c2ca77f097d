package report

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/analysis/query"
)

const sample = "../../datasets/sample"

func build(t *testing.T, c query.Choice) (*Model, error) {
	t.Helper()
	d, err := query.Open(t.Context(), sample)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return Build(t.Context(), d, sample, "test", c)
}

func TestTheSampleIsDrawnAsItIs(t *testing.T) {
	m, err := build(t, query.Choice{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Dataset != "sample" || !m.Simulated || len(m.Runs) != 3 || len(m.Servings) != 3 || len(m.Timelines) != 3 || len(m.CloseUps) != 6 {
		t.Errorf("%s: simulated %v, %d runs, %d servings, %d timelines, %d close-ups", m.Dataset, m.Simulated, len(m.Runs), len(m.Servings), len(m.Timelines), len(m.CloseUps))
	}
	for _, line := range m.Timelines {
		run := m.Runs[line.Run]
		if line.BucketS != 0 || line.Values != run.Readings || int64(len(line.Requests)) != run.Requests {
			t.Errorf("%s: buckets of %v s, %d of %d readings, %d of %d requests", run.RunID, line.BucketS, line.Values, run.Readings, len(line.Requests), run.Requests)
		}
		at, bands := line.T.Floats(), line.BandT.Floats()
		if last := at[len(at)-1]; len(bands) != len(line.Band)+1 || bands[len(bands)-1] < last {
			t.Errorf("%s: %d stretches of %d bounds end at %v s, before the value of %v s", run.RunID, len(line.Band), len(bands), bands[len(bands)-1], last)
		}
	}
	b := open(t, m, 1280, 900)
	for board := range 3 {
		if n := b.drawn(b.picture("#time"), []string{"--c0", "--c1", "--c2"}[board]); n < 100 {
			t.Errorf("%d pixels in the colour of board %d", n, board)
		}
	}
}

func TestAStageIsHollowUnlessHalfOfItsRequestsWereSeenAlone(t *testing.T) {
	for _, c := range []struct {
		alone, requests int
		want            bool
	}{{0, 6, false}, {1, 6, false}, {2, 6, false}, {3, 6, true}, {6, 6, true}, {0, 0, false}} {
		if got := oftenAlone(&analysis.StageEnergy{Alone: c.alone, Requests: c.requests}); got != c.want {
			t.Errorf("%d of %d: %v", c.alone, c.requests, got)
		}
	}
	m, err := build(t, query.Choice{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range m.Energies {
		if e.Workload == "decode" && e.Stage == "decode" && e.Target == 500 && (e.Resolved != e.Requests || !e.Seen) {
			t.Errorf("%s: %d of %d long decodes were seen alone", m.Servings[e.Serving].Label, e.Resolved, e.Requests)
		}
	}
}

func TestOnlyWhatWasChosenIsReported(t *testing.T) {
	m, err := build(t, query.Choice{GPU: "sim-A10"})
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := m.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	if text := page.String(); !strings.Contains(text, "sim-A10") || strings.Contains(text, "sim-H100-SXM") {
		t.Error("the page has other boards than the chosen one")
	}
	if m, err = build(t, query.Choice{Runs: []string{"sample-a100-80"}}); err != nil || len(m.Runs) != 1 || m.Runs[0].RunID != "sample-a100-80" {
		t.Errorf("%v, %v", m, err)
	}
	if _, err = build(t, query.Choice{LLM: "another"}); !errors.Is(err, query.ErrNoneChosen) {
		t.Errorf("got %v, want ErrNoRuns", err)
	}
}

func TestColumnsKeepAbsenceAndOrder(t *testing.T) {
	c := watts()
	c.add(new(12.34))
	c.add(nil)
	c.add(new(-1.0))
	if got := c.Floats(); got[0] != 12.34 || !math.IsNaN(got[1]) || got[2] != -1 {
		t.Errorf("%v", got)
	}
}

// What the stages of a kind of request add up to is what its requests took, those without a decode included.
func TestTheSplitAddsUpToWhatRequestsTook(t *testing.T) {
	m, err := build(t, query.Choice{GPU: "sim-A10"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := query.Open(t.Context(), sample)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var took []struct {
		Workload string  `json:"workload"`
		Target   int32   `json:"target_tokens"`
		J        float64 `json:"energy_j"`
	}
	if err := d.Select(t.Context(), &took, "SELECT workload, target_tokens, avg(energy_j) AS energy_j FROM requests WHERE gpu_name = 'sim-A10' AND valid AND NOT warmup GROUP BY ALL"); err != nil || len(took) != 6 {
		t.Fatalf("%d kinds, %v", len(took), err)
	}
	for _, want := range took {
		var sum float64
		for _, e := range m.Energies {
			if e.Workload == want.Workload && e.Target == want.Target {
				sum += e.OfAllJ
			}
		}
		if math.Abs(sum/want.J-1) > 0.01 {
			t.Errorf("%s %d: the stages add up to %.2f J, requests took %.2f", want.Workload, want.Target, sum, want.J)
		}
	}
}

// Warm-up is no part of what a stage draws.
func TestTheDistributionOfPowerLeavesWarmUpOut(t *testing.T) {
	d, err := query.Open(t.Context(), sample)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	m, err := Build(t.Context(), d, sample, "test", query.Choice{})
	if err != nil {
		t.Fatal(err)
	}
	var want []struct {
		Updates int64 `json:"updates"`
		Warm    int64 `json:"warm"`
	}
	if err := d.Select(t.Context(), &want, "SELECT count(*) FILTER (NOT warmup) AS updates, count(*) FILTER (warmup) AS warm FROM samples WHERE power_is_new"); err != nil {
		t.Fatal(err)
	}
	got := int64(0)
	for _, p := range m.Powers {
		got += p.Updates
	}
	if got != want[0].Updates || want[0].Warm == 0 {
		t.Errorf("%d values are drawn, of %+v", got, want[0])
	}
}
