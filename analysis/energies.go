package analysis

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/llm-tracer/tracer/schema"
)

// StageEnergy is the mean energy of one stage of one size, its repetitions folded, over all boards.
type StageEnergy struct {
	J        float64 `json:"energy_j"`
	PlusOr   float64 `json:"energy_j_half_interval"` // half of the 95 % interval
	Resolved bool    `json:"sensor_resolved"`        // the sensor saw some of the repetitions alone, on every board
}

// add sums over boards. So do half intervals: the gains of all sensors may be off to one side.
func (e *StageEnergy) add(j, half float64, resolved bool) {
	e.J += j
	e.PlusOr += half
	e.Resolved = e.Resolved && resolved
}

// BoardEnergy is where one board's energy went.
type BoardEnergy struct {
	UUID     string   `json:"gpu_uuid"`
	GPU      string   `json:"gpu_name"`
	PrefillJ *float64 `json:"prefill_energy_j"`
	DecodeJ  *float64 `json:"decode_energy_j"`
	MixedJ   *float64 `json:"mixed_energy_j"`
	IdleJ    *float64 `json:"idle_energy_j"`
	WindowS  *float64 `json:"energy_window_s"`
	Closure  *float64 `json:"energy_closure_pct"`
	Reasons  []string `json:"invalid_reasons"`
}

// readFolds gives the size lines their energies.
func (s *Summary) readFolds(d Dataset) error {
	files, err := d.Files(schema.Folds.Name, s.RunID)
	if err != nil {
		return err
	}
	columns := []string{"workload", "target_tokens", "inference_stage", "energy_j", "energy_j_lo", "energy_j_hi", "requests_resolved", "run_id"}
	for _, f := range files {
		err := scan(f, columns, func(a []arrow.Array) error {
			size, j, lo, hi, resolved := a[1].(*array.Int32), a[3].(*array.Float64), a[4].(*array.Float64), a[5].(*array.Float64), a[6].(*array.Int32)
			for i := range size.Len() {
				if text(a[7], i) != s.RunID || !j.IsValid(i) {
					continue
				}
				at := slices.IndexFunc(s.Sizes, func(l SizeLine) bool { return l.Workload == text(a[0], i) && l.Size == size.Value(i) })
				if at < 0 {
					continue
				}
				e := &s.Sizes[at].Prefill
				if text(a[2], i) == string(schema.StageDecode) {
					e = &s.Sizes[at].Decode
				}
				if *e == nil {
					*e = &StageEnergy{Resolved: true}
				}
				(*e).add(j.Value(i), (hi.Value(i)-lo.Value(i))/2, resolved.Value(i) > 0)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readAccounts reads where the boards' energy went.
func (s *Summary) readAccounts(d Dataset) error {
	files, err := d.Files(schema.Runs.Name, s.RunID)
	if err != nil {
		return err
	}
	columns := []string{"gpu_uuid", "gpu_name", "prefill_energy_j", "decode_energy_j", "mixed_energy_j", "idle_energy_j", "energy_window_s", "energy_closure_pct", "invalid_reasons", "run_id"}
	for _, f := range files {
		err := scan(f, columns, func(a []arrow.Array) error {
			for i := range a[0].Len() {
				if text(a[9], i) != s.RunID {
					continue
				}
				s.Boards = append(s.Boards, BoardEnergy{
					UUID: text(a[0], i), GPU: text(a[1], i), PrefillJ: float(a[2], i), DecodeJ: float(a[3], i), MixedJ: float(a[4], i), IdleJ: float(a[5], i),
					WindowS: float(a[6], i), Closure: float(a[7], i), Reasons: list(a[8], i),
				})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.SortFunc(s.Boards, func(a, b BoardEnergy) int { return cmp.Or(cmp.Compare(a.GPU, b.GPU), cmp.Compare(a.UUID, b.UUID)) })
	return nil
}

func float(a arrow.Array, i int) *float64 {
	v := a.(*array.Float64)
	if !v.IsValid(i) {
		return nil
	}
	x := v.Value(i)
	return &x
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

// printEnergies says what the energies stand on.
func (s *Summary) printEnergies(w io.Writer) error {
	if slices.ContainsFunc(s.Sizes, func(l SizeLine) bool { return l.Prefill != nil || l.Decode != nil }) {
		if _, err := fmt.Fprintln(w, "J: mean energy of one request's stage, all boards, ± 95 %; * the sensor never saw that stage alone: known from its repetitions together"); err != nil {
			return err
		}
	}
	for _, b := range s.Boards {
		if b.PrefillJ == nil {
			if slices.Contains(b.Reasons, schema.ReasonStuck) {
				if _, err := fmt.Fprintf(w, "no energy of %s: its power sensor stood still while its work changed; NOT VALID: %s\n", b.label(s), strings.Join(b.Reasons, ", ")); err != nil {
					return err
				}
			} else if slices.Contains(b.Reasons, schema.ReasonNoEnergy) {
				if _, err := fmt.Fprintf(w, "no energy of %s: its power sensor is a running mean, or was read too rarely (gaps over two thirds of its period) or too briefly\n", b.label(s)); err != nil {
					return err
				}
			}
			continue
		}
		line := fmt.Sprintf("energy of %s: prefill %s J, decode %s J, mixed %s J, idle %s J", b.label(s), number(b.PrefillJ, 0), number(b.DecodeJ, 0), number(b.MixedJ, 0), number(b.IdleJ, 0))
		if b.Closure != nil {
			line += fmt.Sprintf("; %+.2f %% from the board's own counter over %.0f s", *b.Closure, *b.WindowS)
		}
		if len(b.Reasons) > 0 {
			line += "; NOT VALID: " + strings.Join(b.Reasons, ", ")
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func (b *BoardEnergy) label(s *Summary) string { return s.label(StageLine{GPU: b.GPU, UUID: b.UUID}) }
