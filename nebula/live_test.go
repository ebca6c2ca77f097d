package nebula

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/internal/llamacpp"
	"github.com/llm-tracer/tracer/schema"
)

// live starts a real llama.cpp server and asks it what it is.
func live(t *testing.T, key Key, args ...string) (Config, ServerInfo) {
	t.Helper()
	server, err := llamacpp.Start(t.Context(), args...)
	if errors.Is(err, llamacpp.ErrNoServer) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	cfg := Config{Endpoint: server.BaseURL, Model: llamacpp.Model, Key: key}
	info, err := Detect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Profile = info.Profile
	return cfg, info
}

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRealServerIsRecognisedTimedAndCounted(t *testing.T) {
	cfg, info := live(t, Key{})
	m, found := info.Find(llamacpp.Model)
	if info.Profile.Name != "llamacpp" || info.Version == "" || !found || m.MaxContext != schema.Some[int32](4096) {
		t.Errorf("detected %+v", info)
	}
	c := newClient(t, cfg)
	text := strings.Repeat("the power of a graphics board ", 40)
	n, err := c.CountTokens(t.Context(), text)
	if err != nil || n < 100 {
		t.Fatalf("%d tokens, %v", n, err)
	}
	p := &schema.Prompt{ID: "p", Text: text, TextTokens: n, MaxTokens: 40, ExactLength: true}
	for range 2 { // the second would come from the cache
		s := c.Send(t.Context(), p, Call{RequestID: "live-1"}).Span
		succeeded(t, s)
		if len(s.Invalid) > 0 || s.OutputTokens != schema.Some[int32](40) || s.InputTokens.V < n || s.CachedInputTokens != schema.Some[int32](0) {
			t.Errorf("in %v (cached %v) out %v, reasons %v", s.InputTokens, s.CachedInputTokens, s.OutputTokens, s.Invalid)
		}
		if s.TokenCountSource != "usage" || s.FinishReason != "length" || s.Model != llamacpp.Model || !s.ITLP99S.OK {
			t.Errorf("%+v", s)
		}
		order := []int64{s.StartNS, s.PrefillStartNS.V, s.FirstTokenNS.V, s.LastTokenNS.V, s.EndNS}
		if !slices.IsSorted(order) || s.ServerPrefillS.V <= 0 || s.ServerDecodeS.V <= 0 {
			t.Errorf("instants %v, prefill %v s, decode %v s", order, s.ServerPrefillS.V, s.ServerDecodeS.V)
		}
	}
}

func TestRealPrefixCacheIsSeenWhereItIsNotDefeated(t *testing.T) {
	cfg, _ := live(t, Key{})
	cfg.Profile = Generic()
	p := &schema.Prompt{ID: "p", Text: strings.Repeat("the power of a graphics board ", 40), MaxTokens: 4}
	c := newClient(t, cfg)
	first, second := c.Send(t.Context(), p, Call{}).Span, c.Send(t.Context(), p, Call{}).Span
	if len(first.Invalid) > 0 || !slices.Contains(second.Invalid, schema.ReasonPrefixCacheHit) {
		t.Errorf("reasons %v, then %v", first.Invalid, second.Invalid)
	}
	cfg.Reopen = numbered() // now each begins with its own words
	c = newClient(t, cfg)
	for range 2 {
		s := c.Send(t.Context(), p, Call{}).Span
		if s.CachedInputTokens.V > 16 {
			t.Errorf("%d of %d tokens from the cache", s.CachedInputTokens.V, s.InputTokens.V)
		}
	}
}

func TestRealRefusals(t *testing.T) {
	cfg, _ := live(t, NewKey("right"), "--api-key", "right")
	long := &schema.Prompt{ID: "long", Text: strings.Repeat("the power of a graphics board ", 1000), MaxTokens: 4}
	if s := newClient(t, cfg).Send(t.Context(), long, Call{}).Span; s.ErrorType != ErrTypeContextLength {
		t.Errorf("too long: %s %s", s.ErrorType, s.ErrorMessage)
	}
	cfg.Key = NewKey("wrong")
	if s := newClient(t, cfg).Send(t.Context(), hello, Call{}).Span; s.ErrorType != ErrTypeAuth {
		t.Errorf("wrong key: %s %s", s.ErrorType, s.ErrorMessage)
	}
}
