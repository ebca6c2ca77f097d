package sampler

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

func gapsOf(t *testing.T, length time.Duration, sink Sink, part func(st *stage, r *schema.Reading) error) []schema.Gap {
	t.Helper()
	st := &stage{}
	a := &actor{uuid: "GPU-a", part: func(_ int, r *schema.Reading) error { return part(st, r) }}
	_, stats, err := play(t, st, tenMilliseconds(), length, sink, a, &actor{uuid: "GPU-b"})
	if err != nil {
		t.Fatal(err)
	}
	return stats.Boards[0].Gaps
}

func TestGapsSayWhy(t *testing.T) {
	between := func(st *stage, from, to time.Duration) bool {
		return st.nowNS >= 1e9+int64(from) && st.nowNS < 1e9+int64(to)
	}
	for _, c := range []struct {
		why    string
		atMost time.Duration
		part   func(st *stage, r *schema.Reading) error
	}{
		{schema.GapLost, 1020 * time.Millisecond, func(st *stage, _ *schema.Reading) error {
			if between(st, 2*time.Second, 2100*time.Millisecond) {
				return ErrBoardLost
			}
			return nil
		}},
		{schema.GapReset, 1020 * time.Millisecond, func(st *stage, _ *schema.Reading) error {
			if between(st, 2*time.Second, 2100*time.Millisecond) {
				return fmt.Errorf("reading: %w", ErrResetRequired)
			}
			return nil
		}},
		{schema.GapReopened, 130 * time.Millisecond, func(st *stage, _ *schema.Reading) error {
			if between(st, 2*time.Second, 2100*time.Millisecond) {
				return ErrReopened
			}
			return nil
		}},
		{schema.GapStalled, 1520 * time.Millisecond, func(st *stage, r *schema.Reading) error {
			if between(st, 2*time.Second, 2005*time.Millisecond) {
				st.nowNS += 1.5e9
				r.StartNS = st.nowNS // the slow call was another's
			}
			return nil
		}},
	} {
		gaps := gapsOf(t, 5*time.Second, &shelf{room: 10000}, c.part)
		if len(gaps) != 1 || gaps[0].Why != c.why || time.Duration(gaps[0].ToNS-gaps[0].FromNS) > c.atMost {
			t.Errorf("%s: gaps %v", c.why, gaps)
		}
	}
}

func TestReadingsWithoutRoomLeaveAGap(t *testing.T) {
	gaps := gapsOf(t, 5*time.Second, &shelf{room: 400}, func(*stage, *schema.Reading) error { return nil })
	if len(gaps) != 1 || gaps[0].Why != schema.GapDropped || gaps[0].FromNS < 1e9+19e8 || gaps[0].ToNS < 1e9+49e8 {
		t.Errorf("gaps %v", gaps)
	}
}

// Whatever happens to a board: its gaps follow each other, no row lies within one, and no two rows are far apart without.
func TestGapsAndRowsShareTheRun(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBoardState(&actor{})
		b.periodNS.Store(10e6)
		now := int64(1e9)
		b.rowNS = now
		rows := []int64{now}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			now += rapid.Int64Range(1, 3e9).Draw(t, "passed")
			switch rapid.IntRange(0, 5).Draw(t, "event") {
			case 0:
				b.lose(now, ErrBoardLost)
			case 1:
				b.because(schema.GapReopened)
			case 2:
				b.full = true
			default:
				b.found(now)
				b.row(now)
				rows = append(rows, now)
			}
		}
		gaps := b.stats(now, now).Gaps
		for i, g := range gaps {
			if g.FromNS > g.ToNS || i > 0 && gaps[i-1].ToNS > g.FromNS {
				t.Fatalf("gaps %v", gaps)
			}
		}
		for i, row := range append(rows, now) {
			covered := false
			for _, g := range gaps {
				if row > g.FromNS && row < g.ToNS {
					t.Fatalf("a row at %d within %v", row, g)
				}
				covered = covered || i > 0 && g.FromNS == rows[i-1] && g.ToNS == row
			}
			if i > 0 && row-rows[i-1] > int64(time.Second) && !covered {
				t.Fatalf("nothing between %d and %d, and no gap: %v", rows[i-1], row, gaps)
			}
		}
	})
}

func TestTheHostsClocksTellStepsFromSleep(t *testing.T) {
	const second = int64(time.Second)
	at := func(mono, wall, boot int64) clock.Host {
		return clock.Host{MonotonicNS: mono, WallNS: wall, BootNS: boot}
	}
	slow := at(3*second, 3*second, 3*second)
	slow.Within = time.Second
	for _, c := range []struct {
		name  string
		then  clock.Host
		slept time.Duration
		step  time.Duration
	}{
		{"nothing", at(2*second, 102*second, 12*second), 0, 0},
		{"less than matters", at(2*second, 102*second+9e6, 12*second+9e6), 0, 0},
		{"set forward", at(2*second, 105*second, 12*second), 0, 3 * time.Second},
		{"set back", at(2*second, 42*second, 12*second), 0, -time.Minute},
		{"suspended", at(2*second, 109*second, 19*second), 7 * time.Second, 0},
		{"suspended, and set", at(2*second, 110*second, 19*second), 7 * time.Second, time.Second},
		{"a look that took too long", slow, 0, 0},
	} {
		next := at(second, 101*second, 11*second)
		h := hostClock{read: func() clock.Host { return next }}
		if slept := h.look(); slept != 0 {
			t.Errorf("%s: slept %v before the first look", c.name, slept)
		}
		next = c.then
		if slept := h.look(); slept != c.slept {
			t.Errorf("%s: slept %v", c.name, slept)
		}
		if c.step == 0 && len(h.steps) > 0 || c.step != 0 && (len(h.steps) != 1 || h.steps[0].Step != c.step || h.steps[0].FromNS != second || h.steps[0].ToNS != 2*second) {
			t.Errorf("%s: steps %v", c.name, h.steps)
		}
	}
}

func TestASuspendIsAGapHoweverShortItLooks(t *testing.T) {
	st := &stage{}
	s, err := New([]Device{&actor{uuid: "GPU-a"}}, tenMilliseconds(), &shelf{room: 10000})
	if err != nil {
		t.Fatal(err)
	}
	s.host.read = func() clock.Host {
		h := st.clocks()
		if st.nowNS > 3e9 {
			h.WallNS, h.BootNS = h.WallNS+60e9, h.BootNS+60e9
		}
		return h
	}
	stats, err := rehearse(t, s, st, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	gaps := stats.Boards[0].Gaps
	if len(gaps) != 1 || gaps[0].Why != schema.GapSuspend || gaps[0].Slept != time.Minute || gaps[0].ToNS-gaps[0].FromNS > 40e6 || gaps[0].FromNS > 3e9+40e6 {
		t.Errorf("gaps %v", gaps)
	}
	if len(stats.Steps) != 0 {
		t.Errorf("steps %v", stats.Steps)
	}
}

func TestAResetIsALoss(t *testing.T) {
	if !errors.Is(ErrResetRequired, ErrBoardLost) {
		t.Error("a board that must be reset is not lost")
	}
}
