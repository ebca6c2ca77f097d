package analysis

import (
	"fmt"
	"strconv"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/schema"
)

// StageEnergy is the mean energy of one stage of one size, its repetitions folded, over all boards.
type StageEnergy struct {
	J        float64  `json:"energy_j"`
	PlusOr   float64  `json:"energy_j_half_interval"` // half of the 95 % interval
	Resolved bool     `json:"sensor_resolved"`        // the sensor saw some of the repetitions alone, on every board
	Requests int      `json:"requests"`               // folded
	Alone    int      `json:"requests_resolved"`      // of them, those that the sensor saw alone
	Scatter  *float64 `json:"scatter"`                // of runs, in what their intervals let expect; absent under two
}

// BoardEnergy is where one board's energy went in one run.
type BoardEnergy struct {
	RunID    string        `json:"run_id"`
	UUID     string        `json:"gpu_uuid"`
	GPU      string        `json:"gpu_name"`
	LLM      string        `json:"llm_name"`
	PrefillJ *float64      `json:"prefill_energy_j"`
	DecodeJ  *float64      `json:"decode_energy_j"`
	MixedJ   *float64      `json:"mixed_energy_j"`
	IdleJ    *float64      `json:"idle_energy_j"`
	WindowS  *float64      `json:"energy_window_s"`
	Closure  *float64      `json:"energy_closure_pct"`
	Reasons  query.Strings `json:"invalid_reasons"`
}

// energyLine is a row of energies.sql.
type energyLine struct {
	group
	Workload schema.Workload `json:"workload"`
	Size     int32           `json:"target_tokens"`
	Stage    schema.Stage    `json:"inference_stage"`
	Runs     int             `json:"runs"`
	Requests int             `json:"requests"`
	Resolved int             `json:"requests_resolved"`
	J        float64         `json:"energy_j"`
	PlusOr   float64         `json:"energy_j_half_interval"`
	GainJ    float64         `json:"gain_error_j"`
	Scatter  *float64        `json:"scatter"`
}

// takeEnergies gives the size lines their energies.
func (s *Summary) takeEnergies(energies []energyLine) {
	for _, e := range energies {
		for i := range s.Sizes {
			l := &s.Sizes[i]
			if l.group != e.group || l.Workload != e.Workload || l.Size != e.Size {
				continue
			}
			energy := &StageEnergy{J: e.J, PlusOr: e.PlusOr, Resolved: e.Resolved > 0, Requests: e.Requests, Alone: e.Resolved, Scatter: e.Scatter}
			if e.Stage == schema.StageDecode {
				l.Decode = energy
			} else {
				l.Prefill = energy
			}
		}
	}
}

// of is how many requests the energy is the mean of.
func (e *StageEnergy) of() string {
	if e == nil {
		return "–"
	}
	return strconv.Itoa(e.Requests)
}

// String is the energy with its interval; a star marks what the sensor saw only together with other work.
func (e *StageEnergy) String() string {
	if e == nil {
		return "–"
	}
	mark := " "
	if !e.Resolved {
		mark = "*"
	}
	digits := 2
	if e.PlusOr >= 1 {
		digits = 1
	}
	return fmt.Sprintf("%.*f ± %.*f%s", digits, e.J, digits, e.PlusOr, mark)
}
