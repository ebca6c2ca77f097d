package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Truth is what really happened to one request: instants of CLOCK_MONOTONIC in ns. Prefill started, and the work ended,
// when the board's level changed; the first token came when it was handed to the socket. An instant that never came,
// because the client went away first, is left out. A request whose client went away ends when the board stops working
// on it, at the end of the step or prefill that was running.
type Truth struct {
	RequestID      string `json:"request_id"`
	PrefillStartNS int64  `json:"prefill_start_ns,omitzero"`
	FirstTokenNS   int64  `json:"first_token_ns,omitzero"`
	EndNS          int64  `json:"end_ns"`
}

// PowerChange is what each board truly draws, in W, from an instant of CLOCK_MONOTONIC on. A file of them stands beside that
// of the truth, its name ending in -power.jsonl.
type PowerChange struct {
	AtNS   int64   `json:"at_ns"`
	PowerW float64 `json:"power_w"`
}

// PowerPath is the file of power changes that belongs to a file of truths.
func PowerPath(truth string) string { return strings.TrimSuffix(truth, ".jsonl") + "-power.jsonl" }

// meter is a load that writes down what it is set to draw.
type meter struct {
	ledger *ledger
	last   float64
}

func (m *meter) Set(atNS int64, powerW, _, _ float64) {
	if powerW != m.last {
		m.ledger.write(PowerChange{AtNS: atNS, PowerW: powerW})
		m.last = powerW
	}
}

// ledger is a file of truths, one JSON object a line, each line written at once. A nil ledger writes nothing.
type ledger struct {
	mu   sync.Mutex
	file *os.File
	err  error // the first that writing met
}

// openLedger adds to the file, making it and its folder where there is none.
func openLedger(path string) (*ledger, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of the truth file: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the truth file: %w", err)
	}
	return &ledger{file: f}, nil
}

func (l *ledger) write(t any) {
	if l == nil {
		return
	}
	line, err := json.Marshal(t)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		_, err = l.file.Write(append(line, '\n'))
	}
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("writing the truth: %w", err)
	}
}

// close reports the first error that writing met: a truth file that lacks lines must not pass for a whole one.
func (l *ledger) close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.err, l.file.Close())
}
