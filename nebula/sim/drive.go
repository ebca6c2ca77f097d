package sim

import (
	"math"
	"time"
)

// Load is a board that work is simulated on. Set says what it draws (W) and how busy it is (shares of time, 0 to 1) from
// an instant on, CLOCK_MONOTONIC in ns; instants never decrease.
type Load interface {
	Set(atNS int64, powerW, gpuBusy, memBusy float64)
}

// memory is a load that also shows how much of its memory is taken.
type memory interface {
	SetMemoryUsed(bytes int64)
}

// slew is how a board's power follows its work: the share of the way covered at the change and at each slewStep after
// it. Regulators and clocks settle within tens of milliseconds; the shape is assumed.
var slew = [...]float64{0.35, 0.60, 0.77, 0.88, 0.95, 1}

const slewStep = 5 * time.Millisecond

// smallChange, in W, is set at once and only when it has been reached: decode's slow rise with its context would
// otherwise fill a board's memory with changes too small to measure.
const smallChange = 0.5

// never is an instant that does not come.
const never = math.MaxInt64

// drive moves the loads from level to level. The busy shares jump with the work, the power slews.
type drive struct {
	loads  []Load
	lastNS int64 // of the last Set
	// now keeps changes out of the past: sensors may have shown what was before them already, and a value that was read
	// does not change. The engine's wake-ups are late by some tenths of a millisecond, more on a busy machine. Nil in
	// time of the caller's own.
	now func() int64

	goal    Level
	fromW   float64 // power when the goal was set
	powerW  float64 // power now
	step    int     // next of slew; len(slew) when settled
	startNS int64   // when the goal was set
}

func newDrive(loads []Load, atNS int64, l Level) *drive {
	d := &drive{loads: loads, lastNS: atNS}
	d.jump(atNS, l)
	return d
}

// jump sets a level at once.
func (d *drive) jump(atNS int64, l Level) {
	d.goal, d.powerW, d.step = l, l.PowerW, len(slew)
	d.set(atNS)
}

// occupy shows memory as taken, where a load can.
func (d *drive) occupy(bytes float64) {
	for _, l := range d.loads {
		if m, ok := l.(memory); ok {
			m.SetMemoryUsed(int64(bytes))
		}
	}
}

// target begins to move to a level.
func (d *drive) target(atNS int64, l Level) {
	d.advance(atNS)
	near := math.Abs(l.PowerW-d.goal.PowerW) < smallChange
	if near && l.GPUBusy == d.goal.GPUBusy && math.Abs(l.MemBusy-d.goal.MemBusy) < 0.01 {
		return
	}
	if math.Abs(l.PowerW-d.powerW) < 2*smallChange {
		d.jump(atNS, l)
		return
	}
	d.goal, d.fromW, d.startNS, d.step = l, d.powerW, atNS, 0
	d.take()
}

// advance takes the steps that are due by an instant.
func (d *drive) advance(nowNS int64) {
	for d.nextNS() <= nowNS {
		d.take()
	}
}

// nextNS is when the next step is due: never, when the power has settled.
func (d *drive) nextNS() int64 {
	if d.step == len(slew) {
		return never
	}
	return d.startNS + int64(d.step)*int64(slewStep)
}

func (d *drive) take() {
	at := d.nextNS()
	d.powerW = d.fromW + slew[d.step]*(d.goal.PowerW-d.fromW)
	d.step++
	d.set(at)
}

func (d *drive) set(atNS int64) {
	if d.now != nil {
		atNS = max(atNS, d.now())
	}
	d.lastNS = max(d.lastNS, atNS)
	for _, l := range d.loads {
		l.Set(d.lastNS, d.powerW, d.goal.GPUBusy, d.goal.MemBusy)
	}
}
