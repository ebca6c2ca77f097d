package nvml

import (
	"errors"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

func TestNVMLIsOpenedAnewWhereItAsksForThat(t *testing.T) {
	for _, code := range []int32{1, 9, 18} { // uninitialized, driver not loaded, version mismatch
		t.Run("", func(t *testing.T) {
			l, s := openFake(t, spec(t, "H100-SXM", 0), spec(t, "H100-SXM", 1))
			boards := l.Boards()
			var r schema.Reading
			read(t, boards[0], &r)
			now := clock.Now()
			for _, b := range s.Boards() {
				if err := b.AddFault(sim.Fault{Twist: sim.Stale, Return: code, FromNS: now}); err != nil {
					t.Fatal(err)
				}
			}
			s.SetInitReturn(code)
			for range 2 { // the driver is away
				if err := boards[0].Read(sampler.AllLanes, &r); !errors.Is(err, sampler.ErrBoardLost) {
					t.Fatalf("code %d: Read = %v", code, err)
				}
			}
			s.SetInitReturn(0)
			if err := boards[1].Read(sampler.AllLanes, &r); !errors.Is(err, sampler.ErrReopened) {
				t.Fatalf("code %d: Read = %v", code, err)
			}
			for _, b := range boards { // the one whose call it was, and the other
				r = schema.Reading{}
				read(t, b, &r)
				if !r.PowerInstantW.OK || !r.GPUUtilPct.OK || !r.MemoryUsedB.OK {
					t.Errorf("code %d: after opening anew: %+v", code, r)
				}
			}
		})
	}
}

func TestAnAbandonedBoardLeavesNVMLToTheOthers(t *testing.T) {
	l, s := openFake(t, spec(t, "A10", 0), spec(t, "A10", 1))
	boards := l.Boards()
	if err := s.Boards()[0].AddFault(sim.Fault{Function: sim.FieldValues, Extra: 300 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	var late schema.Reading
	began := clock.Now()
	_, err := sampler.Within(50*time.Millisecond, func() (none struct{}, err error) { return none, boards[0].Read(sampler.AllLanes, &late) })
	if !errors.Is(err, sampler.ErrHung) {
		t.Fatalf("Within = %v", err)
	}
	boards[0].Abandon()
	var r schema.Reading
	read(t, boards[1], &r)
	if err := boards[0].Read(sampler.AllLanes, &r); !errors.Is(err, sampler.ErrBoardLost) {
		t.Errorf("reading an abandoned board = %v", err)
	}
	clock.SleepUntil(began + int64(time.Second)) // it has come back by now, and must not have given NVML away
	read(t, boards[1], &r)
	if err := l.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := l.shutdown(); err != nil { // which Close leaves out: the thread could still hang there
		t.Error(err)
	}
	opened.Store(false)
}

func TestAZeroIsNoPower(t *testing.T) {
	l, s := openFake(t, spec(t, "A10", 0))
	if err := s.Boards()[0].AddFault(sim.Fault{Twist: sim.Zero, Function: sim.FieldValues, Field: 186, Scope: sim.EveryScope}); err != nil {
		t.Fatal(err)
	}
	var r schema.Reading
	read(t, l.Boards()[0], &r)
	if r.PowerInstantW.OK || !r.EnergyTotalJ.OK {
		t.Errorf("power %+v, energy %+v", r.PowerInstantW, r.EnergyTotalJ)
	}
}
