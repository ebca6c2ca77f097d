package nebula

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/llm-tracer/tracer/schema"
)

// overhear answers every request with h and keeps the bodies.
type overhear struct {
	h      http.Handler
	mu     sync.Mutex
	bodies []map[string]any
	paths  []string
}

func (o *overhear) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	text, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(text, &body)
	o.mu.Lock()
	o.bodies, o.paths = append(o.bodies, body), append(o.paths, r.URL.Path)
	o.mu.Unlock()
	o.h.ServeHTTP(w, r)
}

// numbered reopens texts with a number of their own.
func numbered() func(string) (sent, opening string, added int) {
	var n atomic.Int64
	return func(text string) (string, string, int) {
		opening := fmt.Sprintf("Nr %d.", n.Add(1))
		return opening + "\n" + text, opening, 4
	}
}

func (o *overhear) content(i int) string {
	return o.bodies[i]["messages"].([]any)[0].(map[string]any)["content"].(string)
}

func TestEveryProfileDefeatsThePrefixCache(t *testing.T) {
	for _, profile := range profiles {
		t.Run(profile.Name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := &overhear{h: stream(says("x"), done)}
				c := client(t, o, func(cfg *Config) { cfg.Profile, cfg.Reopen = profile, numbered() })
				for range 2 {
					s := c.Send(t.Context(), hello, Call{}).Span
					succeeded(t, s)
					if plain := profile.DefeatsCache(); (s.Opening == "") != plain || (s.TextTokens == hello.TextTokens) != plain {
						t.Errorf("opening %q, %d tokens", s.Opening, s.TextTokens)
					}
				}
				switch {
				case profile.CacheSalt:
					if a, b := o.bodies[0]["cache_salt"], o.bodies[1]["cache_salt"]; a == nil || a == b || o.content(0) != hello.Text {
						t.Errorf("salts %v and %v, text %q", a, b, o.content(0))
					}
				case profile.CachePrompt:
					if on, sent := o.bodies[0]["cache_prompt"]; !sent || on != false || o.content(0) != hello.Text {
						t.Errorf("cache_prompt %v, text %q", on, o.content(0))
					}
				case profile.Uncached:
					if o.content(0) != hello.Text {
						t.Errorf("text %q", o.content(0))
					}
				default:
					if a, b := o.content(0), o.content(1); a == b || !strings.HasSuffix(a, hello.Text) {
						t.Errorf("texts %q and %q", a, b)
					}
				}
			})
		})
	}
}

// Rule 4: profiles for extra fields, and one retry without them.

func TestProfilesAskForExactLength(t *testing.T) {
	p := &schema.Prompt{ID: "p", Text: "x", MaxTokens: 100, ExactLength: true}
	for name, want := range map[string]map[string]any{
		"vllm":     {"ignore_eos": true, "min_tokens": 100.0, "max_tokens": 100.0, "include_metrics": true},
		"sglang":   {"ignore_eos": true, "min_tokens": 100.0, "max_tokens": 100.0},
		"trtllm":   {"ignore_eos": true, "min_tokens": 100.0, "max_tokens": 100.0},
		"llamacpp": {"ignore_eos": true, "min_tokens": nil, "max_tokens": 100.0},
		"ollama":   {"ignore_eos": nil, "min_tokens": nil, "max_tokens": 100.0, "options": nil},
		"generic":  {"ignore_eos": nil, "min_tokens": nil, "max_tokens": 100.0, "cache_salt": nil, "seed": nil},
	} {
		bubble(t, func(t *testing.T) {
			o := &overhear{h: stream(says("x"), done)}
			send(t, o, p, func(cfg *Config) { cfg.Profile = profileNamed(name) })
			for field, value := range want {
				if got := o.bodies[0][field]; got != value {
					t.Errorf("%s: %s is %v, want %v", name, field, got, value)
				}
			}
			if options, _ := o.bodies[0]["stream_options"].(map[string]any); options["include_usage"] != true {
				t.Errorf("%s: stream_options %v", name, options)
			}
		})
	}
}

func TestFieldsThatAreNotUnderstoodAreLeftOutOnce(t *testing.T) {
	for _, status := range []int{400, 422} {
		bubble(t, func(t *testing.T) {
			no := refuses(status, `{"detail":[{"type":"extra_forbidden","loc":["body","cache_salt"],"msg":"Extra inputs are not permitted"}]}`)
			o := &overhear{h: inTurn(no, stream(says("x"), usageOf(9, 1), done))}
			c := client(t, o, func(cfg *Config) { cfg.Profile = profileNamed("trtllm") })
			var spans []*schema.Span
			keep := func(call Call) *Reply {
				r := c.Send(t.Context(), hello, call)
				spans = append(spans, r.Span)
				return r
			}
			succeeded(t, c.Ask(t.Context(), hello, Call{RequestID: "run-7"}, keep).Span)
			if len(spans) != 2 || spans[0].ErrorType != fmt.Sprintf("http_%d", status) || spans[1].Attempt != 2 || spans[1].RequestID != "run-7.2" {
				t.Fatalf("spans %+v", spans)
			}
			if o.bodies[1]["cache_salt"] != nil || o.bodies[1]["stream_options"] == nil {
				t.Errorf("second body %v", o.bodies[1])
			}
			// The server said what it dislikes: it is not asked like that again.
			succeeded(t, c.Ask(t.Context(), hello, Call{}, nil).Span)
			if len(o.bodies) != 3 || o.bodies[2]["cache_salt"] != nil {
				t.Errorf("third body %v", o.bodies[2])
			}
		})
	}
}

func TestUnexplainedRefusalIsNoLesson(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := &overhear{h: inTurn(refuses(400, `{"error":"hiccup"}`), stream(says("x"), done))}
		c := client(t, o, func(cfg *Config) { cfg.Profile = profileNamed("openwebui") })
		succeeded(t, c.Ask(t.Context(), hello, Call{}, nil).Span)
		succeeded(t, c.Ask(t.Context(), hello, Call{}, nil).Span)
		if len(o.bodies) != 3 || o.bodies[1]["options"] != nil || o.bodies[2]["options"] == nil {
			t.Errorf("bodies %v", o.bodies)
		}
	})
}

func TestStreamOptionsAreLeftOutOnlyWhenNamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := &overhear{h: inTurn(refuses(400, `{"error":{"message":"unknown field stream_options"}}`), stream(says("x"), done))}
		c := client(t, o, nil)
		succeeded(t, c.Ask(t.Context(), hello, Call{}, nil).Span)
		if len(o.bodies) != 2 || o.bodies[1]["stream_options"] != nil {
			t.Errorf("bodies %v", o.bodies)
		}
	})
}

func TestBadRequestIsNotRepeatedForever(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := &overhear{h: transcript(t, "llama-badjson")}
		c := client(t, o, func(cfg *Config) { cfg.Profile = profileNamed("llamacpp") })
		s := c.Ask(t.Context(), hello, Call{}, nil).Span
		if s.ErrorType != "http_400" || len(o.bodies) != 2 {
			t.Errorf("%s after %d requests", s.ErrorType, len(o.bodies))
		}
		o.bodies = nil
		c = client(t, o, nil) // generic: there is nothing to leave out
		if c.Ask(t.Context(), hello, Call{}, nil); len(o.bodies) != 1 {
			t.Errorf("%d requests", len(o.bodies))
		}
	})
}
