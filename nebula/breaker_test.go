package nebula

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// outage is a server that answers once, then does as told for a while, then answers again.
type outage struct {
	while http.Handler // nil: connections are refused
	lasts time.Duration

	mu    sync.Mutex
	began time.Time
}

func (o *outage) on() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.began.IsZero() && time.Since(o.began) < o.lasts
}

func (o *outage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if o.on() {
		o.while.ServeHTTP(w, r)
		return
	}
	stream(says("x"), usageOf(1, 1), done).ServeHTTP(w, r)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.began.IsZero() {
		o.began = time.Now()
	}
}

// during runs a schedule of six prompts through the outage.
func (o *outage) during(t *testing.T, workers int) (s *Schedule, spans []*schema.Span, err error) {
	t.Helper()
	c := client(t, o, func(cfg *Config) {
		dial := cfg.Dial
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if o.while == nil && o.on() {
				return nil, errors.New("connection refused")
			}
			return dial(ctx, network, address)
		}
	})
	s = &Schedule{RunID: "r", Warmup: prompts(1), Prompts: prompts(6), Sinks: sinks(workers)}
	err = s.Run(t.Context(), c)
	for _, sink := range s.Sinks {
		spans = append(spans, sink.(*ledger).spans()...)
	}
	return s, spans, err
}

const forGood = 1000 * time.Hour

func TestRunWaitsForAServerThatIsAway(t *testing.T) {
	for name, c := range map[string]struct {
		while http.Handler
		lasts time.Duration
		most  int // rows of a prompt
	}{
		"unreachable for two minutes":       {nil, 2 * time.Minute, 22},
		"unreachable for nearly patience":   {nil, DefaultPatience - 20*time.Second, 40},
		"behind a gateway that says so":     {refuses(502, "<html>"), 2 * time.Minute, 22},
		"loading its model":                 {refuses(503, `{"error":{"message":"Loading model"}}`), 2 * time.Minute, 22},
		"overloaded inside the stream":      {stream(`data: {"error":{"message":"Rate limit reached","code":429}}`, done), time.Minute, 22},
		"asking for more time than we have": {refuses(429, "{}", "Retry-After", "280"), 9 * time.Minute, 2},
	} {
		for _, workers := range []int{1, 2} {
			bubble(t, func(t *testing.T) {
				s, spans, err := (&outage{while: c.while, lasts: c.lasts}).during(t, workers)
				if p := s.Progress(); err != nil || p.Done != 7 || p.Failed != 0 || p.Waiting != 0 {
					t.Errorf("%s: %v, %+v", name, err, p)
				}
				ids := map[string]bool{}
				for _, s := range spans {
					ids[s.RequestID] = true
				}
				if len(ids) != len(spans) || len(spans) > 7+workers*c.most {
					t.Errorf("%s: %d rows of %d ids by %d workers", name, len(spans), len(ids), workers)
				}
			})
		}
	}
}

func TestRunStopsWhenItsServerIsGone(t *testing.T) {
	for name, c := range map[string]struct {
		while             http.Handler
		kind              string
		least, most, rows int // seconds from and to; failed rows
		mend              string
	}{
		"unreachable":     {nil, ErrTypeConnect, 300, 320, 40, "start the server"},
		"gateway":         {refuses(502, "<html>"), ErrTypeOverloaded, 300, 320, 40, "has room"},
		"slow to refuse":  {refuses(503, "{}", "Retry-After", "120"), ErrTypeOverloaded, 480, 481, 5, "has room"},
		"engine dead":     {refuses(500, "{}"), "http_500", 0, 10, 5, "own log"},
		"key expired":     {refuses(401, "{}"), ErrTypeAuth, 0, 10, 5, "check the key"},
		"hanging":         {&script{status: 200, wait: time.Hour}, ErrTypeIdle, 5 * 120, 5*120 + 10, 5, "hangs"},
		"crashing":        {stream(says("x")), ErrTypeStreamBroken, 0, 10, 5, "own log"},
		"a page for all":  {&script{status: 200, header: http.Header{"Content-Type": {"text/html"}}, steps: []step{{0, "<html>"}}}, ErrTypeBadResponse, 0, 10, 5, "own log"},
		"moved elsewhere": {refuses(308, "", "Location", "https://elsewhere/v1"), "http_308", 0, 10, 5, "own log"},
	} {
		bubble(t, func(t *testing.T) {
			o := &outage{while: c.while, lasts: forGood}
			began := time.Now()
			_, spans, err := o.during(t, 1)
			took := int(time.Since(began).Seconds())
			stop, ok := errors.AsType[*StopError](err)
			if !ok || stop.ErrorType != c.kind || !strings.Contains(err.Error(), c.mend) {
				t.Fatalf("%s: %v", name, err)
			}
			failed := 0
			for _, s := range spans {
				if s.ErrorType != "" {
					failed++
				}
			}
			if took < c.least || took > c.most || failed > c.rows || failed != stop.Failures {
				t.Errorf("%s: stopped after %d s and %d failed rows: %v", name, took, failed, err)
			}
		})
	}
}

func TestPromptsOwnFaultsNeverStopARun(t *testing.T) {
	for _, h := range []http.Handler{transcript(t, "llama-toolong"), refuses(400, `{"error":"no"}`), refuses(422, "{}"), refuses(413, "{}")} {
		bubble(t, func(t *testing.T) {
			s := &Schedule{RunID: "r", Prompts: prompts(20), Sinks: sinks(1)}
			if err := s.Run(t.Context(), client(t, h, nil)); err != nil || s.Progress().Failed != 20 {
				t.Errorf("%v, %+v", err, s.Progress())
			}
		})
	}
}

// A server that refuses one prompt alone has that prompt asked again for as long as it would be waited for, and no longer.
func TestAPromptThatIsAlwaysRefusedFailsWhileOthersAreAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "too dear") {
				refuses(429, "{}").ServeHTTP(w, r)
				return
			}
			stream(says("x"), done).ServeHTTP(w, r)
		})
		all := prompts(300)
		all[1].Text = "too dear"
		s := &Schedule{RunID: "r", Prompts: all, Sinks: sinks(2), Gap: 4 * time.Second}
		if err := s.Run(t.Context(), client(t, h, nil)); err != nil {
			t.Fatal(err)
		}
		if p := s.Progress(); p.Failed != 1 || p.Done != 300 || p.Retries > 45 {
			t.Errorf("%+v", p)
		}
	})
}

func TestWaitingForAServerIsShownAndCanBeStopped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var seen []time.Duration
		s := &Schedule{RunID: "r", Warmup: prompts(1), Prompts: prompts(3), Sinks: sinks(1)}
		c := client(t, inTurn(stream(says("x"), done), refuses(503, "{}")), nil)
		watch := time.AfterFunc(30*time.Second, func() {
			seen = append(seen, s.Progress().Waiting)
			cancel()
		})
		defer watch.Stop()
		err := s.Run(ctx, c)
		if !errors.Is(err, context.Canceled) || len(seen) != 1 || seen[0] < 25*time.Second || seen[0] > 30*time.Second {
			t.Errorf("%v, waiting %v", err, seen)
		}
		spans := s.Sinks[0].(*ledger).spans()
		if slices.ContainsFunc(spans[1:], func(s *schema.Span) bool { return s.ErrorType != ErrTypeOverloaded }) {
			t.Errorf("%d spans", len(spans))
		}
	})
}
