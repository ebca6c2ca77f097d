package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// Header is the first frame: all that the rows of a run need beside readings and requests, and what collect --resume needs
// to go on with it.
type Header struct {
	Run      schema.Run        `json:"run"` // as it stood at the start
	Boards   []schema.Board    `json:"boards"`
	Sampling []schema.Sampling `json:"sampling"` // per board: what was planned
	Workers  int               `json:"workers"`
	Job      *store.Job        `json:"job,omitempty"`
	// Columns are the readings' own: who has the same can read a batch without the first, which alone tells them.
	Columns uint32 `json:"columns,omitempty"`
}

// mostWorkers bounds what a damaged header can ask for.
const mostWorkers = 1 << 16

// Look is when the pipeline looked at its rings, and the clocks when it wrote down what was there.
type Look struct {
	NS    int64 // every request announced before it is in the journal
	Clock clock.Pair
}

type opened struct {
	Worker int          `json:"worker"`
	OpenNS int64        `json:"open_ns"`
	Span   *schema.Span `json:"span,omitempty"`
}

type answering struct {
	Worker       int   `json:"worker"`
	FirstTokenNS int64 `json:"first_token_ns"`
}

type closed struct {
	Worker int          `json:"worker"`
	Span   *schema.Span `json:"span"`
}

// End is the last frame of a run that was not broken off.
type End struct {
	Run      schema.Run        `json:"run"`
	Sampling []schema.Sampling `json:"sampling"`
}

// Event is one frame of a replay. Exactly one of Span and End is set, or neither: then it is an opening where OpenNS is
// set, a first token where FirstTokenNS is, and a batch of readings otherwise.
type Event struct {
	Worker  int
	OpenNS  int64
	Opening *schema.Span // of an opening, as far as it was told
	// FirstTokenNS is when the answer to the worker's request began.
	FirstTokenNS int64
	Span         *schema.Span
	End          *End
	Look         Look // of readings
}

// Replay reads a journal's frames in order. The readings themselves are left to Rows.
type Replay struct{ position }

// Replay begins after the header.
func (j *Journal) Replay() (*Replay, error) {
	r := &Replay{position{j: j, at: int64(len(magic))}}
	if _, err := r.read(); err != nil {
		return nil, fmt.Errorf("reading the journal's header: %w", err)
	}
	return r, nil
}

// At is where the replay has come to.
func (r *Replay) At() int64 { return r.at }

// Ahead is another replay, from where this one has come to.
func (r *Replay) Ahead() *Replay { return &Replay{position{j: r.j, at: r.at}} }

// Next gives the next frame: io.EOF after the last, a *DamageError where something cannot be read. After damage inside it
// can be called again, and goes on behind it.
func (r *Replay) Next() (Event, error) {
	at := r.at
	k, err := r.read()
	var e Event
	if err == nil {
		e, err = r.event(k)
	}
	if errors.Is(err, errTorn) {
		r.at = at
		err := r.j.damage(at)
		if d, ok := errors.AsType[*DamageError](err); ok && d.Inside {
			r.at += d.Bytes
			r.j.passed(at, r.at)
		}
		return Event{}, err
	}
	return e, err
}

// event decodes what was read. What does not decode counts as torn.
func (r *Replay) event(k kind) (e Event, err error) {
	switch k {
	case kindReadings:
		e.Look, err = lookOf(r.payload)
	case kindOpened:
		var o opened
		err = json.Unmarshal(r.payload, &o)
		e.Worker, e.OpenNS, e.Opening = o.Worker, o.OpenNS, o.Span
		if err == nil && o.Span != nil && o.Span.Prompt == nil {
			err = errTorn
		}
	case kindAnswering:
		var a answering
		err = json.Unmarshal(r.payload, &a)
		e.Worker, e.FirstTokenNS = a.Worker, a.FirstTokenNS
		if err == nil && a.FirstTokenNS <= 0 {
			err = errTorn
		}
	case kindClosed:
		var c closed
		err = json.Unmarshal(r.payload, &c)
		e.Worker, e.Span = c.Worker, c.Span
		if err == nil && (c.Span == nil || c.Span.Prompt == nil) {
			err = errTorn
		}
	case kindEnd:
		e.End = &End{}
		err = json.Unmarshal(r.payload, e.End)
		if len(e.End.Sampling) != len(r.j.Header.Boards) {
			err = errTorn
		}
	case kindHeader: // there is one only
		err = errTorn
	}
	if err != nil || e.Worker < 0 || e.Worker >= r.j.Header.Workers && k != kindReadings && k != kindEnd {
		return Event{}, errTorn
	}
	return e, nil
}

func (j *Journal) readHeader() error {
	start := make([]byte, len(magic))
	if _, err := j.file.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the journal: %w", err)
	}
	if string(start) != magic {
		return fmt.Errorf("%s cannot be read: %w", j.path, ErrNothing)
	}
	p := position{j: j, at: int64(len(magic))}
	k, err := p.read()
	if err == nil && k != kindHeader {
		err = errTorn
	}
	j.Header = &Header{}
	if err == nil {
		err = json.Unmarshal(p.payload, j.Header)
	}
	h := j.Header
	if err != nil || len(h.Boards) == 0 || len(h.Sampling) != len(h.Boards) || h.Workers < 0 || h.Workers > mostWorkers {
		return fmt.Errorf("the header of %s cannot be read: %w", j.path, ErrNothing)
	}
	info, err := j.file.Stat()
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	j.size = info.Size()
	return nil
}
