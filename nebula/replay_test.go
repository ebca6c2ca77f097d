package nebula

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// The tests talk to a real net/http server over an in-memory network inside a synctest bubble: delays cost no time, and
// instants differ by exactly what the server waited.

const (
	firstEvent = 50 * time.Millisecond // after the request, of transcripts that do not say
	eventGap   = 10 * time.Millisecond
)

// step is a piece of a response and when it is sent, counted from the request.
type step struct {
	at   time.Duration
	text string
}

// script is a whole response.
type script struct {
	status int
	header http.Header
	wait   time.Duration // before the header
	steps  []step
	broken time.Duration // when the connection breaks; 0 for a proper end
	end    time.Duration // when the stream ends, if later than the last step
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	_, _ = io.Copy(io.Discard, r.Body)
	until := func(at time.Duration) {
		select {
		case <-time.After(time.Until(began.Add(at))):
		case <-r.Context().Done(): // the client hung up
		}
	}
	until(s.wait)
	maps.Copy(w.Header(), s.header)
	w.WriteHeader(s.status)
	flush(w)
	for _, step := range s.steps {
		until(step.at)
		_, _ = io.WriteString(w, step.text)
		flush(w)
	}
	until(max(s.end, s.broken))
	if s.broken > 0 {
		panic(http.ErrAbortHandler)
	}
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// stream is a response of events, eventGap apart.
func stream(events ...string) *script {
	s := &script{status: http.StatusOK, header: http.Header{"Content-Type": {"text/event-stream"}}}
	for i, e := range events {
		s.steps = append(s.steps, step{firstEvent + time.Duration(i)*eventGap, e + "\n\n"})
	}
	return s
}

// says is an event with some content.
func says(content string) string {
	return fmt.Sprintf(`data: {"model":"m","choices":[{"index":0,"delta":{"content":%q}}]}`, content)
}

// usageOf is an event that counts tokens.
func usageOf(prompt, completion int) string {
	return fmt.Sprintf(`data: {"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}`, prompt, completion)
}

const (
	roleOnly = `data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}`
	finished = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	done     = `data: [DONE]`
)

// refuses is a response with an error status.
func refuses(status int, body string, header ...string) *script {
	s := &script{status: status, header: http.Header{"Content-Type": {"application/json"}}, steps: []step{{0, body}}}
	for i := 0; i+1 < len(header); i += 2 {
		s.header.Set(header[i], header[i+1])
	}
	return s
}

// transcript loads a recorded response.
func transcript(t testing.TB, name string) *script {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "llm", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".timed") {
		return timedTranscript(t, string(text))
	}
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)), nil)
	if err != nil && response == nil {
		t.Fatalf("reading the head of %s: %v", name, err)
	}
	_, body, _ := strings.Cut(string(text), "\r\n\r\n")
	s := &script{status: response.StatusCode, header: response.Header}
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Date"} {
		s.header.Del(name)
	}
	at := firstEvent
	for _, event := range strings.SplitAfter(body, "\n\n") {
		s.steps = append(s.steps, step{at, event})
		at += eventGap
	}
	return s
}

func timedTranscript(t testing.TB, text string) *script {
	t.Helper()
	s := &script{status: http.StatusOK, header: http.Header{"Content-Type": {"text/event-stream"}}}
	for line := range strings.Lines(text) {
		stamp, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		ms, err := strconv.ParseFloat(stamp, 64)
		if err != nil {
			t.Fatalf("line %q has no time", line)
		}
		at := millis(ms)
		switch {
		case strings.HasPrefix(rest, "HTTP 200"):
			s.wait = at
		case rest == "EOF":
			s.end = at
		case strings.HasPrefix(rest, "BROKEN"):
			s.broken = at
		default:
			s.steps = append(s.steps, step{at, rest + "\n\n"})
		}
	}
	return s
}

func millis(ms float64) time.Duration { return time.Duration(ms*1000+0.5) * time.Microsecond }

// network is an in-memory network with one server on it, whatever the address.
type network struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error { n.once.Do(func() { close(n.closed) }); return nil }

func (n *network) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case n.conns <- far:
		return near, nil
	case <-n.closed:
		return nil, fmt.Errorf("dial: connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve starts a server for the rest of the bubble and returns how to reach it.
func serve(t *testing.T, h http.Handler) Dial {
	t.Helper()
	n := &network{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: h}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = server.Serve(n)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-stopped
	})
	return n.dial
}

// bubble runs a test in fake time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// client connects to a server made of h; adjust may be nil.
func client(t *testing.T, h http.Handler, adjust func(*Config)) *Client {
	t.Helper()
	cfg := Config{
		Endpoint: "http://server:8000/v1", Profile: Generic(), Model: "m", Dial: serve(t, h),
	}
	if adjust != nil {
		adjust(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var hello = &schema.Prompt{ID: "p1", Workload: schema.WorkloadDecode, Text: "Say hello.", TextTokens: 3, MaxTokens: 8}

// send makes one attempt at a prompt.
func send(t *testing.T, h http.Handler, p *schema.Prompt, adjust func(*Config)) *Reply {
	t.Helper()
	return client(t, h, adjust).Send(t.Context(), p, Call{RequestID: "run-1", Attempt: 1, Concurrency: 1})
}

// since is an instant of a span, counted from its start.
func since(t *testing.T, s *schema.Span, at schema.Opt[int64]) time.Duration {
	t.Helper()
	if !at.OK {
		t.Fatalf("an instant is absent: %+v", s)
	}
	return time.Duration(at.V - s.StartNS)
}

// succeeded stops the test unless the span is a success.
func succeeded(t *testing.T, s *schema.Span) {
	t.Helper()
	if s.ErrorType != "" {
		t.Fatalf("failed: %s: %s", s.ErrorType, s.ErrorMessage)
	}
}

// inTurn answers the first request with the first handler, and so on; the last one stays.
func inTurn(handlers ...http.Handler) http.Handler {
	var mu sync.Mutex
	next := 0
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handlers[min(next, len(handlers)-1)]
		next++
		mu.Unlock()
		h.ServeHTTP(w, r)
	})
}
