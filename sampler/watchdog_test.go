package sampler

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/schema"
)

// bubbled plays devices in a bubble, where the watchdog's time passes while every reader is blocked.
func bubbled(t *testing.T, st *stage, length time.Duration, sink Sink, devices ...Device) (Stats, error) {
	t.Helper()
	s, err := New(devices, tenMilliseconds(), sink)
	if err != nil {
		t.Fatal(err)
	}
	s.host.read = st.clocks
	s.watchNow = func() int64 { return time.Now().UnixNano() }
	return rehearse(t, s, st, length)
}

// hanging is an actor that hangs in a read until it is released. It is abandoned when the stage's clock has gone on by what
// the watchdog waited; the two are apart, since a call that hangs must not touch what others read.
type hanging struct {
	*actor

	stage     *stage
	abandoned int
}

func newHanging(name string, st *stage, reads int, released <-chan struct{}) *hanging {
	return &hanging{stage: st, actor: &actor{uuid: name, part: func(read int, r *schema.Reading) error {
		r.PowerInstantW = schema.Some[float32](100)
		if read == reads {
			<-released
			r.PowerInstantW = schema.Some[float32](666)
		}
		return nil
	}}}
}

func (h *hanging) Abandon() {
	h.abandoned++
	h.stage.nowNS += int64(DefaultPatience)
}

func TestACallThatHangsCostsItsBoardAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, sink, released := &stage{}, &shelf{room: 10000}, make(chan struct{})
		a, b := &actor{uuid: "GPU-a"}, newHanging("GPU-b", st, 500, released)
		began := time.Now()
		stats, err := bubbled(t, st, time.Minute, sink, a, b)
		if err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < DefaultPatience || waited > DefaultPatience*11/10 {
			t.Errorf("gave the call up after %v", waited)
		}
		rows := len(sink.readings)
		close(released)
		synctest.Wait() // the goroutine that hung has ended
		if len(sink.readings) != rows || slices.ContainsFunc(sink.readings, func(r schema.Reading) bool { return r.PowerInstantW.V == 666 }) {
			t.Error("the goroutine that hung pushed a reading when it woke")
		}
		ba, bb := stats.Boards[0], stats.Boards[1]
		if ba.Losses != 0 || ba.Readings < 4900 || len(ba.Gaps) != 1 || ba.Gaps[0].Why != schema.GapStalled {
			t.Errorf("the other board: %d readings, gaps %v", ba.Readings, ba.Gaps)
		}
		if !bb.LostNow || bb.Losses != 1 || !errors.Is(bb.LastError, ErrHung) || !errors.Is(bb.LastError, ErrBoardLost) {
			t.Errorf("the board that hung: %+v", bb)
		}
		if len(bb.Gaps) != 1 || bb.Gaps[0].Why != schema.GapHang || bb.Gaps[0].ToNS-bb.Gaps[0].FromNS < 54e9 {
			t.Errorf("its gaps: %v", bb.Gaps)
		}
	})
}

// A call that wakes while another reader is at work: nothing of the sampler's is touched, which the race detector sees.
func TestACallThatComesBackLateIsNotHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, sink, released := &stage{}, &shelf{room: 10000}, make(chan struct{})
		a := &actor{uuid: "GPU-a"}
		b := newHanging("GPU-b", st, 500, released)
		a.part = func(int, *schema.Reading) error {
			if st.nowNS > 30e9 && released != nil {
				close(released)
				released = nil
			}
			return nil
		}
		stats, err := bubbled(t, st, time.Minute, sink, a, b)
		if err != nil || len(sink.readings) != int(stats.Readings) || !stats.Boards[1].LostNow {
			t.Errorf("%d readings counted, %d pushed, board lost: %v, %v", stats.Readings, len(sink.readings), stats.Boards[1].LostNow, err)
		}
	})
}

func TestTheRunEndsWhenEveryCallHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, released := &stage{}, make(chan struct{})
		a, b := newHanging("GPU-a", st, 100, released), newHanging("GPU-b", st, 100, released)
		_, err := bubbled(t, st, time.Hour, &shelf{room: 10000}, a, b)
		if !errors.Is(err, ErrHung) || !strings.Contains(err.Error(), "GPU-a") || !strings.Contains(err.Error(), "GPU-b") {
			t.Errorf("Run = %v", err)
		}
		if a.abandoned != 1 || b.abandoned != 1 {
			t.Errorf("abandoned %d and %d times", a.abandoned, b.abandoned)
		}
		close(released)
	})
}

func TestAPanicOfADeviceReachesWhoeverRuns(t *testing.T) {
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "no such board") {
			t.Errorf("recovered %v", p)
		}
	}()
	a := &actor{part: func(int, *schema.Reading) error { panic("no such board") }}
	_, _, _ = play(t, &stage{}, tenMilliseconds(), time.Second, &shelf{}, a)
}

func TestWithinGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if v, err := Within(time.Second, func() (int, error) { return 7, nil }); v != 7 || err != nil {
			t.Errorf("%d, %v", v, err)
		}
		never := make(chan struct{})
		began := time.Now()
		if _, err := Within(time.Second, func() (int, error) { <-never; return 7, nil }); !errors.Is(err, ErrHung) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		close(never)
		defer func() {
			if recover() == nil {
				t.Error("a panic did not reach the caller")
			}
		}()
		_, _ = Within(time.Second, func() (int, error) { panic("lost") })
	})
}

// However looks and calls fall, a call is given up only after patience of time in which the watchdog was awake, and always
// soon after that.
func TestTheWatchdogCountsOnlyTimeThatItSaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const patience = 10 * time.Second
		every := int64(patience / watchdogLooks)
		dog := watchdog{patience: patience}
		now := rapid.Int64Range(1, 1e15).Draw(t, "start")
		dog.overdue(0, now)
		call, awake := now, int64(0) // awake since the call was first seen
		for range rapid.IntRange(1, 300).Draw(t, "looks") {
			passed := every
			if rapid.IntRange(0, 20).Draw(t, "asleep") == 0 {
				passed = rapid.Int64Range(every, 1e14).Draw(t, "for")
			}
			now += passed
			counted := min(passed, 2*every)
			if rapid.IntRange(0, 100).Draw(t, "answers") == 0 {
				call, awake = now, 0
				counted = 0
			} else if dog.sinceNS != call {
				counted = 0
			}
			awake += counted
			switch given := dog.overdue(call, now); {
			case given && awake <= int64(patience):
				t.Fatalf("given up after %v", time.Duration(awake))
			case !given && awake > int64(patience):
				t.Fatalf("not given up after %v", time.Duration(awake))
			case given:
				return
			}
		}
	})
}
