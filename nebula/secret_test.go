package nebula

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/schema"
)

const (
	secretKey      = "sk-hush-0123456789"
	secretPassword = "hush-password"
	secretQuery    = "hush-query"
)

// echo is a server that repeats what it was told in every way it can.
func echo(status int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told := r.Header.Get("Authorization") + " " + secretPassword + " " + r.URL.RawQuery
		w.Header().Set("X-Key", told)
		w.Header().Set("Location", "http://u:"+secretPassword+"@elsewhere/?"+r.URL.RawQuery)
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "data: {\"error\":{\"message\":%q,\"type\":%q}}\n\n", told, told)
		_, _ = fmt.Fprintf(w, "data: {\"model\":%q,\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":%q}]}\n\ndata: [DONE]\n\n", told, told)
	})
}

func TestKeyIsInNothingThatLeavesThePackage(t *testing.T) {
	endpoint := "http://user:" + secretPassword + "@server/v1?token=" + secretQuery
	var told bytes.Buffer
	show := func(values ...any) {
		for _, v := range values {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%T"} {
				fmt.Fprintf(&told, verb+"\n", v)
			}
			text, _ := json.Marshal(v)
			told.Write(text)
			slog.New(slog.NewTextHandler(&told, nil)).Info("x", "v", v)
			slog.New(slog.NewJSONHandler(&told, nil)).Info("x", "v", v)
		}
	}
	for _, status := range []int{200, 302, 307, 400, 401, 404, 429, 500} {
		bubble(t, func(t *testing.T) {
			var cfg Config
			c := client(t, echo(status), func(adjust *Config) {
				adjust.Endpoint, adjust.Key, adjust.Tries = endpoint, NewKey(secretKey), 1
				cfg = *adjust
			})
			s := &Schedule{RunID: "r", Prompts: prompts(2), Sinks: sinks(1)}
			err := s.Run(t.Context(), c)
			show(err, c, c.censor, cfg.Key)
			for _, span := range s.Sinks[0].(*ledger).spans() {
				show(span)
			}
			info, err := Detect(t.Context(), cfg)
			show(info, err)
			_, err = c.CountTokens(t.Context(), "x")
			show(err)
			cfg.Profile = profileNamed("vllm")
			withTokenizer, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = withTokenizer.CountTokens(t.Context(), "x")
			show(err)
			cfg.Dial = nil // JSON knows no functions, and would show nothing at all
			// fmt prints unexported fields without asking their methods.
			show(cfg, &cfg, struct{ key Key }{cfg.Key}, struct{ Key Key }{cfg.Key})
		})
	}
	if told.Len() < 10_000 {
		t.Fatalf("only %d bytes were looked at", told.Len())
	}
	for _, secret := range []string{secretKey, secretPassword, secretQuery} {
		for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret)} {
			if i := strings.Index(told.String(), form); i >= 0 {
				t.Errorf("%s leaks in …%s…", secret, told.String()[max(0, i-150):i+30])
			}
		}
	}
}

func TestBeginningsOfSecretsAreCensored(t *testing.T) {
	c := newCensor([]string{secretKey, "short", "hush-ключ"})
	for words, want := range map[string]string{
		"bad key sk-hush-01...":                          "bad key [redacted]...",
		secretKey + secretKey[:8] + "!" + secretKey[:12]: "[redacted][redacted]![redacted]",
		"sk-hush is no key":                              "sk-hush is no key",
		"a short word":                                   "a [redacted] word",
		"hush-кле":                                       "[redacted]е",
		"hush-кльч":                                      "[redacted]ч",
	} {
		if got := c.clean(words); got != want {
			t.Errorf("%q becomes %q, want %q", words, got, want)
		}
	}
}

func TestKeyIsSentAsBearer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "Bearer "+secretKey {
				t.Errorf("Authorization %q", got)
			}
			if r.URL.RawQuery != "token="+secretQuery {
				t.Errorf("query %q", r.URL.RawQuery)
			}
			stream(says("x"), done).ServeHTTP(w, r)
		})
		succeeded(t, send(t, h, hello, func(c *Config) {
			c.Endpoint, c.Key = "http://server/v1?token="+secretQuery, NewKey(secretKey)
		}).Span)
	})
}

func TestNeitherKeyNorPromptFollowsARedirectElsewhere(t *testing.T) {
	for _, target := range []string{"http://elsewhere/v1/chat/completions", "https://server:8000/v1/chat/completions", "http://server:8001/"} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			bubble(t, func(t *testing.T) {
				asked := 0
				h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					asked++
					http.Redirect(w, r, target, status)
				})
				s := send(t, h, hello, func(c *Config) { c.Key = NewKey(secretKey) }).Span
				if asked != 1 || s.ErrorType != fmt.Sprintf("http_%d", status) || !strings.Contains(s.ErrorMessage, "redirects to ") {
					t.Errorf("%d to %s: asked %d times, %s: %s", status, target, asked, s.ErrorType, s.ErrorMessage)
				}
			})
		}
	}
}

func TestRedirectOnTheSameServerIsFollowed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := &overhear{h: stream(says("x"), done)}
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/chat/completions" {
				http.Redirect(w, r, "/v1/chat/completions/", http.StatusTemporaryRedirect)
				return
			}
			o.ServeHTTP(w, r)
		})
		succeeded(t, send(t, h, hello, nil).Span)
		if o.content(0) != hello.Text {
			t.Errorf("asked %v", o.bodies)
		}
	})
}

func TestSpanNamesTheEndpointWithoutCredentials(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := send(t, stream(says("x"), done), hello, func(c *Config) {
			c.Endpoint = "http://user:" + secretPassword + "@server:8000/v1?token=" + secretQuery
		}).Span
		if s.Endpoint != "http://server:8000/v1" || s.Server != "generic" || s.OutputTokensRequested != schema.Some[int32](8) {
			t.Errorf("%q by %s", s.Endpoint, s.Server)
		}
	})
}
