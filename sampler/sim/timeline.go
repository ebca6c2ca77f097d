package sim

import (
	"math"
	"sync/atomic"
)

// margin is how many of the oldest events a reader leaves alone, so that a writer would have to write as many during one
// look-up before the reader has to begin again.
const margin = 1024

// The board's temperature follows its power towards ambient + perLimit·P/limit with this time constant: a heat sink
// under forced air, by rule of thumb.
const (
	ambientC     = 28.0
	perLimitC    = 45.0
	thermalTauNS = 15e9
)

// timeline is the true history of one board: a ring of events with one writer and any number of readers, in this process
// or others.
type timeline struct {
	facts *facts
	slots []slot // eventCapacity of them
}

// append adds an event whose levels hold from e.TNS on; it fills in the integrals and the temperature. Instants never
// decrease: an earlier one is taken as the last event's.
func (t timeline) append(e event) {
	n := atomic.LoadUint64(&t.facts.EventCount)
	if n > 0 {
		last := t.slots[(n-1)%eventCapacity].load()
		e.TNS = max(e.TNS, last.TNS)
		for c := range channelCount {
			e.Integral[c] = last.integralAt(c, e.TNS)
		}
		e.TempC = t.temperature(&last, e.TNS)
	}
	t.slots[n%eventCapacity].store(&e)
	atomic.StoreUint64(&t.facts.EventCount, n+1)
}

func (e *event) integralAt(c channel, atNS int64) float64 {
	return extrapolate(e.Integral[c], e.Level[c], atNS-e.TNS)
}

// extrapolate is an integral a while after, or before, an event. The conversion keeps the compiler from fusing the sum
// with the product, so that the C fake computes the same bits.
func extrapolate(integral, level float64, ns int64) float64 {
	return integral + float64(level*(float64(ns)*1e-9))
}

func (t timeline) temperature(e *event, atNS int64) float64 {
	settled := ambientC + perLimitC*e.Level[power]*1000/float64(t.facts.LimitMW)
	passed := float64(max(atNS-e.TNS, 0))
	return settled + (e.TempC-settled)*math.Exp(-passed/thermalTauNS)
}

// look finds the event in force at an instant and hands its slot to take, which must only copy from it: take may run
// again, when the writer overtook the reader. What lies before the oldest event is that event's levels. look reports
// whether the instant is covered by events.
func (t timeline) look(atNS int64, take func(*slot)) (covered bool) {
	for {
		n := atomic.LoadUint64(&t.facts.EventCount)
		var oldest uint64
		if n > eventCapacity-margin {
			oldest = n - (eventCapacity - margin)
		}
		found := t.search(atNS, oldest, n)
		s := &t.slots[found%eventCapacity]
		take(s)
		covered = oldest == 0 || s.timeNS() <= atNS
		// The writer may be writing event m = EventCount now, over event m − capacity; older slots hold newer events.
		if m := atomic.LoadUint64(&t.facts.EventCount); oldest+eventCapacity > m {
			return covered
		}
	}
}

// search is the last event in [oldest, end) that is not after an instant, or the oldest.
func (t timeline) search(atNS int64, oldest, end uint64) uint64 {
	lo, hi := oldest, end // the event sought is in [lo, hi)
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		if t.slots[mid%eventCapacity].timeNS() <= atNS {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// integral is a channel's integral at an instant.
func (t timeline) integral(c channel, atNS int64) float64 {
	v, _ := t.integralCovered(c, atNS)
	return v
}

func (t timeline) integralCovered(c channel, atNS int64) (v float64, covered bool) {
	covered = t.look(atNS, func(s *slot) {
		v = extrapolate(s.integral(c), s.level(c), atNS-s.timeNS())
	})
	return v, covered
}

// mean is a channel's mean level over a window, or its level where the window is empty.
func (t timeline) mean(c channel, fromNS, toNS int64) float64 {
	if toNS <= fromNS {
		return t.at(toNS).Level[c]
	}
	return (t.integral(c, toNS) - t.integral(c, fromNS)) / (float64(toNS-fromNS) * 1e-9)
}

// at is the event in force at an instant.
func (t timeline) at(atNS int64) (e event) {
	t.look(atNS, func(s *slot) { e = s.load() })
	return e
}
