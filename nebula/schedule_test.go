package nebula

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

// ledger is a sink that keeps what it is given, and when.
type ledger struct {
	mu     sync.Mutex
	events []schema.SpanEvent
	atNS   []int64
	full   int // pushes still to be refused; below 0 for all
}

func (l *ledger) Push(e *schema.SpanEvent) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full != 0 {
		l.full--
		return false
	}
	l.events, l.atNS = append(l.events, *e), append(l.atNS, clock.Now())
	return true
}

func (l *ledger) spans() (all []*schema.Span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Span != nil {
			all = append(all, e.Span)
		}
	}
	return all
}

func prompts(n int) []*schema.Prompt {
	all := make([]*schema.Prompt, n)
	for i := range all {
		all[i] = &schema.Prompt{ID: fmt.Sprintf("p%d", i), Text: "x", MaxTokens: 8}
	}
	return all
}

func sinks(n int) []EventSink {
	all := make([]EventSink, n)
	for i := range all {
		all[i] = &ledger{}
	}
	return all
}

func TestEveryPromptIsSentOnceAndOpensBeforeItStarts(t *testing.T) {
	for _, workers := range []int{1, 4} {
		bubble(t, func(t *testing.T) {
			s := &Schedule{RunID: "r", Warmup: prompts(3), Prompts: prompts(21), Sinks: sinks(workers)}
			if err := s.Run(t.Context(), client(t, stream(roleOnly, says("x"), usageOf(5, 2), done), nil)); err != nil {
				t.Fatal(err)
			}
			sent, ids := map[string]int{}, map[string]bool{}
			var warmEnd, firstStart int64
			for _, sink := range s.Sinks {
				l := sink.(*ledger)
				for i := 0; i < len(l.events); i += 3 {
					open, token, span := l.events[i], l.events[i+1], l.events[i+2].Span
					if open.Span != nil || span == nil || token.FirstTokenNS != span.FirstTokenNS.V || token.FirstTokenNS != l.atNS[i+1] {
						t.Fatalf("event %d is not an opening with its first token, told at once, and its closing", i)
					}
					if open.OpenNS > l.atNS[i] || l.atNS[i] > span.StartNS || span.EndNS > l.atNS[i+2] {
						t.Errorf("opened %d, queued %d, started %d", open.OpenNS, l.atNS[i], span.StartNS)
					}
					succeeded(t, span)
					if ids[span.RequestID] || span.Concurrency != int32(workers) {
						t.Errorf("id %s again, or concurrency %d", span.RequestID, span.Concurrency)
					}
					ids[span.RequestID] = true
					if span.Warmup {
						warmEnd = maxSet(warmEnd, span.EndNS)
						continue
					}
					sent[span.Prompt.ID]++
					if firstStart == 0 || span.StartNS < firstStart {
						firstStart = span.StartNS
					}
				}
			}
			if len(sent) != 21 || len(ids) != 24 || firstStart < warmEnd {
				t.Errorf("%d prompts, %d ids; warm-up ended %d, the first began %d", len(sent), len(ids), warmEnd, firstStart)
			}
			if p := s.Progress(); p != (Progress{Total: 24, Done: 24, InputTokens: 120, OutputTokens: 48}) {
				t.Errorf("progress %+v", p)
			}
		})
	}
}

// maxSet is max where 0 is unset: the bubble's clock is before the host's, so instants are negative.
func maxSet(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return max(a, b)
}

func TestAsManyRequestsAreInFlightAsThereAreWorkers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		inFlight, most := 0, 0
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			inFlight++
			most = max(most, inFlight)
			mu.Unlock()
			stream(says("x"), done).ServeHTTP(w, r)
			mu.Lock()
			inFlight--
			mu.Unlock()
		})
		s := &Schedule{RunID: "r", Prompts: prompts(12), Sinks: sinks(3)}
		if err := s.Run(t.Context(), client(t, h, nil)); err != nil || most != 3 {
			t.Errorf("%d in flight, %v", most, err)
		}
	})
}

// Rule 9: after a request given up before its end the GPU works on a little.

func TestGapFollowsWhatWasGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		h             http.Handler
		least, utmost time.Duration
	}{
		"idle":    {&script{status: 200, wait: time.Hour}, 500 * time.Millisecond, 500 * time.Millisecond},
		"broken":  {stream(says("x")), 500 * time.Millisecond, 500 * time.Millisecond},
		"success": {stream(says("x"), done), 10 * time.Millisecond, 30 * time.Millisecond},
		"refused": {refuses(500, ""), 10 * time.Millisecond, 30 * time.Millisecond},
	} {
		bubble(t, func(t *testing.T) {
			s := &Schedule{RunID: "r", Prompts: prompts(2), Sinks: sinks(1), Gap: 20 * time.Millisecond}
			if err := s.Run(t.Context(), client(t, inTurn(c.h, stream(says("x"), done)), nil)); err != nil {
				t.Fatal(err)
			}
			spans := s.Sinks[0].(*ledger).spans()
			if got := time.Duration(spans[1].StartNS - spans[0].EndNS); got < c.least || got > c.utmost {
				t.Errorf("%s: the next request began %v later, want %v to %v", name, got, c.least, c.utmost)
			}
		})
	}
}

func TestFullSinkDelaysButLosesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &ledger{full: 100}
		s := &Schedule{RunID: "r", Prompts: prompts(3), Sinks: []EventSink{l}}
		if err := s.Run(t.Context(), client(t, stream(says("x"), done), nil)); err != nil {
			t.Fatal(err)
		}
		if spans := l.spans(); len(spans) != 3 || spans[0].StartNS < l.atNS[0] {
			t.Errorf("%d spans", len(l.spans()))
		}
	})
}

func TestSinkThatTakesNothingIsAnErrorAfterTheRunIsStopped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s := &Schedule{RunID: "r", Prompts: prompts(3), Sinks: []EventSink{&ledger{full: -1}}}
		err := s.Run(ctx, client(t, stream(says("x"), done), nil))
		if err == nil || !strings.Contains(err.Error(), "span") {
			t.Errorf("error %v", err)
		}
	})
}

func TestInterruptedRunHandsOverItsSpans(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(firstEvent+eventGap/2, cancel)
		s := &Schedule{RunID: "r", Prompts: prompts(10), Sinks: sinks(2)}
		err := s.Run(ctx, client(t, stream(says("x"), says("y"), done), nil))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		for _, sink := range s.Sinks {
			l := sink.(*ledger)
			if len(l.events) != 3 || l.events[2].Span.ErrorType != ErrTypeInterrupted || !l.events[2].Span.FirstTokenNS.OK {
				t.Errorf("events %+v", l.events)
			}
		}
		if p := s.Progress(); p.Done != 2 || p.Failed != 2 || p.InFlight != 0 {
			t.Errorf("progress %+v", p)
		}
	})
}

func TestRunStopsWhereThereIsNoServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		refused := func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("connection refused")
		}
		s := &Schedule{RunID: "r", Prompts: prompts(100), Sinks: sinks(2)}
		err := s.Run(t.Context(), client(t, http.NotFoundHandler(), func(c *Config) { c.Dial = refused }))
		var stop *StopError
		if !errors.As(err, &stop) || stop.ErrorType != ErrTypeConnect {
			t.Fatalf("error %v", err)
		}
		for _, words := range []string{"http://server:8000/v1", "connection refused", "start the server"} {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%q does not mention %q", err, words)
			}
		}
		if p := s.Progress(); p.Done > 2 {
			t.Errorf("went on: %+v", p)
		}
	})
}

func TestRunStopsOnAWrongKeyOrModel(t *testing.T) {
	for name, words := range map[string]string{"llama-401": "check the key", "ollama-404": "model's name"} {
		bubble(t, func(t *testing.T) {
			s := &Schedule{RunID: "r", Prompts: prompts(100), Sinks: sinks(1)}
			err := s.Run(t.Context(), client(t, transcript(t, name), nil))
			var stop *StopError
			if !errors.As(err, &stop) || !strings.Contains(err.Error(), words) {
				t.Errorf("%s: error %v", name, err)
			}
			if got := len(s.Sinks[0].(*ledger).spans()); got != 1 {
				t.Errorf("%s: %d spans", name, got)
			}
		})
	}
}

// llama.cpp announces keep-alive and closes all the same: a request on the old connection would be lost.
func TestEveryRequestHasAConnectionOfItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dials := 0
		s := &Schedule{RunID: "r", Prompts: prompts(5), Sinks: sinks(1)}
		err := s.Run(t.Context(), client(t, inTurn(stream(says("x"), done), refuses(500, "oops"), stream(says("x"), done)), func(cfg *Config) {
			dial := cfg.Dial
			cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				dials++
				return dial(ctx, network, address)
			}
		}))
		if err != nil || dials != 5 {
			t.Errorf("%d connections, %v", dials, err)
		}
	})
}

func TestScheduleWithoutSinksIsRefused(t *testing.T) {
	if err := new(Schedule).Run(t.Context(), nil); err == nil {
		t.Error("no error")
	}
}

func TestProgressMayBeReadAtAnyTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-release
			stream(says("x"), usageOf(1, 1), done).ServeHTTP(w, r)
		})
		s := &Schedule{RunID: "r", Prompts: prompts(3), Sinks: sinks(3)}
		ended := make(chan error)
		c := client(t, h, nil)
		go func() { ended <- s.Run(t.Context(), c) }()
		synctest.Wait()
		if p := s.Progress(); p != (Progress{Total: 3, InFlight: 3}) {
			t.Errorf("progress %+v", p)
		}
		close(release)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAScheduleThatIsRunAgainGoesOnCounting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &Schedule{RunID: "r", Warmup: prompts(2), Sinks: sinks(1)}
		c := client(t, stream(roleOnly, says("x"), usageOf(5, 2), done), nil)
		for _, batch := range [][]*schema.Prompt{nil, prompts(3), prompts(4)} {
			s.Prompts = batch
			if err := s.Run(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			s.Warmup = nil
		}
		ids := map[string]bool{}
		for _, span := range s.Sinks[0].(*ledger).spans() {
			ids[span.RequestID] = true
		}
		if p := s.Progress(); len(ids) != 9 || p.Total != 9 || p.Done != 9 {
			t.Errorf("%d request ids, progress %+v; want 9", len(ids), p)
		}
	})
}
