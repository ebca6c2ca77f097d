package sim

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/internal/catalog"
)

func TestTheBoardFollowsTheStages(t *testing.T) {
	inFakeTime(t, func(b *bed) {
		power := NewPower(board(t, "A10"), model(t, catalog.DefaultModel))
		time.Sleep(time.Second)
		b.askAs("r", "/v1/chat/completions", body(2000, 100))
		time.Sleep(time.Second)
		truth := b.truths()["r"]
		for _, c := range []struct {
			when string
			atNS int64
			want Level
		}{
			{"before", truth.PrefillStartNS - 1, power.Idle()},
			{"in prefill", truth.FirstTokenNS - 1, power.Prefill(2000)},
			{"in decode", truth.EndNS - 1, power.Decode(1, 2100)},
			{"after", truth.EndNS + int64(100*time.Millisecond), power.Idle()},
		} {
			got := b.load.at(c.atNS)
			if diff := got.PowerW - c.want.PowerW; diff > 1 || diff < -1 || got.GPUBusy != c.want.GPUBusy ||
				got.MemBusy-c.want.MemBusy > 0.01 || c.want.MemBusy-got.MemBusy > 0.01 {
				t.Errorf("%s the board is at %+v, want %+v", c.when, got, c.want)
			}
		}
		// the busy shares change with the work, the power some steps later
		at := b.load.at(truth.PrefillStartNS)
		if at.GPUBusy != kernelBusy || at.PowerW >= power.Prefill(2000).PowerW-10 || at.PowerW <= power.Idle().PowerW {
			t.Errorf("as prefill starts the board is at %+v", at)
		}
	})
}

func TestMemoryIsTakenWhileTheModelIsLoaded(t *testing.T) {
	load := &recorder{}
	s, err := New(Config{Board: board(t, "A10"), Model: model(t, catalog.DefaultModel), Loads: []Load{load}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(load.used) != 2 || load.used[0] != 21_600_000_000 || load.used[1] != 0 {
		t.Errorf("memory used: %d", load.used)
	}
}

func TestDriveSlewsAndSettles(t *testing.T) {
	load := &recorder{}
	d := newDrive([]Load{load}, 1000, Level{PowerW: 50})
	d.target(2000, Level{PowerW: 150, GPUBusy: 0.98})
	d.advance(2000 + int64(time.Second))
	if d.nextNS() != never {
		t.Error("not settled after a second")
	}
	if n := len(load.levels); n != 1+steps {
		t.Fatalf("%d levels", n)
	}
	for i, l := range load.levels[2:] {
		if before := load.levels[i+1]; l.PowerW <= before.PowerW || l.atNS != before.atNS+int64(step) {
			t.Errorf("step %d: %+v after %+v", i, l, before)
		}
	}
	if last := load.levels[steps]; last.PowerW != 150 {
		t.Errorf("settled at %+v", last)
	}
	d.target(2000+int64(time.Second), Level{PowerW: 150.2, GPUBusy: 0.98})
	if len(load.levels) != 1+steps {
		t.Error("a change too small to measure was set")
	}
}

func TestDriveGoesForwardAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		load := &recorder{}
		d := newDrive([]Load{load}, 0, Level{PowerW: 20})
		low, high := 20.0, 20.0
		now := int64(0)
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			now += rapid.Int64Range(0, int64(40*time.Millisecond)).Draw(t, "later")
			goal := rapid.Float64Range(0, 700).Draw(t, "watts")
			low, high = min(low, goal), max(high, goal)
			d.target(now, Level{PowerW: goal})
		}
		d.advance(now + int64(time.Second))
		last := int64(0)
		for _, l := range load.levels {
			if l.atNS < last || l.PowerW < low-1e-9 || l.PowerW > high+1e-9 {
				t.Fatalf("level %+v after %d, powers from %f to %f", l, last, low, high)
			}
			last = l.atNS
		}
	})
}

func TestPowerOfEveryBoardAndModel(t *testing.T) {
	for _, b := range catalog.Boards() {
		for _, m := range catalog.Models() {
			if Fits(b, m) != nil {
				continue
			}
			p := NewPower(b, m)
			idle := p.Idle().PowerW
			if idle <= p.Bare().PowerW || idle > 0.5*b.TDPW {
				t.Errorf("%s with %s idles at %.0f W", b.Name, m.Name, idle)
			}
			last := 0.0
			for _, n := range []int{10, 100, 1000, 10_000} {
				l := p.Prefill(n)
				if l.PowerW <= last || l.PowerW > b.TDPW {
					t.Errorf("%s with %s reads %d tokens at %.0f W, fewer at %.0f W", b.Name, m.Name, n, l.PowerW, last)
				}
				last = l.PowerW
			}
			last = 0
			for _, n := range []int{10, 1000, 10_000} {
				l := p.Decode(1, n)
				if share := l.PowerW / b.TDPW; l.PowerW <= last || share < 0.55 || share > 0.75 {
					t.Errorf("%s with %s decodes at a context of %d at %.2f of its limit", b.Name, m.Name, n, share)
				}
				last = l.PowerW
			}
			if p.Decode(1, 100).MemBusy <= p.Prefill(1000).MemBusy {
				t.Errorf("%s with %s: memory is no busier in decode than in prefill", b.Name, m.Name)
			}
			if share := p.Decode(mostSequences, 1_000_000).PowerW / b.TDPW; share > 0.75+1e-9 {
				t.Errorf("%s with %s decodes a full batch at %.2f of its limit", b.Name, m.Name, share)
			}
		}
	}
}
