package sampler

import (
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// A lost board is tried again after 1 s, then after twice as long each time, up to 30 s: a call to a board that fell off
// the bus can hold the driver's lock for long.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// boardState is what the sampler remembers about one board. Atomics are read by Live from other goroutines; the rest
// belongs to the goroutine that runs.
type boardState struct {
	device Device
	uuid   string

	previousW schema.Opt[float32] // last successful power value
	busyNS    int64               // spent in calls
	absent    int64               // readings without power
	lostNS    int64               // total time lost, up to the last recovery
	sinceNS   int64               // when the board was lost
	retryNS   int64
	backoff   time.Duration
	loss      error
	planned   int64 // slots in which the board was to be read
	governor  governor
	costNS    int64 // of the last reading that ran undisturbed

	rowNS int64  // midpoint of the last reading that the sink took; before the first, the start of the run
	why   string // there is a gap since then, whatever its length; empty where there is none
	slept time.Duration
	full  bool // a reading since then was dropped
	gaps  []schema.Gap

	lost     atomic.Bool
	readings atomic.Int64
	dropped  atomic.Int64
	losses   atomic.Int64
	powerW   atomic.Uint64 // a packed Opt, see packed
	gpuUtil  atomic.Uint64
	periodNS atomic.Int64 // between readings, as governed
}

func newBoardState(d Device) *boardState {
	return &boardState{device: d, uuid: d.Board().UUID}
}

// waiting says whether the board is lost and its next try lies ahead.
func (b *boardState) waiting(now func() int64) bool { return b.lost.Load() && now() < b.retryNS }

func (b *boardState) lose(nowNS int64, err error) {
	if !b.lost.Swap(true) {
		b.losses.Add(1)
		b.sinceNS = nowNS
		b.backoff = firstRetry / 2
		switch {
		case errors.Is(err, ErrHung):
			b.because(schema.GapHang)
		case errors.Is(err, ErrResetRequired):
			b.because(schema.GapReset)
		default:
			b.because(schema.GapLost)
		}
	}
	b.backoff = min(2*b.backoff, lastRetry)
	b.retryNS = nowNS + int64(b.backoff)
	b.loss = err
}

func (b *boardState) found(nowNS int64) {
	if b.lost.Swap(false) {
		b.lostNS += nowNS - b.sinceNS
	}
}

// because notes why the board has a gap; the first reason stands.
func (b *boardState) because(why string) {
	if b.why == "" {
		b.why = why
	}
}

// row ends the gap since the last row, where there is one.
func (b *boardState) row(midNS int64) {
	if gap, ok := b.gapUntil(midNS); ok {
		b.gaps = append(b.gaps, gap)
	}
	b.rowNS, b.why, b.slept, b.full = midNS, "", 0, false
}

// gapUntil is the gap between the last row and an instant.
func (b *boardState) gapUntil(ns int64) (schema.Gap, bool) {
	why := b.why
	if why == "" {
		if ns-b.rowNS <= int64(schema.LongestSilence(time.Duration(b.periodNS.Load()))) {
			return schema.Gap{}, false
		}
		why = schema.GapStalled
		if b.full {
			why = schema.GapDropped
		}
	}
	return schema.Gap{FromNS: b.rowNS, ToNS: ns, Why: why, Slept: b.slept}, true
}

// note completes a reading and keeps what the next one and the display need of it.
func (b *boardState) note(due Lane, r *schema.Reading) {
	if r.PowerInstantW.OK {
		if b.previousW.OK {
			r.PowerIsNew = schema.Some(r.PowerInstantW != b.previousW)
		}
		b.previousW = r.PowerInstantW
		b.powerW.Store(packed(math.Float32bits(r.PowerInstantW.V)))
	} else {
		b.absent++
	}
	if due&LaneUtilization != 0 && r.GPUUtilPct.OK {
		b.gpuUtil.Store(packed(uint32(r.GPUUtilPct.V)))
	}
	b.busyNS += r.EndNS - r.StartNS
	b.readings.Add(1)
}

// present marks a packed value; without it the word is an absent one.
const present = 1 << 32

func packed(bits uint32) uint64 { return present | uint64(bits) }
