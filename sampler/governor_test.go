package sampler

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/schema"
)

// dear is a device whose calls take what cost says, s into the run.
func dear(st *stage, cost func(s float64) time.Duration) *actor {
	return &actor{uuid: "GPU-a", part: func(_ int, r *schema.Reading) error {
		r.PowerInstantW = schema.Some[float32](100)
		st.nowNS += int64(cost(float64(st.nowNS-1e9) / 1e9))
		return nil
	}}
}

// governedPlay is play with a budget.
func governedPlay(t *testing.T, budget float64, length time.Duration, sink Sink, st *stage, devices ...Device) Stats {
	t.Helper()
	s, err := New(devices, Plan{Power: 20 * time.Millisecond, Utilization: 100 * time.Millisecond, Slow: time.Second}, sink)
	if err != nil {
		t.Fatal(err)
	}
	s.Govern(budget)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	st.nowNS, st.endNS, st.cancel = 1e9, 1e9+int64(length), cancel
	s.now, s.wait, s.preempted = func() int64 { return st.nowNS }, st.sleepUntil, func() bool { return st.preempted }
	stats, err := s.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

func TestTheGovernorHalvesItsLoadWhenCallsBecomeSlowAndTakesItUpAgain(t *testing.T) {
	const usual, slowFrom, slowTo = 8 * time.Microsecond, 20, 50
	st, sink := &stage{}, &shelf{room: 1 << 20}
	a := dear(st, func(s float64) time.Duration {
		if s >= slowFrom && s < slowTo {
			return 20 * usual // 0.8 % of 20 ms
		}
		return usual
	})
	board := governedPlay(t, DefaultBudget, 100*time.Second, sink, st, a).Boards[0]
	t.Log(board.Changes)
	if len(board.Changes) != 2 {
		t.Fatalf("%d changes, want one there and one back: %v", len(board.Changes), board.Changes)
	}
	there, back := board.Changes[0], board.Changes[1]
	if at := float64(there.AtNS-1e9) / 1e9; at < slowFrom || at > slowFrom+5 || there.From != 20*time.Millisecond || there.To != 40*time.Millisecond || there.Share <= DefaultBudget {
		t.Errorf("the calls became slow after %d s; the governor %v, %.1f s in", slowFrom, there, at)
	}
	if at := float64(back.AtNS-1e9) / 1e9; at < slowTo || at > slowTo+20 || back.To != 20*time.Millisecond {
		t.Errorf("the calls became cheap after %d s; the governor %v, %.1f s in", slowTo, back, at)
	}
	gaps := 0
	for i := 1; i < len(sink.readings); i++ {
		if r := sink.readings[i]; r.StartNS > there.AtNS+1e9 && r.StartNS < back.AtNS-1e9 {
			gaps++
			if gap := time.Duration(r.StartNS - sink.readings[i-1].StartNS); gap < 38*time.Millisecond || gap > 42*time.Millisecond {
				t.Fatalf("a gap of %v between readings while governed, want 40 ms and a slot's sway", gap)
			}
		}
	}
	if gaps == 0 {
		t.Error("no readings while governed")
	}
	if board.Planned != board.Readings || board.BusiestShare < 0.005 || board.BusiestShare > 0.008 {
		t.Errorf("planned %d, read %d, busiest share %v", board.Planned, board.Readings, board.BusiestShare)
	}
}

func TestTheFirstCallIsNotHeldAgainstABoard(t *testing.T) {
	st := &stage{}
	board := governedPlay(t, DefaultBudget, 10*time.Second, &shelf{}, st, dear(st, func(s float64) time.Duration {
		if s == 0 {
			return 19 * time.Millisecond
		}
		return time.Microsecond
	})).Boards[0]
	if len(board.Changes) != 0 || board.BusiestShare > 0.0001 {
		t.Errorf("share %v, changes %v", board.BusiestShare, board.Changes)
	}
}

func TestTimeOffTheCoreIsNotHeldAgainstABoard(t *testing.T) {
	st := &stage{}
	board := governedPlay(t, DefaultBudget, 60*time.Second, &shelf{}, st, dear(st, func(s float64) time.Duration {
		if st.preempted = int(s*50)%10 == 5; st.preempted {
			return 5 * time.Millisecond
		}
		return 10 * time.Microsecond
	})).Boards[0]
	if len(board.Changes) != 0 || board.BusiestShare > 0.001 || board.BusyShare < 0.02 {
		t.Errorf("busiest share %v, in calls %v, changes %v", board.BusiestShare, board.BusyShare, board.Changes)
	}
}

func TestTheGovernorSlowsOneBoardAndLeavesTheOther(t *testing.T) {
	st := &stage{}
	a, b := dear(st, func(float64) time.Duration { return time.Millisecond }), &actor{uuid: "GPU-b"}
	boards := governedPlay(t, DefaultBudget, 60*time.Second, &shelf{}, st, a, b).Boards
	t.Log(boards[0].Changes)
	last := boards[0].Changes[len(boards[0].Changes)-1]
	if share := float64(time.Millisecond) / float64(last.To); share > DefaultBudget || share < DefaultBudget/4 {
		t.Errorf("1 ms every %v is a share of %v", last.To, share)
	}
	if boards[1].Readings != 3000 || len(boards[1].Changes) != 0 {
		t.Errorf("the other board: %d readings, changes %v", boards[1].Readings, boards[1].Changes)
	}
}

func TestWithoutABudgetCallsAreWatchedOnly(t *testing.T) {
	st := &stage{}
	board := governedPlay(t, 0, 20*time.Second, &shelf{}, st, dear(st, func(float64) time.Duration { return 2 * time.Millisecond })).Boards[0]
	if len(board.Changes) != 0 || board.BusiestShare < 0.099 || board.BusiestShare > 0.103 || board.Readings != 1000 {
		t.Errorf("share %v, %d readings, changes %v", board.BusiestShare, board.Readings, board.Changes)
	}
}

// Whatever the calls cost, the governor ends within the budget (or at its slowest) and does not swing.
func TestTheGovernorSettles(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cost := time.Duration(rapid.Int64Range(1e3, 30e6).Draw(rt, "cost"))
		st := &stage{}
		board := governedPlay(t, DefaultBudget, 5*time.Minute, &shelf{}, st, dear(st, func(float64) time.Duration { return cost })).Boards[0]
		period := 20 * time.Millisecond
		for _, c := range board.Changes { // each the double of the last, and none back
			if c.From != period || c.To != 2*period {
				rt.Fatalf("calls of %v: %v", cost, board.Changes)
			}
			period = c.To
		}
		if share := float64(cost) / float64(period); share > 1.05*DefaultBudget && 2*period <= slowest {
			rt.Fatalf("calls of %v every %v: %v", cost, period, share)
		}
	})
}

func TestEveryLaneIsStillReadWhenGoverned(t *testing.T) {
	g := newGovernor(tenMilliseconds(), 0, 0)
	g.stride = 4
	lanes, own := map[Lane]int{}, int64(0)
	for slot := range int64(800) {
		due, n := g.due(tenMilliseconds(), slot, slot)
		own += n
		if n > 0 {
			lanes[due]++
		}
	}
	if own != 200 || lanes[LanePower|LaneUtilization|LaneSlow] != 2 || lanes[LanePower|LaneUtilization] != 18 || lanes[LanePower] != 180 {
		t.Errorf("%d own slots, lanes %v", own, lanes)
	}
}
