package sampler

import (
	"testing"

	"pgregory.net/rapid"
)

func TestPacerNeverBurstsAndAccountsForEverySlot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := pacer{
			startNS:  rapid.Int64Range(0, 1<<50).Draw(t, "start"),
			periodNS: rapid.Int64Range(1, 1e9).Draw(t, "period"),
		}
		now, last := p.startNS, int64(-1)
		for range rapid.IntRange(1, 50).Draw(t, "wakes") {
			due := p.due()
			now = max(now, due) + rapid.Int64Range(0, 5*p.periodNS).Draw(t, "late")
			got := p.take(now)
			switch {
			case got.first != last+1:
				t.Fatalf("slot %d follows slot %d: some slot is neither taken nor missed", got.first, last)
			case got.last < got.first:
				t.Fatalf("took slot %d before %d", got.last, got.first)
			case p.startNS+got.last*p.periodNS > now:
				t.Fatalf("took slot %d before it was due", got.last)
			case p.due() <= now:
				t.Fatalf("the next deadline %d is not after now %d: a burst", p.due(), now)
			case got.lateNS != now-due:
				t.Fatalf("late by %d, want %d", got.lateNS, now-due)
			}
			last = got.last
		}
	})
}

func TestPacerToleratesWakingEarly(t *testing.T) {
	p := pacer{startNS: 1000, periodNS: 100}
	p.take(1000)
	if got := p.take(1099); got != (taken{first: 1, last: 1}) {
		t.Errorf("take 1 ns before slot 1 = %+v", got)
	}
}
