package clock

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sourcegraph/conc"
	"golang.org/x/sys/unix"
)

func TestNowIsTheHostsMonotonicClock(t *testing.T) {
	for range 100 {
		before := raw(unix.CLOCK_MONOTONIC)
		now := Now()
		after := raw(unix.CLOCK_MONOTONIC)
		const slack = 50_000 // ns: the anchor's own error
		if now < before-slack || now > after+slack {
			t.Fatalf("Now() = %d outside [%d, %d]", now, before, after)
		}
	}
}

func TestWallFollowsTheMonotonicClock(t *testing.T) {
	now := Now()
	if d := time.Since(Anchor().Wall(now)); d < -10*time.Millisecond || d > time.Second {
		t.Errorf("Wall(Now()) is %v away from the wall clock", d)
	}
	if got := Anchor().Wall(now + 1_000_000_000).Sub(Anchor().Wall(now)); got != time.Second {
		t.Errorf("one monotonic second is %v of wall clock", got)
	}
}

func TestSleepsAndNapsNeverReturnEarly(t *testing.T) {
	for _, wait := range []func(int64){SleepUntil, NapUntil} {
		for range 20 {
			due := Now() + 1_000_000
			wait(due)
			if now := Now(); now < due-1000 {
				t.Fatalf("woke %d ns early", due-now)
			}
		}
	}
}

// A nap keeps its place among those that run Go code, and a collection stops them all.
func TestACollectionEndsWhileAnotherThreadNaps(t *testing.T) {
	var napping conc.WaitGroup
	var ended atomic.Bool
	begun := make(chan struct{})
	napping.Go(func() {
		close(begun)
		NapUntil(Now() + int64(time.Second))
		ended.Store(true)
	})
	<-begun
	for range 3 {
		runtime.GC()
	}
	if ended.Load() {
		t.Error("the collections waited for the end of a nap of 1 s")
	}
	napping.Wait()
}
