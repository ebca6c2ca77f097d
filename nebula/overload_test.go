package nebula

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// Rule 8: how servers say that they are overloaded, and what else they refuse.

func TestRefusalsAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		h     http.Handler
		want  string
		retry Retry
	}{
		"llama.cpp bad key":        {transcript(t, "llama-401"), ErrTypeAuth, RetryNever},
		"llama.cpp wrong path":     {transcript(t, "llama-404"), "http_404", RetryNever},
		"llama.cpp bad JSON":       {transcript(t, "llama-badjson"), "http_400", RetryNever},
		"llama.cpp too long":       {transcript(t, "llama-toolong"), ErrTypeContextLength, RetryNever},
		"llama.cpp loading":        {refuses(503, `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`), ErrTypeOverloaded, RetryLater},
		"Ollama no such model":     {transcript(t, "ollama-404"), "http_404", RetryNever},
		"Ollama busy":              {refuses(503, `{"error":"server busy, please try again.  maximum pending requests exceeded"}`), ErrTypeOverloaded, RetryLater},
		"TGI overloaded":           {refuses(429, `{"error":"Model is overloaded","error_type":"overloaded"}`), ErrTypeOverloaded, RetryLater},
		"TGI too long":             {refuses(422, "{\"error\":\"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096\",\"error_type\":\"validation\"}"), ErrTypeContextLength, RetryNever},
		"LiteLLM":                  {refuses(429, `{"error":{"message":"No deployments available for selected model, Try again in 5 seconds.","code":"429"}}`), ErrTypeOverloaded, RetryLater},
		"Nebula cooldown":          {refuses(400, `{"detail":"Model is in cooldown"}`), ErrTypeOverloaded, RetryLater},
		"Nebula no deployments":    {refuses(400, `{"detail":"No deployments available for selected model"}`), ErrTypeOverloaded, RetryLater},
		"Nebula try again":         {refuses(400, `{"detail":"Please try again later"}`), ErrTypeOverloaded, RetryLater},
		"Nebula bad key":           {refuses(401, `{"detail":"Your session has expired or the token is invalid. Please sign in again."}`), ErrTypeAuth, RetryNever},
		"vLLM too long":            {refuses(400, `{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 9000 tokens.","type":"BadRequestError","code":400}`), ErrTypeContextLength, RetryNever},
		"SGLang too long":          {refuses(400, `{"object":"error","message":"The input (12000 tokens) is longer than the model's context length (8192 tokens).","code":400}`), ErrTypeContextLength, RetryNever},
		"gateway":                  {refuses(502, `<html>Bad Gateway</html>`), ErrTypeOverloaded, RetryLater},
		"slow behind a gateway":    {refuses(504, ``), ErrTypeOverloaded, RetryLater},
		"says nothing":             {refuses(500, ``), "http_500", RetryNever},
		"redirect":                 {refuses(308, ``, "Location", "https://elsewhere/v1/chat/completions"), "http_308", RetryNever},
		"gateway inside a stream":  {stream(`data: {"error":{"message":"upstream","code":502}}`, done), ErrTypeStreamError, RetryLater},
		"overload inside a stream": {stream(`data: {"error":{"message":"Rate limit reached","code":429}}`, done), ErrTypeStreamError, RetryLater},
	} {
		bubble(t, func(t *testing.T) {
			r := send(t, c.h, hello, nil)
			if s := r.Span; s.ErrorType != c.want || r.Retry != c.retry || s.ErrorMessage == "" {
				t.Errorf("%s: %q (retry %v), want %q (%v): %s", name, s.ErrorType, r.Retry, c.want, c.retry, s.ErrorMessage)
			}
			if s := r.Span; !slices.Equal(s.Invalid, []string{schema.ReasonFailed}) || s.OutputTokens.OK || s.FirstTokenNS.OK {
				t.Errorf("%s: %+v", name, s)
			}
		})
	}
}

func TestEveryAttemptIsASpan(t *testing.T) {
	bubble(t, func(t *testing.T) {
		no := refuses(429, `{"error":"overloaded"}`)
		s := &Schedule{RunID: "run", Prompts: []*schema.Prompt{hello}, Sinks: []EventSink{&ledger{}}}
		if err := s.Run(t.Context(), client(t, inTurn(no, no, stream(says("x"), usageOf(9, 2), done)), nil)); err != nil {
			t.Fatal(err)
		}
		spans := s.Sinks[0].(*ledger).spans()
		if len(spans) != 3 {
			t.Fatalf("%d spans", len(spans))
		}
		for i, want := range []struct{ id, errorType string }{
			{"run-000001", ErrTypeOverloaded}, {"run-000001.2", ErrTypeOverloaded}, {"run-000001.3", ""},
		} {
			if got := spans[i]; got.RequestID != want.id || got.ErrorType != want.errorType || got.Attempt != int32(i+1) {
				t.Errorf("attempt %d: %s %q, numbered %d", i+1, got.RequestID, got.ErrorType, got.Attempt)
			}
		}
		if p := s.Progress(); p != (Progress{Total: 1, Done: 1, Retries: 2, InputTokens: 9, OutputTokens: 2}) {
			t.Errorf("progress %+v", p)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for name, c := range map[string]struct {
		h        *script
		from, to time.Duration
	}{
		"seconds":           {refuses(429, `{}`, "Retry-After", "7"), 7 * time.Second, 7 * time.Second},
		"date":              {refuses(503, `{}`, "Retry-After", "Sat, 01 Jan 2000 00:00:30 GMT"), 29 * time.Second, 31 * time.Second},
		"words":             {refuses(400, `{"detail":"No deployments available. Try again in 60 seconds."}`), time.Minute, time.Minute},
		"nothing":           {refuses(429, `{}`), 250 * time.Millisecond, 750 * time.Millisecond},
		"nonsense":          {refuses(429, `{}`, "Retry-After", "soon"), 250 * time.Millisecond, 750 * time.Millisecond},
		"longer than bound": {refuses(429, `{}`, "Retry-After", "86400"), 5 * time.Minute, 5 * time.Minute},
	} {
		bubble(t, func(t *testing.T) {
			// The bubble's clock begins at midnight of 1 January 2000, UTC.
			clnt := client(t, inTurn(c.h, stream(says("x"), done)), nil)
			began := time.Now()
			succeeded(t, clnt.Ask(t.Context(), hello, Call{}, nil).Span)
			if waited := time.Since(began) - firstEvent - eventGap; waited < c.from || waited > c.to {
				t.Errorf("%s: waited %v, want %v to %v", name, waited, c.from, c.to)
			}
		})
	}
}

func TestRetriesAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := &overhear{h: refuses(503, `{"error":"busy"}`)}
		r := client(t, o, func(c *Config) { c.Tries = 3 }).Ask(t.Context(), hello, Call{}, nil)
		if len(o.bodies) != 3 || r.Span.Attempt != 3 || r.Span.ErrorType != ErrTypeOverloaded {
			t.Errorf("%d requests, the last is attempt %d: %s", len(o.bodies), r.Span.Attempt, r.Span.ErrorType)
		}
	})
}

func TestServersWordsAreBoundedAndPrintable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		words := "\x1b[31mred\u202e\x00 " + strings.Repeat("é", 1000)
		s := send(t, refuses(400, fmt.Sprintf(`{"error":%q}`, words)), hello, nil).Span
		if len(s.ErrorMessage) > maxWords || strings.ContainsAny(s.ErrorMessage, "\x1b\x00\u202e\n") || !strings.HasSuffix(s.ErrorMessage, "…") {
			t.Errorf("%d bytes: %q", len(s.ErrorMessage), s.ErrorMessage)
		}
	})
}

// Nebula itself.

func TestNebulaIsToldItsLimitsTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := &overhear{h: stream(says("x"), usageOf(9, 1), done)}
		s := send(t, o, &schema.Prompt{ID: "p", Text: "x", MaxTokens: 700}, func(c *Config) {
			c.Endpoint, c.Profile = DefaultEndpoint+"/", profileNamed("openwebui")
			c.Endpoint = strings.Replace(c.Endpoint, "https", "http", 1)
			c.Model, c.ContextTokens, c.Seed = "SURF.Qwen3.5 122B A10B NVFP4", 12288, schema.Some[int64](42)
		}).Span
		succeeded(t, s)
		body := o.bodies[0]
		options, _ := body["options"].(map[string]any)
		if body["max_tokens"] != 700.0 || options["num_predict"] != 700.0 || options["num_ctx"] != 12288.0 ||
			options["temperature"] != 0.0 || options["seed"] != 42.0 || body["seed"] != 42.0 {
			t.Errorf("body %v", body)
		}
		if body["model"] != "SURF.Qwen3.5 122B A10B NVFP4" || s.LLM != body["model"] || o.paths[0] != "/api/chat/completions" {
			t.Errorf("model %v at %s", body["model"], o.paths[0])
		}
	})
}

func TestContextForFitsAllPrompts(t *testing.T) {
	for _, c := range []struct{ text, answer, want int32 }{
		{10, 10, 2048}, {2000, 10, 3072}, {10_000, 10, 12_288}, {10, 10_000, 11_264}, {1 << 30, 1 << 30, 32_768},
	} {
		if got := ContextFor([]*schema.Prompt{hello, {TextTokens: c.text, MaxTokens: c.answer}}); got != c.want {
			t.Errorf("%d + %d tokens: context %d, want %d", c.text, c.answer, got, c.want)
		}
	}
}
