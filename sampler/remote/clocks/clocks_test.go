package clocks

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is two clocks and the link between them.
type world struct {
	offset, drift       float64 // ns, s/s
	there, back, jitter int64   // ns
}

func (w world) remote(hereNS int64) int64 {
	return hereNS + int64(w.offset+w.drift*float64(hereNS))
}

// trip sends a ping at a time here.
func (w world) trip(t *rapid.T, sentNS int64) Trip {
	wait := func(name string) int64 { return rapid.Int64Range(0, w.jitter).Draw(t, name) }
	stamped := sentNS + w.there + wait("there")
	return Trip{SentNS: sentNS, RemoteNS: w.remote(stamped), BackNS: stamped + w.back + wait("back")}
}

func TestTheTruthIsWithinTheStatedError(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := world{
			offset: float64(rapid.Int64Range(-1e15, 1e15).Draw(t, "offset")),
			drift:  rapid.Float64Range(-2e-4, 2e-4).Draw(t, "drift") / 2,
			there:  rapid.Int64Range(20_000, 60e6).Draw(t, "there"),
			back:   rapid.Int64Range(20_000, 60e6).Draw(t, "back"),
			jitter: rapid.Int64Range(0, 20e6).Draw(t, "jitter"),
		}
		var e Estimate
		cutFrom := rapid.Int64Range(5, 40).Draw(t, "cut") * int64(time.Second)
		cutTo := cutFrom + 30*int64(time.Second)
		for at := int64(0); at < 90*int64(time.Second); at += 250 * int64(time.Millisecond) {
			if at > cutFrom && at < cutTo {
				continue
			}
			e.Add(w.trip(t, at))
		}
		until, ok := e.Ready()
		if !ok {
			t.Fatal("no mark")
		}
		last := int64(-1 << 62)
		for at := int64(0); at < 90*int64(time.Second); at += 70 * int64(time.Millisecond) {
			there := w.remote(at)
			if there > until {
				break
			}
			here, off := e.Here(there)
			if wrong := time.Duration(here - at).Abs(); wrong > off {
				t.Fatalf("at %v: off by %v, stated %v; %+v", time.Duration(at), wrong, off, w)
			}
			if here <= last {
				t.Fatalf("at %v: time goes back from %d to %d", time.Duration(at), last, here)
			}
			last = here
		}
	})
}

func TestTheErrorIsHalfTheRoundTripAndLittleMore(t *testing.T) {
	var e Estimate
	w := world{offset: 86_400e9, drift: 40e-6, there: 25e6, back: 5e6}
	for at := int64(0); at < 120e9; at += 250e6 {
		stamped := at + w.there
		e.Add(Trip{at, w.remote(stamped), stamped + w.back})
	}
	here, off := e.Here(w.remote(60e9))
	if off < 15*time.Millisecond || off > 15200*time.Microsecond {
		t.Errorf("stated %v for a round trip of 30 ms", off)
	}
	if wrong := time.Duration(here - 60e9).Abs(); wrong < 9*time.Millisecond || wrong > 11*time.Millisecond {
		t.Errorf("off by %v: half the difference of 25 and 5 ms", wrong)
	}
	if s := e.Summary(); s.Drift < 35e-6 || s.Drift > 45e-6 || s.RoundTrip != 30*time.Millisecond {
		t.Errorf("%+v, want a drift of 40 ppm", s)
	}
}

func TestASlowTripAmongFastOnesIsPassedOver(t *testing.T) {
	var e Estimate
	for at := int64(0); at < 60e9; at += 250e6 {
		back := int64(200_000)
		if at/250e6%3 != 0 {
			back = 80e6 // a queue
		}
		e.Add(Trip{at, at + 100_000 + 5e9, at + 100_000 + back})
	}
	if here, off := e.Here(35e9); off > 300*time.Microsecond || time.Duration(here-30e9).Abs() > off {
		t.Errorf("30 s is %v, stated %v", time.Duration(here), off)
	}
}

func TestAClockThatIsSteeredWidensTheError(t *testing.T) {
	var e Estimate
	for at := int64(0); at < 60e9; at += 250e6 {
		there := at + 100_000
		if at >= 30e9 {
			there += 50e6 // suspended, or set by someone who may
		}
		e.Add(Trip{at, there, at + 200_000})
	}
	if _, off := e.Here(30e9 + 20e6); off < 40*time.Millisecond {
		t.Errorf("stated %v across a jump of 50 ms", off)
	}
	if here, off := e.Here(55e9 + 50e6); time.Duration(here-55e9).Abs() > off {
		t.Errorf("25 s after a jump: off by %v, stated %v", time.Duration(here-55e9), off)
	}
}
