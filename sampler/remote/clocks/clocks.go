// Package clocks tells what time it is here when it is some time on another host, and how far that may be off.
//
// Both clocks are CLOCK_MONOTONIC: each begins at its host's boot, runs at its own rate, and never steps. A round trip gives
// a bound that no asymmetry of the link can break: the other host stamped it after it was sent and before it was back, so that
// the middle of the two is off by half the round trip at most. Of the round trips in a second the fastest is kept, since queues
// only ever make them longer; a line through the last of these gives offset and drift. A time is translated between two such
// marks, so that it waits for the one after it, and its error is bounded by the nearest good ones: half the round trip, what the
// translation is off from its middle, and Wander for the time in between.
package clocks

import (
	"math"
	"slices"
	"time"
)

const (
	// Wander is by how much, at most, two clocks are taken to leave the rate that the last minute showed, in s/s. Crystals are
	// within 50 ppm of their rate and move by a few with temperature; NTP's corrections stay under that once a host is in step. Marks
	// that contradict it widen the error by what they show.
	Wander = 100e-6

	cell         = time.Second
	window       = 64         // marks that offset and drift are fitted to
	steepestRate = 1e-3       // s/s: no two clocks differ by more
	believed     = Wander / 4 // standard error of a rate; a worse one is taken for none, which is within Wander of any crystal's
	fitSpan      = 10e9       // ns of marks before a rate is believed
	steepest     = 0.5        // of a cell: translation never goes back
	firstMarks   = 2          // round trips that the first mark waits for
	nearest      = 24         // marks on either side that bound an error
	kept         = 1 << 17    // marks: a day and a half, 5 MB
	closest      = 1_000      // ns: no stamp is closer
)

// Trip is one round trip. Sent and Back are this host's clock; Remote the other's, in between.
type Trip struct{ SentNS, RemoteNS, BackNS int64 }

// half is by how much the offset may be off.
func (t Trip) half() int64 { return max((t.BackNS-t.SentNS)/2, closest) }

// offset is here less there.
func (t Trip) offset() int64 { return t.SentNS + (t.BackNS-t.SentNS)/2 - t.RemoteNS }

// mark is the fastest trip of a second, and where translation passes it.
type mark struct {
	atNS      int64 // there
	offsetNS  int64 // as the trip had it, off by half at most
	halfNS    int64
	throughNS int64   // the offset that is translated with
	rate      float64 // of the offset's change, s/s, as it was known then
}

// Estimate is what is known of another host's clock. It is used by one goroutine.
type Estimate struct {
	marks   []mark
	best    Trip // of the second that runs
	trips   int  // in it
	rate    float64
	fastest int64 // half of the fastest trip
}

// Add takes a round trip. Trips come in the order in which they were stamped.
func (e *Estimate) Add(t Trip) {
	if t.BackNS < t.SentNS {
		return
	}
	if e.fastest == 0 || t.half() < e.fastest {
		e.fastest = t.half()
	}
	if e.trips == 0 || t.half() < e.best.half() {
		e.best = t
	}
	e.trips++
	if len(e.marks) == 0 {
		if e.trips >= firstMarks {
			e.mark()
		}
		return
	}
	if t.RemoteNS-e.marks[len(e.marks)-1].atNS >= int64(cell) {
		e.mark()
	}
}

// Mark ends a second early, for readings that wait for it.
func (e *Estimate) Mark() {
	if e.trips > 0 {
		e.mark()
	}
}

// mark ends a second.
func (e *Estimate) mark() {
	t := e.best
	e.trips, e.best = 0, Trip{}
	m := mark{atNS: t.RemoteNS, offsetNS: t.offset(), halfNS: t.half()}
	if n := len(e.marks); n > 0 && m.atNS <= e.marks[n-1].atNS {
		return
	}
	e.marks = append(e.marks, m)
	last := &e.marks[len(e.marks)-1]
	line := e.fit(last.atNS)
	last.rate = e.rate
	last.throughNS = min(max(line, m.offsetNS-m.halfNS), m.offsetNS+m.halfNS)
	if n := len(e.marks); n > 1 {
		before := e.marks[n-2]
		most := int64(steepest * float64(last.atNS-before.atNS))
		last.throughNS = min(max(last.throughNS, before.throughNS-most), before.throughNS+most)
	}
	if len(e.marks) > kept {
		e.marks = slices.Delete(e.marks, 0, kept/2)
	}
}

// fit draws a line through the last marks, weighed by how good they are, and gives its offset at a time.
func (e *Estimate) fit(atNS int64) int64 {
	marks := e.marks[max(0, len(e.marks)-window):]
	origin := marks[len(marks)-1]
	var w, x, y, xx, xy float64
	for _, m := range marks {
		v := 1 / (float64(m.halfNS) * float64(m.halfNS))
		dx, dy := float64(m.atNS-origin.atNS), float64(m.offsetNS-origin.offsetNS)
		w, x, y, xx, xy = w+v, x+v*dx, y+v*dy, xx+v*dx*dx, xy+v*dx*dy
	}
	e.rate = 0
	if spread := w*xx - x*x; float64(origin.atNS-marks[0].atNS) >= fitSpan && spread > 0 {
		rate := min(max((w*xy-x*y)/spread, -steepestRate), steepestRate)
		var left float64 // of the marks' scatter, in what each may be off by
		for _, m := range marks {
			off := float64(m.offsetNS-origin.offsetNS) - (y-rate*x)/w - rate*float64(m.atNS-origin.atNS)
			left += off * off / (float64(m.halfNS) * float64(m.halfNS))
		}
		if math.Sqrt(left/float64(len(marks)-2)*w/spread) < believed {
			e.rate = rate
		}
	}
	return origin.offsetNS + int64((y-e.rate*x)/w+e.rate*float64(atNS-origin.atNS))
}

// Ready says up to which time there translation has both its marks; nothing can be translated before the first.
func (e *Estimate) Ready() (untilNS int64, ok bool) {
	if len(e.marks) == 0 {
		return 0, false
	}
	return e.marks[len(e.marks)-1].atNS, true
}

// Here is the time here at a time there, and by how much it may be off. Times past the last mark are carried on at the rate
// known there. Times that go up there go up here.
func (e *Estimate) Here(thereNS int64) (hereNS int64, off time.Duration) {
	if len(e.marks) == 0 {
		return thereNS, math.MaxInt64
	}
	i, _ := slices.BinarySearchFunc(e.marks, thereNS, func(m mark, ns int64) int {
		if m.atNS < ns {
			return -1
		}
		return 1
	})
	offset := e.through(i, thereNS)
	least := math.Inf(1)
	for _, m := range e.marks[max(0, i-nearest):min(len(e.marks), i+nearest)] {
		apart := float64(thereNS - m.atNS)
		centre := float64(m.offsetNS) + m.rate*apart
		bound := float64(m.halfNS) + math.Abs(float64(offset)-centre) + Wander*math.Abs(apart)
		least = min(least, bound)
	}
	return thereNS + offset, time.Duration(math.Ceil(max(least, e.contradiction(i))))
}

// through is the offset that a time is translated with; mark i is the first at or after it.
func (e *Estimate) through(i int, ns int64) int64 {
	switch {
	case i == 0:
		m := e.marks[0]
		return m.throughNS + int64(m.rate*float64(ns-m.atNS))
	case i == len(e.marks):
		m := e.marks[i-1]
		return m.throughNS + int64(m.rate*float64(ns-m.atNS))
	}
	a, b := e.marks[i-1], e.marks[i]
	return a.throughNS + int64(float64(b.throughNS-a.throughNS)*float64(ns-a.atNS)/float64(b.atNS-a.atNS))
}

// contradiction is what two neighbouring marks differ by beyond all that explains it: a clock was steered, or its host slept.
func (e *Estimate) contradiction(i int) float64 {
	if i == 0 || i == len(e.marks) {
		return 0
	}
	a, b := e.marks[i-1], e.marks[i]
	apart := float64(b.atNS - a.atNS)
	change := math.Abs(float64(b.offsetNS-a.offsetNS) - b.rate*apart)
	explained := float64(a.halfNS+b.halfNS) + Wander*apart
	if change <= explained {
		return 0
	}
	return change + float64(max(a.halfNS, b.halfNS))
}

// Summary is the clock as it stands.
type Summary struct {
	Offset    time.Duration // there less here
	Drift     float64       // of there against here, s/s; 0 until it is known to 25 ppm
	RoundTrip time.Duration // the fastest
}

// Summary is the clock as it stands at the last mark.
func (e *Estimate) Summary() Summary {
	if len(e.marks) == 0 {
		return Summary{}
	}
	m := e.marks[len(e.marks)-1]
	return Summary{Offset: time.Duration(-m.throughNS), Drift: -m.rate, RoundTrip: time.Duration(2 * e.fastest)}
}
