package sampler

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

// stage is a run in virtual time: sleeping moves the clock to the deadline plus lateness, reading costs what a device
// says, and the context ends at an instant.
type stage struct {
	nowNS  int64
	lateNS int64
	cancel context.CancelFunc
	endNS  int64

	preempted bool
}

func (st *stage) sleepUntil(ns int64) {
	st.nowNS = max(st.nowNS, ns) + st.lateNS
	if st.nowNS >= st.endNS {
		st.cancel()
	}
}

// clocks are the host's, all alike.
func (st *stage) clocks() clock.Host {
	return clock.Host{MonotonicNS: st.nowNS, WallNS: st.nowNS, BootNS: st.nowNS}
}

// play runs devices by plan for a while.
func play(t *testing.T, st *stage, plan Plan, length time.Duration, sink Sink, devices ...Device) (*Sampler, Stats, error) {
	t.Helper()
	s, err := New(devices, plan, sink)
	if err != nil {
		t.Fatal(err)
	}
	s.host.read = st.clocks
	stats, err := rehearse(t, s, st, length)
	return s, stats, err
}

// rehearse runs a sampler on the stage.
func rehearse(t *testing.T, s *Sampler, st *stage, length time.Duration) (Stats, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	st.nowNS, st.endNS, st.cancel = 1e9, 1e9+int64(length), cancel
	s.now, s.wait, s.preempted = func() int64 { return st.nowNS }, st.sleepUntil, func() bool { return false }
	return s.Run(ctx)
}

// actor is a device that plays a part.
type actor struct {
	uuid  string
	reads int
	lanes []Lane
	part  func(read int, r *schema.Reading) error
}

func (a *actor) Board() schema.Board { return schema.Board{UUID: a.uuid} }

func (a *actor) Read(lanes Lane, r *schema.Reading) error {
	a.reads++
	a.lanes = append(a.lanes, lanes)
	if a.part == nil {
		r.PowerInstantW = schema.Some[float32](100)
		return nil
	}
	return a.part(a.reads-1, r)
}

// shelf is a sink of bounded size.
type shelf struct {
	room     int
	readings []schema.Reading
}

func (s *shelf) Push(r *schema.Reading) bool {
	if len(s.readings) == s.room {
		return false
	}
	s.readings = append(s.readings, *r)
	return true
}

func tenMilliseconds() Plan {
	return Plan{Power: 10 * time.Millisecond, Utilization: 100 * time.Millisecond, Slow: time.Second}
}

func TestRunReadsEveryLaneAtItsRhythm(t *testing.T) {
	st, a, sink := &stage{}, &actor{uuid: "GPU-a"}, &shelf{room: 1000}
	_, stats, err := play(t, st, tenMilliseconds(), 2*time.Second, sink, a)
	if err != nil {
		t.Fatal(err)
	}
	if stats.Ticks != 200 || stats.Missed != 0 || stats.Readings != 200 || math.Abs(stats.Hz-100) > 0.5 {
		t.Errorf("ticks %d, missed %d, readings %d, %v Hz; want 200, 0, 200, about 100 Hz", stats.Ticks, stats.Missed, stats.Readings, stats.Hz)
	}
	var slow, utilization int
	for _, l := range a.lanes {
		if l&LaneSlow != 0 {
			slow++
		}
		if l&LaneUtilization != 0 {
			utilization++
		}
		if l&LanePower == 0 {
			t.Fatal("a reading without the power lane")
		}
	}
	if slow != 2 || utilization != 20 {
		t.Errorf("slow lane %d times, utilisation %d times; want 2 and 20", slow, utilization)
	}
	pace := pacer{startNS: 1e9, periodNS: 10e6, sways: true}
	for i, r := range sink.readings {
		if want := pace.dueAt(int64(i)); r.StartNS != want {
			t.Fatalf("reading %d began at %d, want %d", i, r.StartNS, want)
		}
	}
}

func TestRunSkipsSlotsThatASlowCallCost(t *testing.T) {
	st, sink := &stage{}, &shelf{room: 1000}
	a := &actor{uuid: "GPU-a", part: func(read int, _ *schema.Reading) error {
		if read == 3 {
			st.nowNS += 35e6 // one call takes three and a half periods
		}
		return nil
	}}
	_, stats, err := play(t, st, tenMilliseconds(), 100*time.Millisecond, sink, a)
	if err != nil {
		t.Fatal(err)
	}
	if stats.Missed != 2 || stats.Ticks != 8 {
		t.Errorf("missed %d slots and took %d, want 2 and 8", stats.Missed, stats.Ticks)
	}
	pace := pacer{startNS: 1e9, periodNS: 10e6, sways: true}
	if want := time.Duration(pace.dueAt(3) + 35e6 - pace.dueAt(4)); stats.Lateness.Max != want {
		t.Errorf("late by at most %v, want %v: slot 4 was reached 35 ms after slot 3", stats.Lateness.Max, want)
	}
	for i := 1; i < len(sink.readings); i++ {
		if gap := sink.readings[i].StartNS - sink.readings[i-1].StartNS; gap < 5e6 {
			t.Errorf("readings %d and %d are %d ns apart: a burst", i-1, i, gap)
		}
	}
	if got := sink.readings[3].EndNS - sink.readings[3].StartNS; got != 35e6 {
		t.Errorf("the slow reading spans %d ns, want 35e6", got)
	}
}

func TestPowerIsNewComparesWithTheLastSuccessfulReading(t *testing.T) {
	absent := schema.Opt[float32]{}
	powers := []schema.Opt[float32]{absent, schema.Some[float32](80), schema.Some[float32](80), schema.Some[float32](90), absent, schema.Some[float32](90), schema.Some[float32](80)}
	want := []schema.Opt[bool]{{}, {}, schema.Some(false), schema.Some(true), {}, schema.Some(false), schema.Some(true)}
	sink := &shelf{room: len(powers)}
	a := &actor{uuid: "GPU-a", part: func(read int, r *schema.Reading) error {
		r.PowerInstantW = powers[read%len(powers)]
		return nil
	}}
	_, stats, err := play(t, &stage{}, tenMilliseconds(), 70*time.Millisecond, sink, a)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range sink.readings {
		if r.PowerIsNew != want[i] {
			t.Errorf("reading %d: PowerIsNew %+v, want %+v", i, r.PowerIsNew, want[i])
		}
	}
	if stats.Boards[0].PowerAbsent != 2 {
		t.Errorf("%d readings without power, want 2", stats.Boards[0].PowerAbsent)
	}
}

func TestRunCountsWhatTheSinkDrops(t *testing.T) {
	sink := &shelf{room: 3}
	s, stats, err := play(t, &stage{}, tenMilliseconds(), 100*time.Millisecond, sink, &actor{uuid: "GPU-a"})
	if err != nil {
		t.Fatal(err)
	}
	if stats.Readings != 10 || stats.Dropped != 7 || s.Live().Dropped != 7 {
		t.Errorf("readings %d, dropped %d, live %d; want 10, 7, 7", stats.Readings, stats.Dropped, s.Live().Dropped)
	}
}

func TestALostBoardIsRetriedWhileOthersGoOn(t *testing.T) {
	sink := &shelf{room: 10000}
	lost := fmt.Errorf("reading power of GPU-a: %w", ErrBoardLost)
	var tries []int64
	st := &stage{}
	a := &actor{uuid: "GPU-a"}
	a.part = func(int, *schema.Reading) error {
		since := st.nowNS - 1e9
		if since >= 100e6 {
			tries = append(tries, since/1e6)
		}
		if since >= 100e6 && since < 20e9 {
			return lost
		}
		return nil
	}
	b := &actor{uuid: "GPU-b"}
	s, stats, err := play(t, st, tenMilliseconds(), 40*time.Second, sink, a, b)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{1000, 2000, 4000, 8000, 16000} {
		if i+1 >= len(tries) || tries[i+1]-tries[i] < want || tries[i+1]-tries[i] > want+11 {
			t.Errorf("tries at %v ms, want gaps of 1, 2, 4, 8 and 16 s, and a slot at most", tries[:min(len(tries), 6)])
			break
		}
	}
	ba, bb := stats.Boards[0], stats.Boards[1]
	if ba.Losses != 1 || ba.LostNow || ba.LostFor.Round(time.Second/10) != 31*time.Second || !errors.Is(ba.LastError, ErrBoardLost) {
		t.Errorf("lost board: %+v", ba)
	}
	if bb.Readings != 4000 || bb.Losses != 0 {
		t.Errorf("the other board: %+v", bb)
	}
	if live := s.Live(); live.Boards[0].Lost || live.Boards[1].PowerW != schema.Some[float32](100) {
		t.Errorf("live: %+v", live)
	}
}

func TestRetriesAreNeverMoreThanHalfAMinuteApart(t *testing.T) {
	b := newBoardState(&actor{})
	for range 100 {
		b.lose(0, ErrBoardLost)
	}
	if b.retryNS != int64(lastRetry) {
		t.Errorf("next try after %v", time.Duration(b.retryNS))
	}
}

func TestRunEndsWithAnErrorWhenEveryBoardIsLost(t *testing.T) {
	gone := func(after int, name string) *actor {
		return &actor{uuid: name, part: func(read int, _ *schema.Reading) error {
			if read >= after {
				return fmt.Errorf("reading %s: %w", name, ErrBoardLost)
			}
			return nil
		}}
	}
	_, stats, err := play(t, &stage{}, tenMilliseconds(), time.Hour, &shelf{room: 100}, gone(2, "GPU-a"), gone(5, "GPU-b"))
	if !errors.Is(err, ErrBoardLost) {
		t.Fatalf("Run = %v", err)
	}
	if stats.Readings != 7 || !stats.Boards[0].LostNow || !stats.Boards[1].LostNow {
		t.Errorf("stats: %+v", stats)
	}
}

func TestCancellationIsNoticedLongBeforeALongTickEnds(t *testing.T) {
	st := &stage{}
	plan := Plan{Power: time.Hour}
	_, stats, err := play(t, st, plan, 200*time.Millisecond, &shelf{room: 10}, &actor{uuid: "GPU-a"})
	if err != nil || stats.Ticks != 1 {
		t.Fatalf("ticks %d, error %v", stats.Ticks, err)
	}
	if over := stats.Elapsed - 200*time.Millisecond; over > longestSleep {
		t.Errorf("noticed %v after the context ended", over)
	}
}

func TestASamplerRefusesWhatItCannotDo(t *testing.T) {
	if _, err := New(nil, tenMilliseconds(), &shelf{}); err == nil {
		t.Error("made a sampler without boards")
	}
	if _, err := New([]Device{&actor{}}, Plan{}, &shelf{}); err == nil {
		t.Error("made a sampler without a plan")
	}
	s, _, err := play(t, &stage{}, tenMilliseconds(), time.Millisecond, &shelf{}, &actor{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(t.Context()); err == nil {
		t.Error("ran twice")
	}
}

func TestRunOnTheRealClockIsReadableMeanwhile(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := &actor{uuid: "GPU-a", part: func(read int, r *schema.Reading) error {
		r.PowerInstantW = schema.Some(float32(read))
		if read == 20 {
			cancel()
		}
		return nil
	}}
	s, err := New([]Device{a}, Plan{Power: time.Millisecond}, &shelf{room: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var wg conc.WaitGroup
	wg.Go(func() {
		for s.Live().Readings < 10 && ctx.Err() == nil { //nolint:revive // looks until it sees the run
		}
	})
	stats, err := s.Run(ctx)
	wg.Wait()
	if err != nil || stats.Readings != 21 {
		t.Errorf("%d readings, %v", stats.Readings, err)
	}
}

func TestLanesHaveNames(t *testing.T) {
	if got := (LanePower | LaneSlow).String(); got != "power+slow" {
		t.Errorf("%q", got)
	}
	if got := tenMilliseconds().String(); got != "power 10ms, utilisation 100ms, slow 1s" {
		t.Errorf("%q", got)
	}
}

func BenchmarkReading(b *testing.B) {
	s, err := New([]Device{constant{}}, tenMilliseconds(), discard{})
	if err != nil {
		b.Fatal(err)
	}
	s.Govern(DefaultBudget)
	s.begin()
	r := &reader{Sampler: s}
	b.ReportAllocs()
	for slot := int64(0); b.Loop(); slot++ {
		r.readAll(taken{first: slot, last: slot})
	}
}

type constant struct{}

func (constant) Board() schema.Board { return schema.Board{} }

func (constant) Read(_ Lane, r *schema.Reading) error {
	r.PowerInstantW = schema.Some[float32](100)
	return nil
}

type discard struct{}

func (discard) Push(*schema.Reading) bool { return true }
