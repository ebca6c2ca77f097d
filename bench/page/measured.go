package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/llm-tracer/tracer/bench/machine"
)

// measured is when, where and of what a part was measured.
type measured struct {
	machine.Machine
	Version string
	Seconds float64
	Others  float64 // cores that work other than the part's own had meanwhile
}

// busy is how many cores of other work a part's figures cannot take.
const busy = 0.25

// stamp adds it to a document.
func stamp(path, version string, seconds, others float64) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var document map[string]any
	if err := json.Unmarshal(text, &document); err != nil {
		return fmt.Errorf("%s is no JSON document: %w", path, err)
	}
	m, err := machine.This()
	if err != nil {
		return err
	}
	document["measured"] = measured{m, version, seconds, max(0, others)}
	if text, err = json.Marshal(document); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

func stamped(document []byte) (*measured, error) {
	var of struct {
		Measured *measured `json:"measured"`
	}
	err := json.Unmarshal(document, &of)
	return of.Measured, err
}

// differs is what a reader has to know of a part before its figures: that they are of other code or another machine than the
// page's, or that the machine had other work.
func (m *measured) differs(version string, here machine.Machine) string {
	if m == nil {
		return "Nobody wrote down which version and machine this part is of."
	}
	said := ""
	if m.Version != version {
		said = fmt.Sprintf("This part is of tracer %s, of %s.", m.Version, m.Date)
	}
	if m.CPU != here.CPU || m.Cores != here.Cores {
		said += fmt.Sprintf(" It was measured on another machine: %s, %d cores.", m.CPU, m.Cores)
	}
	if m.Others > busy {
		said += fmt.Sprintf(" The machine had other work meanwhile, %.1f of its %d cores.", m.Others, m.Cores)
	}
	return strings.TrimSpace(said)
}

// parts is the table of the page's head.
func parts(sections []section) map[string]any {
	head := []any{"part", "command", "tracer", "date", "minutes", "other work, cores"}
	rows := make([]any, len(sections))
	for i, s := range sections {
		row := []any{s.title, fmt.Sprintf("`bench/all.sh %s`", s.name), "–", "–", "–", "–"}
		if m := s.measured; m != nil {
			row = append(row[:2], m.Version, m.Date, fmt.Sprintf("%.1f", m.Seconds/60), fmt.Sprintf("%.2f", m.Others))
		}
		rows[i] = row
	}
	return map[string]any{"head": head, "rows": rows, "text": true}
}
