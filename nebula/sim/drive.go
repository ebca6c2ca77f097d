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

// A board's power follows its work as a first-order lag does, late by lag on the whole: boards seem to load a capacitor
// (Burtscher et al., "Measuring GPU Power with the K20 Built-in Sensor", GPGPU-7, 2014). How late is assumed: regulators and
// clocks settle within tens of milliseconds. It is shown in steps, each the mean over its time.
const (
	lag   = 7250 * time.Microsecond
	step  = time.Millisecond
	steps = 50 // then a thousandth of the way is left
)

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
	// does not change. It is where the engine's goroutine waited for longer than it plans ahead. Nil in time of the
	// caller's own.
	now func() int64

	goal    Level
	fromW   float64 // power when the goal was set
	step    int     // next; steps when settled
	startNS int64   // when the goal was set
}

func newDrive(loads []Load, atNS int64, l Level) *drive {
	d := &drive{loads: loads, lastNS: atNS}
	d.jump(atNS, l)
	return d
}

// jump sets a level at once.
func (d *drive) jump(atNS int64, l Level) {
	d.goal, d.step = l, steps
	d.set(atNS, l.PowerW)
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
	powerW := d.powerW(atNS)
	if math.Abs(l.PowerW-powerW) < 2*smallChange {
		d.jump(atNS, l)
		return
	}
	d.goal, d.fromW, d.startNS, d.step = l, powerW, atNS, 0
	d.take()
}

// powerW is the power at an instant since the goal was set.
func (d *drive) powerW(atNS int64) float64 {
	if d.step == steps {
		return d.goal.PowerW
	}
	return d.goal.PowerW + (d.fromW-d.goal.PowerW)*math.Exp(-float64(atNS-d.startNS)/float64(lag))
}

// advance takes the steps that are due by an instant.
func (d *drive) advance(nowNS int64) {
	for d.nextNS() <= nowNS {
		d.take()
	}
}

// nextNS is when the next step is due: never, when the power has settled.
func (d *drive) nextNS() int64 {
	if d.step == steps {
		return never
	}
	return d.startNS + int64(d.step)*int64(step)
}

func (d *drive) take() {
	at := d.nextNS()
	const left = float64(lag) / float64(step)
	mean := d.goal.PowerW + left*(d.powerW(at)-d.powerW(at+int64(step)))
	if d.step++; d.step == steps {
		mean = d.goal.PowerW
	}
	d.set(at, mean)
}

func (d *drive) set(atNS int64, powerW float64) {
	if d.now != nil {
		atNS = max(atNS, d.now())
	}
	d.lastNS = max(d.lastNS, atNS)
	for _, l := range d.loads {
		l.Set(d.lastNS, powerW, d.goal.GPUBusy, d.goal.MemBusy)
	}
}
