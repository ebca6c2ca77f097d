package clock

import (
	"testing"
	"time"

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

func TestSleepUntilNeverReturnsEarly(t *testing.T) {
	for range 20 {
		due := Now() + 1_000_000
		SleepUntil(due)
		if now := Now(); now < due-1000 {
			t.Fatalf("woke %d ns early", due-now)
		}
	}
}
