package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/clock"
)

// plan is a request to come: after a while, and perhaps given up later.
type plan struct {
	after          time.Duration
	prompt, answer int
	giveUp         time.Duration // after the request; 0 for never
}

// run sends the planned requests and waits for all: their ids are r0, r1, …
func (b *bed) run(plans ...plan) []*got {
	b.Helper()
	all := make([]*got, len(plans))
	var group sync.WaitGroup
	for i, p := range plans {
		group.Go(func() {
			time.Sleep(p.after)
			ctx := b.Context()
			if p.giveUp > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, p.giveUp)
				defer cancel()
			}
			var err error
			all[i], err = b.post(ctx, fmt.Sprint("r", i), "/v1/chat/completions", body(p.prompt, p.answer))
			if err != nil && ctx.Err() == nil {
				b.Errorf("request %d: %v", i, err)
			}
		})
	}
	group.Wait()
	time.Sleep(time.Minute) // whatever the board still does for those who gave up
	synctest.Wait()
	return all
}

func TestAPrefillStallsTheOthers(t *testing.T) {
	timing := NewTiming(board(t, "A10"), model(t, catalog.DefaultModel))
	inFakeTime(t, func(b *bed) {
		all := b.run(plan{prompt: 10, answer: 60}, plan{after: time.Second, prompt: 1000, answer: 20})
		var gaps []time.Duration
		arrived := all[0].arrived[1:61] // tokens alone
		for i := range arrived[1:] {
			gaps = append(gaps, time.Duration(arrived[i+1]-arrived[i]))
		}
		longest := slices.Max(gaps)
		stall := timing.Prefill(1000)
		if longest < stall || longest > stall+timing.Step(2, 2000) {
			t.Errorf("longest gap %v, the other's prefill takes %v", longest, stall)
		}
		slices.Sort(gaps)
		if usual := gaps[len(gaps)/2]; usual > timing.Step(2, 2000) {
			t.Errorf("usual gap %v", usual)
		}
	})
}

func TestDecodesRunTogether(t *testing.T) {
	timing := NewTiming(board(t, "A10"), model(t, catalog.DefaultModel))
	inFakeTime(t, func(b *bed) {
		all := b.run(plan{prompt: 10, answer: 500}, plan{prompt: 10, answer: 500})
		alone := timing.Request(10, 500)
		for i, g := range all {
			if g.latency() > alone+alone/20 {
				t.Errorf("request %d took %v; alone it takes %v", i, g.latency(), alone)
			}
		}
	})
}

func TestQueueingDelaysAndIsNoPrefill(t *testing.T) {
	timing := NewTiming(board(t, "A10"), model(t, catalog.DefaultModel))
	inFakeTime(t, func(b *bed) {
		const later = 100 * time.Millisecond
		all := b.run(plan{prompt: 4096, answer: 2}, plan{after: later, prompt: 100, answer: 2})
		want := timing.Prefill(4096) - later + timing.Prefill(100)
		if got := all[1].toFirst(); got != want {
			t.Errorf("first token after %v, want %v", got, want)
		}
		if got, want := all[1].timings.PromptMS, timing.Prefill(100).Seconds()*1e3; got > want+1e-3 || got < want-1e-3 {
			t.Errorf("prompt_ms %f, want %f", got, want)
		}
		truths := b.truths()
		if truths["r1"].PrefillStartNS != truths["r0"].FirstTokenNS {
			t.Errorf("the second prefill did not begin where the first ended: %+v", truths)
		}
	})
}

func TestMemoryBoundsHowManyRunTogether(t *testing.T) {
	inFakeTime(t, func(b *bed) {
		big := plan{prompt: 17_000, answer: 40} // 42,000 tokens fit
		b.run(big, big, big)
		truths := b.truths()
		starts := []int64{truths["r0"].PrefillStartNS, truths["r1"].PrefillStartNS, truths["r2"].PrefillStartNS}
		ends := []int64{truths["r0"].EndNS, truths["r1"].EndNS, truths["r2"].EndNS}
		slices.Sort(starts)
		slices.Sort(ends)
		if starts[1] >= ends[0] {
			t.Error("two requests that fit did not run together")
		}
		if starts[2] < ends[0] {
			t.Error("a third request ran while the memory was taken")
		}
	})
}

func TestGivingUp(t *testing.T) {
	timing := NewTiming(board(t, "A10"), model(t, catalog.DefaultModel))
	for _, c := range []struct {
		name    string
		request plan
		begun   bool
		first   bool
		ends    time.Duration // after the request
	}{
		{"while decoding", plan{prompt: 10, answer: 10_000, giveUp: time.Second}, true, true, 0},
		{"in prefill", plan{prompt: 8192, answer: 10, giveUp: time.Second}, true, false, timing.Prefill(8192)},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(b *bed) {
				g := b.run(c.request)[0]
				truth := b.truths()["r0"]
				if (truth.PrefillStartNS != 0) != c.begun || (truth.FirstTokenNS != 0) != c.first {
					t.Errorf("truth %+v", truth)
				}
				ended := time.Duration(truth.EndNS - g.startNS)
				if c.ends == 0 && (ended < c.request.giveUp || ended > c.request.giveUp+timing.Step(1, 100)) {
					t.Errorf("ended after %v, a step after %v at most", ended, c.request.giveUp)
				}
				if c.ends != 0 && ended != c.ends {
					t.Errorf("ended after %v, want %v", ended, c.ends)
				}
				if l := b.load.at(truth.EndNS); l.GPUBusy != 0 {
					t.Errorf("the board works on: %+v", l)
				}
			})
		})
	}
	t.Run("in the queue", func(t *testing.T) {
		inFakeTime(t, func(b *bed) {
			b.run(plan{prompt: 8192, answer: 1}, plan{after: time.Second, prompt: 10, answer: 10, giveUp: time.Second})
			truths := b.truths()
			if waited := truths["r1"]; waited.PrefillStartNS != 0 || waited.FirstTokenNS != 0 || waited.EndNS == 0 {
				t.Errorf("truth of a request that never ran: %+v", waited)
			}
			if first := truths["r0"]; time.Duration(first.EndNS-first.PrefillStartNS) != timing.Prefill(8192) {
				t.Errorf("truth of the request before it: %+v", first)
			}
		})
	})
}

func TestAClientThatDoesNotReadHoldsUpNobody(t *testing.T) {
	inFakeTime(t, func(b *bed) {
		conn, err := b.pipes.dial(b.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		asked := `{"stream":true,"max_tokens":1000,"messages":[{"role":"user","content":"hi"}]}`
		fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: sim\r\nContent-Length: %d\r\n\r\n%s", len(asked), asked)
		g := b.run(plan{after: time.Second, prompt: 10, answer: 200})[0]
		timing := NewTiming(board(t, "A10"), model(t, catalog.DefaultModel))
		if alone := timing.Request(10, 200); !g.done || g.latency() > alone+alone/20 {
			t.Errorf("done %t after %v; alone it takes %v", g.done, g.latency(), alone)
		}
	})
}

func TestClosingBreaksAnswersOff(t *testing.T) {
	inFakeTime(t, func(b *bed) {
		go func() {
			time.Sleep(3 * time.Second)
			if err := b.server.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		}()
		g := b.ask(body(10, 10_000))
		if g.done || g.finish != "" || g.tokens == 0 || g.tokens > 100 {
			t.Errorf("%d tokens, finish %q, done %t", g.tokens, g.finish, g.done)
		}
		time.Sleep(time.Minute)
		if truth := b.truths()[g.id]; truth.EndNS != g.startNS+int64(3*time.Second) {
			t.Errorf("truth %+v of a request begun at %d", truth, g.startNS)
		}
		if _, err := b.post(b.Context(), "", "/v1/chat/completions", body(10, 1)); err == nil {
			t.Error("a closed server took a request")
		}
		last := b.load.at(clock.Now())
		if last != NewPower(board(t, "A10"), model(t, catalog.DefaultModel)).Bare() {
			t.Errorf("the board is left at %+v", last)
		}
	})
}

// inOrder compares two instants, either of which may never have come. In fake time they are negative.
func inOrder(early, late int64) bool { return early == 0 || late == 0 || early <= late }

// However requests come, overlap and are given up, these things hold.
func TestAnyLoad(t *testing.T) {
	timing := NewTiming(board(t, "A10"), model(t, catalog.DefaultModel))
	rapid.Check(t, func(rt *rapid.T) {
		ms := func(most int, label string) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(rt, label)) * time.Millisecond
		}
		plans := make([]plan, rapid.IntRange(1, 8).Draw(rt, "requests"))
		for i := range plans {
			plans[i] = plan{
				after:  ms(3000, "after"),
				prompt: rapid.IntRange(1, 3000).Draw(rt, "prompt"),
				answer: rapid.IntRange(1, 60).Draw(rt, "answer"),
			}
			if rapid.Bool().Draw(rt, "gives up") {
				plans[i].giveUp = time.Microsecond + ms(2000, "give up")
			}
		}
		var wrong []string
		complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
		inFakeTime(t, func(b *bed) {
			all := b.run(plans...)
			truths := b.truths()
			for i, g := range all {
				truth, known := truths[fmt.Sprint("r", i)]
				switch {
				case plans[i].giveUp == 0 && (!known || g.tokens != plans[i].answer || !g.done):
					complain("request %d: %d tokens of %d, truth %+v", i, g.tokens, plans[i].answer, truth)
				case g.done && truth.FirstTokenNS-truth.PrefillStartNS != int64(timing.Prefill(plans[i].prompt)):
					complain("request %d: prefill of %d tokens from %d to %d", i, plans[i].prompt, truth.PrefillStartNS,
						truth.FirstTokenNS)
				}
			}
			for a, one := range truths {
				if !inOrder(one.PrefillStartNS, one.FirstTokenNS) || !inOrder(one.PrefillStartNS, one.EndNS) ||
					!inOrder(one.FirstTokenNS, one.EndNS) || one.PrefillStartNS == 0 && one.FirstTokenNS != 0 {
					complain("truth of %s out of order: %+v", a, one)
				}
				for c, other := range truths {
					if a < c && one.FirstTokenNS != 0 && other.FirstTokenNS != 0 &&
						one.PrefillStartNS < other.FirstTokenNS && other.PrefillStartNS < one.FirstTokenNS {
						complain("prefills of %s and %s overlap", a, c)
					}
				}
			}
			if !slices.IsSortedFunc(b.load.levels, func(x, y setLevel) int { return int(x.atNS - y.atNS) }) {
				complain("levels out of order")
			}
			if l := b.load.at(clock.Now()); l.GPUBusy != 0 {
				complain("the board works on after all: %+v", l)
			}
		})
		if len(wrong) > 0 {
			rt.Fatal(strings.Join(wrong, "\n"))
		}
	})
}
