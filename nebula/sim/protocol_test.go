package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/nebula/corpus"
)

func TestStreamOfAChat(t *testing.T) {
	inFakeTime(t, func(b *bed) {
		g := b.ask(body(20, 5))
		if g.status != http.StatusOK || !g.done || g.finish != "length" {
			t.Errorf("status %d, done %t, finish %q", g.status, g.done, g.finish)
		}
		if len(g.replies) != 8 { // role, five tokens, finish, usage
			t.Fatalf("%d chunks", len(g.replies))
		}
		role := g.replies[0].Choices[0].Delta
		if role.Role != "assistant" || *role.Content != "" {
			t.Errorf("first chunk %+v", role)
		}
		if g.arrived[0] != g.startNS {
			t.Error("the role chunk did not come at once")
		}
		last := g.replies[7]
		if len(last.Choices) != 0 || last.Usage == nil || last.Timings == nil {
			t.Errorf("last chunk %+v", last)
		}
		if want := *newUsage(20, 5); *g.usage != want {
			t.Errorf("usage %+v, want %+v", *g.usage, want)
		}
		if got := tokens.Count(g.text); got != 5 {
			t.Errorf("the text %q has %d tokens", g.text, got)
		}
		timing := NewTiming(board(t, "A10"), model(t, catalog.DefaultModel))
		prefill := timing.Prefill(20).Seconds() * 1e3
		decode := timing.Request(20, 5).Seconds()*1e3 - prefill
		if m := g.timings; m.PromptN != 20 || m.PredictedN != 5 || m.CacheN != 0 ||
			math.Abs(m.PromptMS-prefill) > 1e-3 || math.Abs(m.PredictedMS-decode) > 1e-3 {
			t.Errorf("timings %+v, want %f ms and %f ms", *m, prefill, decode)
		}
	})
}

func TestStreamWithoutUsageEndsWithTimings(t *testing.T) {
	inFakeTime(t, func(b *bed) {
		q := body(20, 2)
		delete(q, "stream_options")
		g := b.ask(q)
		last := g.replies[len(g.replies)-1]
		if g.usage != nil || last.Timings == nil || *last.Choices[0].FinishReason != "length" || !g.done {
			t.Errorf("usage %v, last chunk %+v", g.usage, last)
		}
	})
}

func TestWholeAnswers(t *testing.T) {
	for _, path := range []string{"/v1/chat/completions", "/v1/completions"} {
		inFakeTime(t, func(b *bed) {
			q := body(20, 5)
			q["stream"] = false
			q["prompt"] = text(20)
			g := b.askAs("", path, q)
			var r reply
			if err := json.Unmarshal([]byte(g.raw), &r); err != nil {
				t.Fatalf("%q: %v", g.raw, err)
			}
			var said, object string
			if only := r.Choices[0]; path == "/v1/completions" {
				said, object = *only.Text, "text_completion"
			} else {
				said, object = string(only.Message.Content), "chat.completion"
			}
			if tokens.Count(said) != 5 || *r.Usage != *newUsage(20, 5) || r.Object != object || r.Timings.PromptMS == 0 {
				t.Errorf("%s: %s", path, g.raw)
			}
		})
	}
}

func TestStreamOfACompletion(t *testing.T) {
	inFakeTime(t, func(b *bed) {
		q := body(20, 5)
		delete(q, "messages")
		q["prompt"] = []string{text(7)}
		g := b.askAs("", "/v1/completions", q)
		if g.tokens != 5 || g.usage.PromptTokens != 7 || !g.done || !strings.HasPrefix(g.id, "cmpl-") {
			t.Errorf("%d tokens, usage %+v, done %t, id %s", g.tokens, g.usage, g.done, g.id)
		}
		if first := g.replies[0]; first.Object != "text_completion" || first.Choices[0].piece() == "" {
			t.Errorf("first chunk %+v", first)
		}
	})
}

func TestAnswerLengths(t *testing.T) {
	word := text(12) + ". " + corpus.Instruction
	for _, c := range []struct {
		name   string
		prompt string
		extra  map[string]any
		least  int
		most   int
		finish string
	}{
		{"a word is one token or two", word, map[string]any{"max_tokens": 16}, 1, 2, "stop"},
		{"a word, bounded", word, map[string]any{"max_tokens": 16, "min_tokens": 5}, 5, 5, "stop"},
		{"a word, end ignored", word, map[string]any{"max_tokens": 16, "ignore_eos": true}, 16, 16, "length"},
		{"a story stops at its bound", text(12), map[string]any{"max_tokens": 33}, 33, 33, "length"},
		{"the newer name of the bound", text(12), map[string]any{"max_completion_tokens": 9}, 9, 9, "length"},
		{"exact", text(12), map[string]any{"max_tokens": 21, "min_tokens": 21, "ignore_eos": true}, 21, 21, "length"},
		{"no bound", text(12), nil, ownAccord, ownAccord, "length"},
		{"the context bounds", text(19_990), map[string]any{"max_tokens": 100, "ignore_eos": true}, 10, 10, "length"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(b *bed) {
				q := map[string]any{
					"messages":       []map[string]string{{"role": "system", "content": "Be brief."}, {"role": "user", "content": c.prompt}},
					"stream":         true,
					"stream_options": map[string]bool{"include_usage": true},
				}
				if c.name == "the context bounds" {
					q["messages"] = []map[string]string{{"role": "user", "content": c.prompt}}
				}
				maps.Copy(q, c.extra)
				g := b.ask(q)
				if g.tokens < c.least || g.tokens > c.most || g.finish != c.finish || g.usage.CompletionTokens != g.tokens {
					t.Errorf("%d tokens (usage %+v), finish %q; want %d to %d, %q", g.tokens, g.usage, g.finish, c.least, c.most,
						c.finish)
				}
			})
		})
	}
}

func TestOneWordAnswersVary(t *testing.T) {
	count := map[int]int{}
	for i := range 100 {
		count[oneOrTwo(fmt.Sprint(i))]++
	}
	if len(count) != 2 || count[1] < 20 || count[2] < 20 {
		t.Errorf("lengths %v", count)
	}
}

func TestRefusals(t *testing.T) {
	const chat = "/v1/chat/completions"
	user := func(content string) string { return `{"messages":[{"role":"user","content":` + content + `}]` }
	for _, c := range []struct {
		name, path, body string
		status           int
		want             []string
	}{
		{"bad JSON", chat, `{"messages":`, 400, []string{"invalid_request_error", "reading the request"}},
		{"not an object", chat, `[1]`, 400, []string{"reading the request"}},
		{"no messages", chat, `{}`, 400, []string{"messages is empty"}},
		{"no prompt", "/v1/completions", `{}`, 400, []string{"prompt is missing"}},
		{"an image", chat, user(`[{"type":"image_url","image_url":{"url":"x"}}]`) + `}`, 400, []string{"image_url"}},
		{"a number as text", chat, user(`5`) + `}`, 400, []string{"text must be a string"}},
		{"unknown model", chat, user(`"hi"`) + `,"model":"gpt-9"}`, 404, []string{"model_not_found", "gpt-9", catalog.DefaultModel}},
		{"two answers", chat, user(`"hi"`) + `,"n":2}`, 400, []string{"n is 2"}},
		{"no tokens", chat, user(`"hi"`) + `,"max_tokens":0}`, 400, []string{"max_tokens is 0"}},
		{"more than most", chat, user(`"hi"`) + `,"max_tokens":5,"min_tokens":6}`, 400, []string{"min_tokens is 6"}},
		{
			"too long", chat, user(`"`+text(20_000)+`"`) + `}`, 400,
			[]string{"exceed_context_size_error", `"n_prompt_tokens":20000`, `"n_ctx":20000`},
		},
		{"too large", chat, user(`"`+strings.Repeat("x", maxBody)+`"`) + `}`, 413, []string{"larger than 1048576 bytes"}},
		{"nothing to tokenize", "/tokenize", `{}`, 400, []string{"content (or prompt) is missing"}},
		{"no such path", "/v1/embeddings", `{}`, 404, []string{"not_found_error", "/v1/embeddings"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(b *bed) {
				g := b.askAs("", c.path, c.body)
				if g.status != c.status {
					t.Errorf("status %d, want %d", g.status, c.status)
				}
				for _, want := range c.want {
					if !strings.Contains(g.raw, want) {
						t.Errorf("%.300s lacks %q", g.raw, want)
					}
				}
				var shape struct{ Error struct{ Code int } }
				if err := json.Unmarshal([]byte(g.raw), &shape); err != nil || shape.Error.Code != c.status {
					t.Errorf("%.300s: no error with code %d (%v)", g.raw, c.status, err)
				}
			})
		})
	}
}

func TestPartsOfTextAreJoined(t *testing.T) {
	inFakeTime(t, func(b *bed) {
		g := b.ask(`{"stream":true,"stream_options":{"include_usage":true},"max_tokens":1,"messages":[
			{"role":"user","content":[{"type":"text","text":" river"},{"type":"text","text":" river river"}]},
			{"role":"assistant","content":null}]}`)
		if g.usage == nil || g.usage.PromptTokens != 3 {
			t.Errorf("usage %+v", g.usage)
		}
	})
}

func TestTokenize(t *testing.T) {
	inFakeTime(t, func(b *bed) {
		for _, name := range []string{"content", "prompt"} {
			g := b.askAs("", "/tokenize", map[string]string{name: "hello world"})
			if want := `{"count":2,"max_model_len":20000,"tokens":[24912,2375]}`; strings.TrimSpace(g.raw) != want {
				t.Errorf("%s: %s, want %s", name, g.raw, want)
			}
		}
		if g := b.askAs("", "/tokenize", map[string]string{"content": ""}); !strings.Contains(g.raw, `"tokens":[]`) {
			t.Errorf("of nothing: %s", g.raw)
		}
	})
}

func get(t *testing.T, url, key string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// On a real socket, in real time.
func TestServerWithAKey(t *testing.T) {
	s, err := New(Config{Board: board(t, "B200"), Model: model(t, "qwen/qwen2.5-32b"), Key: "sesame"})
	if err != nil {
		t.Fatal(err)
	}
	base, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, key string
		status    int
		want      string
	}{
		{"/health", "", 200, `"ok"`},
		{"/v1/models", "", 401, "authentication_error"},
		{"/v1/models", "open", 401, "authentication_error"},
		{"/v1/models", "sesame", 200, `"id":"Qwen/Qwen2.5-32B"`},
		{"/v1/models", "sesame", 200, `"owned_by":"tracer-sim","max_model_len":20000`},
	} {
		if status, raw := get(t, base+c.path, c.key); status != c.status || !strings.Contains(raw, c.want) {
			t.Errorf("%s with key %q: %d %s", c.path, c.key, status, raw)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

func TestStartNamesTheAddressThatItCannotHave(t *testing.T) {
	s, err := New(Config{Board: board(t, "A10"), Model: model(t, catalog.DefaultModel)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Start("256.0.0.1:80"); err == nil || !strings.Contains(err.Error(), "256.0.0.1") {
		t.Errorf("error %v", err)
	}
}

func TestNewNamesTheTruthFileThatItCannotWrite(t *testing.T) {
	_, err := New(Config{Board: board(t, "A10"), Model: model(t, catalog.DefaultModel), TruthPath: "/proc/none/truth.jsonl"})
	if err == nil || !strings.Contains(err.Error(), "/proc/none") {
		t.Errorf("error %v", err)
	}
}

func TestEveryWordOfAnAnswerIsOneToken(t *testing.T) {
	for i := range vocabulary {
		if n := tokens.Count(word(i)); n != 1 {
			t.Errorf("%q is %d tokens", word(i), n)
		}
	}
}
