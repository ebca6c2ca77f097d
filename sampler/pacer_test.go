package sampler

import (
	"testing"

	"pgregory.net/rapid"
)

func TestPacerNeverBurstsAndAccountsForEverySlot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := pacer{
			startNS:  rapid.Int64Range(0, 1<<50).Draw(t, "start"),
			periodNS: rapid.Int64Range(1e6, 1e9).Draw(t, "period"),
			sways:    rapid.Bool().Draw(t, "sways"),
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
			case p.dueAt(got.last) > now && got.last > got.first:
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

// A sensor that updates every five slots meets the slots at every phase, and the slots keep their rhythm.
func TestSlotsSwayThroughAllPhasesAndKeepTheirRhythm(t *testing.T) {
	p := pacer{periodNS: 20e6, sways: true}
	var tenths [10]int
	for slot := range int64(1000) {
		gap := p.dueAt(slot+1) - p.dueAt(slot)
		if gap < 19.2e6 || gap > 20.8e6 {
			t.Fatalf("slot %d is %d ns from the next", slot, gap)
		}
		if slot%5 == 0 {
			tenths[p.dueAt(slot)%100e6/2e6]++
		}
	}
	for i, n := range tenths {
		if n < 15 || n > 25 {
			t.Errorf("%d of 200 slots in tenth %d of the period: %v", n, i, tenths)
		}
	}
}
