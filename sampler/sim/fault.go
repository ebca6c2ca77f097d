package sim

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
)

// Function is a call, or a group of calls, that a fault can hit.
type Function uint32

// The functions. Those that read a board's sensors are apart, so that one can fail alone.
const (
	EveryFunction Function = iota
	FieldValues
	UtilizationRates
	MemoryInfo
	ClockInfo
	Temperature
	PerformanceState
	ClocksEventReasons
	EnforcedPowerLimit
	PowerUsage
	TotalEnergy
	GPMSample
	GPMMetrics
	Handle // nvmlDeviceGetHandleBy…
	Static // names, versions, limits and modes
)

// EveryScope is the scope of a fault that hits a field whatever scope is asked for.
const EveryScope int32 = -1

// Twist is what a fault does.
type Twist int64

// The twists. Those of a value hit FieldValues with a field; the call then succeeds.
const (
	Fails    Twist = iota // the call answers Return, or only takes longer
	Freezes               // the field shows what it showed at FromNS
	Zero                  // the field shows 0
	Restarts              // the energy counter counts from FromNS on, as after a reload of the driver
	Stale                 // like Fails, until the process opens the library anew after FromNS
)

// Fault makes a board misbehave from one instant to another.
type Fault struct {
	Twist    Twist
	Function Function
	Field    uint32 // with FieldValues: 0 fails the call as a whole, else that field only
	Scope    int32  // of the field: 0 GPU, 1 module, 2 memory, EveryScope
	Return   int32  // nvmlReturn_t: 3 not supported, 15 GPU is lost, 999 unknown; 0 only adds latency
	FromNS   int64  // CLOCK_MONOTONIC
	ToNS     int64  // 0 is never
	Extra    time.Duration
}

// AddFault adds to a board's faults, at any time.
func (b *Board) AddFault(f Fault) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addFault(f)
}

func (b *Board) addFault(f Fault) error {
	n := atomic.LoadUint64(&b.facts.FaultCount)
	if n == maxFaults {
		return fmt.Errorf("adding a fault to %s: it has %d already", b.spec.Name, maxFaults)
	}
	b.facts.Faults[n] = fault{
		Function: uint32(f.Function),
		Field:    f.Field,
		Scope:    f.Scope,
		Return:   f.Return,
		FromNS:   f.FromNS,
		ToNS:     f.ToNS,
		ExtraNS:  int64(f.Extra),
		Twist:    int64(f.Twist),
	}
	atomic.StoreUint64(&b.facts.FaultCount, n+1)
	return nil
}

// failure is what a call answers at an instant, and what the faults add to its cost. Field 0 stands for the call itself.
func (f *facts) failure(fn Function, field uint32, scope int32, atNS int64) (code int32, extraNS int64) {
	for i := range atomic.LoadUint64(&f.FaultCount) {
		fault := &f.Faults[i]
		if Twist(fault.Twist) != Fails || !fault.hits(fn, field, scope, atNS) { // no library is opened here: none is stale
			continue
		}
		extraNS += fault.ExtraNS
		if code == 0 {
			code = fault.Return
		}
	}
	return code, extraNS
}

// twisted is what a field shows instead of what it should, and from when on.
func (f *facts) twisted(field uint32, scope int32, atNS int64) (t Twist, fromNS int64) {
	for i := range atomic.LoadUint64(&f.FaultCount) {
		fault := &f.Faults[i]
		if t := Twist(fault.Twist); t != Fails && t != Stale && fault.hits(FieldValues, field, scope, atNS) {
			return t, fault.FromNS
		}
	}
	return Fails, 0
}

func (f *fault) hits(fn Function, field uint32, scope int32, atNS int64) bool {
	return atNS >= f.FromNS && (f.ToNS == 0 || atNS < f.ToNS) &&
		(Function(f.Function) == EveryFunction || Function(f.Function) == fn) &&
		f.Field == field && (field == 0 || f.Scope == EveryScope || f.Scope == scope)
}

// spend takes the time that a call costs. It spins: the costs to simulate are shorter than a sleep is late.
func spend(ns int64) {
	if ns == 0 {
		return
	}
	for end := clock.Now() + ns; clock.Now() < end; { //nolint:revive // a wait
	}
}
