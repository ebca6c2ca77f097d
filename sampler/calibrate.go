package sampler

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

// Field is a sensor that is calibrated.
type Field int

// The fields.
const (
	FieldPowerInstant Field = iota // 186
	FieldPowerAverage              // 185
	FieldEnergy                    // 83
	FieldUtilization               // nvmlDeviceGetUtilizationRates
	fieldCount
)

var fieldNames = [fieldCount]string{"instant power", "average power", "energy counter", "utilisation"}

// String names the sensor.
func (f Field) String() string { return fieldNames[f] }

// FieldReader is a board whose sensors can be read one by one. It is used by one goroutine at a time.
type FieldReader interface {
	// Board is what stays the same about the board.
	Board() schema.Board
	// ReadField fills in one sensor. One that is unsupported or fails stays absent; an error that wraps ErrBoardLost is
	// the only one.
	ReadField(f Field, r *schema.Reading) error
}

// CalibrationLength holds 24 updates of the slowest sensor that is known: utilisation on V100, every 167 ms.
const CalibrationLength = 4 * time.Second

const (
	probeEvery = 2 * time.Millisecond
	// dearCall is how many times its cost passes before a call is made again: an energy counter that takes 2.4 ms is asked
	// every 24 ms, so that calibration loads no driver.
	dearCall = 10
	askAgain = 100 * time.Millisecond // a sensor that did not answer
)

// Observation is what a board's sensors showed over a while.
type Observation struct{ fields [fieldCount]trail }

// trail is one sensor under observation.
type trail struct {
	reads   int64
	value   float64
	seenNS  int64 // start of the last look
	dueNS   int64 // of the next look
	updates []update
	cost    histogram
}

// update is a change of value.
type update struct {
	edge

	value float64
}

// Observe reads every field of the boards every 2 ms for a while, on a goroutine that is locked to its thread. The boards
// belong to Observe until it returns. A board that is lost is observed no longer; it fails where all are, where the context
// ends, and with ErrHung where a call takes longer than patience: that board is abandoned.
func Observe(ctx context.Context, boards []FieldReader, length, patience time.Duration) ([]Observation, error) {
	var at atomic.Int32 // the board in a call
	observed, err := Within(length+patience, func() ([]Observation, error) { return observe(ctx, boards, length, &at) })
	if errors.Is(err, ErrHung) {
		hung := boards[at.Load()]
		if d, ok := hung.(Abandoner); ok {
			d.Abandon()
		}
		return nil, fmt.Errorf("calibrating %s: %w", hung.Board().UUID, err)
	}
	return observed, err
}

func observe(ctx context.Context, boards []FieldReader, length time.Duration, at *atomic.Int32) ([]Observation, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, restore := punctual()
	defer restore()

	observed, losses := make([]Observation, len(boards)), make([]error, len(boards))
	start := clock.Now()
	pace := pacer{startNS: start, periodNS: int64(probeEvery)}
	for now := start; now < start+int64(length); now = clock.Now() {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("calibrating: %w", context.Cause(ctx))
		}
		pace.take(now)
		alive := false
		for i, b := range boards {
			if losses[i] == nil {
				at.Store(int32(i))
				losses[i] = observed[i].look(b)
			}
			alive = alive || losses[i] == nil
		}
		if !alive {
			return nil, fmt.Errorf("calibrating: %w", errors.Join(losses...))
		}
		clock.SleepUntil(pace.due())
	}
	return observed, nil
}

// look reads the fields that are due.
func (o *Observation) look(b FieldReader) error {
	var r schema.Reading
	for f := range fieldCount {
		t := &o.fields[f]
		start := clock.Now()
		if start < t.dueNS {
			continue
		}
		err := b.ReadField(f, &r)
		end := clock.Now()
		if err != nil {
			return err
		}
		value := f.of(&r)
		if !value.OK {
			t.dueNS = start + int64(askAgain)
			continue
		}
		t.dueNS = start + dearCall*(end-start)
		t.cost.record(end - start)
		t.note(value.V, start, end)
	}
	return nil
}

func (t *trail) note(value float64, startNS, endNS int64) {
	if t.reads > 0 && value != t.value {
		t.updates = append(t.updates, update{edge{t.seenNS, endNS}, value})
	}
	t.reads++
	t.value, t.seenNS = value, startNS
}

// of is a field's value in a reading.
func (f Field) of(r *schema.Reading) schema.Opt[float64] {
	switch f {
	case FieldPowerInstant:
		return schema.Opt[float64]{V: float64(r.PowerInstantW.V), OK: r.PowerInstantW.OK}
	case FieldPowerAverage:
		return schema.Opt[float64]{V: float64(r.PowerAverageW.V), OK: r.PowerAverageW.OK}
	case FieldEnergy:
		return r.EnergyTotalJ
	case FieldUtilization:
		return schema.Opt[float64]{V: float64(r.GPUUtilPct.V), OK: r.GPUUtilPct.OK}
	}
	return schema.Opt[float64]{}
}

// Calibration is what the observation tells. With a load, what the board was asked to do meanwhile, the averaging windows
// of its power sensors are measured too.
func (o *Observation) Calibration(load []Work) schema.Calibration {
	var c schema.Calibration
	for f, into := range [fieldCount]*schema.FieldCalibration{&c.PowerInstant, &c.PowerAverage, &c.Energy, &c.Utilization} {
		t := &o.fields[f]
		q := t.cost.quantiles()
		into.Reads, into.Changes, into.CallP50, into.CallP99 = t.reads, int64(len(t.updates)), q.P50, q.P99
		edges := make([]edge, len(t.updates))
		for i, u := range t.updates {
			edges[i] = u.edge
		}
		r, ok := fitRhythm(edges)
		if !ok {
			continue
		}
		into.Period, into.Confidence = time.Duration(r.periodNS), r.confidence
		if Field(f) == FieldPowerInstant || Field(f) == FieldPowerAverage {
			if w, ok := fitWindow(t.updates, r, load); ok {
				into.Window, into.WindowError = w.window, w.uncertainty
			}
		}
	}
	return c
}

// Calibrated is a power sensor by a table, corrected by what was measured.
func Calibrated(s schema.Sensor, c schema.FieldCalibration) schema.Sensor {
	if c.Period == 0 {
		return s
	}
	s.Period, s.PeriodConfidence = c.Period, schema.Some(c.Confidence)
	if c.Window == 0 {
		s.Provenance = "period calibrated, window " + s.Provenance
		return s
	}
	s.Window, s.WindowError, s.Provenance = c.Window, c.WindowError, "calibrated"
	s.Average = c.Window > averageBeyond*c.Period
	return s
}

// averageBeyond is how many periods the window of a sensor spans that shows a running average: the known ones span ten,
// those of instant sensors one at most.
const averageBeyond = 3
