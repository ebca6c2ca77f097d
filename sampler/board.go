package sampler

import (
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
