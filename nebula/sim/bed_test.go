package sim

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/internal/tokens"
)

// TestMain builds the vocabulary first: it must not be built inside a bubble of fake time.
func TestMain(m *testing.M) {
	tokens.Count("")
	os.Exit(m.Run())
}

// bed is a server of Llama-3-8B on an A10 and a client, joined by pipes in fake time.
type bed struct {
	*testing.T
	server *Server
	client *http.Client
	url    string
	pipes  *pipes
	load   *recorder
	truth  string
}

// inFakeTime runs a test on a bed of its own.
func inFakeTime(t *testing.T, test func(b *bed)) {
	t.Helper()
	truth := filepath.Join(t.TempDir(), "_tracer", "truth", "run.jsonl")
	synctest.Test(t, func(t *testing.T) {
		b := &bed{T: t, load: &recorder{}, truth: truth}
		var err error
		b.server, err = New(Config{
			Board: board(t, "A10"), Model: model(t, catalog.DefaultModel), Loads: []Load{b.load}, TruthPath: truth,
		})
		if err != nil {
			t.Fatal(err)
		}
		b.pipes = newPipes()
		b.url = b.server.StartOn(b.pipes)
		b.client = &http.Client{Transport: &http.Transport{DialContext: b.pipes.dial}}
		defer func() {
			b.client.CloseIdleConnections()
			if err := b.server.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		}()
		test(b)
	})
}

func board(t testing.TB, name string) catalog.Board {
	t.Helper()
	b, err := catalog.BoardByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func model(t testing.TB, name string) catalog.Model {
	t.Helper()
	m, err := catalog.ModelByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// text has exactly n tokens.
func text(n int) string { return strings.Repeat(" river", n) }

// body is a streamed chat request with an exact length.
func body(promptTokens, answerTokens int) map[string]any {
	return map[string]any{
		"model":          catalog.DefaultModel,
		"messages":       []map[string]string{{"role": "user", "content": text(promptTokens)}},
		"stream":         true,
		"stream_options": map[string]bool{"include_usage": true},
		"max_tokens":     answerTokens,
		"ignore_eos":     true,
	}
}

// got is an answer as a client saw it.
type got struct {
	status  int
	raw     string // of a whole body
	replies []reply
	arrived []int64 // of each reply
	text    string
	tokens  int // chunks with text
	finish  string
	usage   *usage
	timings *timings
	done    bool // [DONE] was seen
	id      string

	startNS, firstNS, endNS int64
}

func (g *got) latency() time.Duration { return time.Duration(g.endNS - g.startNS) }
func (g *got) toFirst() time.Duration { return time.Duration(g.firstNS - g.startNS) }

// ask posts a body and reads the whole answer.
func (b *bed) ask(body any) *got { return b.askAs("", "/v1/chat/completions", body) }

func (b *bed) askAs(requestID, path string, body any) *got {
	b.Helper()
	g, err := b.post(b.Context(), requestID, path, body)
	if err != nil {
		b.Fatal(err)
	}
	return g
}

func (b *bed) post(ctx context.Context, requestID, path string, body any) (*got, error) {
	encoded, isText := body.(string)
	if !isText {
		j, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		encoded = string(j)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+path, strings.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	if requestID != "" {
		r.Header.Set("X-Request-Id", requestID)
	}
	g := &got{startNS: clock.Now()}
	resp, err := b.client.Do(r)
	if err != nil {
		return g, err
	}
	defer resp.Body.Close()
	g.status = resp.StatusCode
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		err = g.readStream(resp.Body)
	} else {
		var raw []byte
		raw, err = io.ReadAll(resp.Body)
		g.raw = string(raw)
	}
	g.endNS = clock.Now()
	return g, err
}

func (g *got) readStream(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		event, isData := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !isData:
			continue
		case event == "[DONE]":
			g.done = true
			continue
		}
		var c reply
		if err := json.Unmarshal([]byte(event), &c); err != nil {
			return fmt.Errorf("event %q: %w", event, err)
		}
		now := clock.Now()
		g.replies, g.arrived, g.id = append(g.replies, c), append(g.arrived, now), cmp.Or(c.ID, g.id)
		if c.Usage != nil {
			g.usage = c.Usage
		}
		if c.Timings != nil {
			g.timings = c.Timings
		}
		for _, only := range c.Choices {
			if piece := only.piece(); piece != "" {
				if g.tokens == 0 {
					g.firstNS = now
				}
				g.tokens++
				g.text += piece
			}
			if only.FinishReason != nil {
				g.finish = *only.FinishReason
			}
		}
	}
	return lines.Err()
}

func (c choice) piece() string {
	switch {
	case c.Delta != nil && c.Delta.Content != nil:
		return *c.Delta.Content
	case c.Text != nil:
		return *c.Text
	}
	return ""
}

// truths reads the truth file.
func (b *bed) truths() map[string]Truth {
	b.Helper()
	raw, err := os.ReadFile(b.truth)
	if err != nil {
		b.Fatal(err)
	}
	all := map[string]Truth{}
	for line := range bytes.Lines(raw) {
		var t Truth
		if err := json.Unmarshal(line, &t); err != nil {
			b.Fatalf("truth line %q: %v", line, err)
		}
		if _, twice := all[t.RequestID]; twice {
			b.Errorf("two truths of %s", t.RequestID)
		}
		all[t.RequestID] = t
	}
	return all
}

// recorder is a load that remembers what it was told.
type recorder struct {
	mu     sync.Mutex
	levels []setLevel
	used   []int64
}

type setLevel struct {
	atNS int64
	Level
}

func (r *recorder) Set(atNS int64, powerW, gpuBusy, memBusy float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.levels = append(r.levels, setLevel{atNS, Level{powerW, gpuBusy, memBusy}})
}

func (r *recorder) SetMemoryUsed(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used = append(r.used, bytes)
}

// at is the level at an instant.
func (r *recorder) at(ns int64) Level {
	r.mu.Lock()
	defer r.mu.Unlock()
	var l Level
	for _, s := range r.levels {
		if s.atNS > ns {
			break
		}
		l = s.Level
	}
	return l
}

// pipes is a listener whose connections are pipes in memory: in a bubble of fake time nothing may wait for the kernel.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.closed:
		return nil, errors.New("listener closed")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "sim.invalid" }
