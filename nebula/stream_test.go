package nebula

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

// Rule 5: errors in the middle of a stream, and streams that end where they should not.

func TestErrorInsideASuccessIsAFailure(t *testing.T) {
	for name, h := range map[string]http.Handler{
		"vLLM":         stream(roleOnly, says("x"), `data: {"error":{"message":"engine died","type":"InternalServerError","code":500}}`, done),
		"SGLang":       stream(says("x"), `data: {"object":"error","message":"engine died","code":500}`, done),
		"TGI":          stream(says("x"), `data: {"error":"engine died","error_type":"generation"}`),
		"Open WebUI":   stream(says("x"), `data: {"detail":"engine died"}`, done),
		"llama.cpp":    stream(says("x"), `error: {"code":500,"message":"engine died","type":"server_error"}`, done),
		"plain JSON":   &script{status: 200, header: http.Header{"Content-Type": {"application/json"}}, steps: []step{{0, `{"error":{"message":"engine died"}}`}}},
		"then broken":  &script{status: 200, steps: []step{{0, "data: {\"error\":\"engine died\"}\n\n"}}, broken: time.Second},
		"then silence": &script{status: 200, steps: []step{{0, "data: {\"error\":\"engine died\"}\n\n"}}, end: time.Hour},
	} {
		bubble(t, func(t *testing.T) {
			r := send(t, h, hello, nil)
			if s := r.Span; s.ErrorType != ErrTypeStreamError || s.ErrorMessage != "engine died" || s.HTTPStatus != schema.Some[int32](200) {
				t.Errorf("%s: %s: %s (HTTP %v)", name, s.ErrorType, s.ErrorMessage, s.HTTPStatus)
			}
			if r.Retry != RetryNever {
				t.Errorf("%s: retry %v", name, r.Retry)
			}
		})
	}
}

func TestStreamWithoutDoneIsBroken(t *testing.T) {
	for name, h := range map[string]http.Handler{
		"end":           stream(says("x"), finished, usageOf(9, 1)),
		"empty":         stream(),
		"comments only": stream(":", ":"),
		"cut line":      stream(says("x"), `data: {"choices":[{"del`),
		"lost":          &script{status: 200, steps: []step{{0, says("x") + "\n\n"}, {0, `data: {"cho`}}, broken: time.Second},
	} {
		bubble(t, func(t *testing.T) {
			s := send(t, h, hello, nil).Span
			if s.ErrorType != ErrTypeStreamBroken || !slices.Contains(s.Invalid, schema.ReasonStreamBroken) {
				t.Errorf("%s: %q %q, reasons %v", name, s.ErrorType, s.ErrorMessage, s.Invalid)
			}
		})
	}
}

func TestServerThatDiesSlowlyIsEitherIdleOrBroken(t *testing.T) {
	for idle, want := range map[time.Duration]struct {
		errorType string
		end       time.Duration
	}{
		0:                {ErrTypeStreamBroken, millis(31121.0)}, // the default outlasts its 30 s of silence
		20 * time.Second: {ErrTypeIdle, millis(1103.8) + 20*time.Second},
	} {
		bubble(t, func(t *testing.T) {
			r := send(t, transcript(t, "llama-sigterm.timed"), hello, func(c *Config) { c.Idle = idle })
			s := r.Span
			if s.ErrorType != want.errorType || time.Duration(s.EndNS-s.StartNS) != want.end || !r.Span.GivenUp {
				t.Errorf("idle %v: %s after %v: %s", idle, s.ErrorType, time.Duration(s.EndNS-s.StartNS), s.ErrorMessage)
			}
			if since(t, s, s.FirstTokenNS) != millis(700.3) {
				t.Error("what was heard is lost")
			}
		})
	}
}

func TestKeepAliveCommentsAreLife(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &script{status: 200, header: http.Header{"Content-Type": {"text/event-stream"}}}
		for i := range 10 {
			s.steps = append(s.steps, step{time.Duration(i+1) * 100 * time.Second, ":\n\n"})
		}
		s.steps = append(s.steps, step{1001 * time.Second, says("x") + "\n\n" + done + "\n\n"})
		succeeded(t, send(t, s, hello, nil).Span)
	})
}

func TestSilenceBeforeHeadersIsIdleToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := send(t, &script{status: 200, wait: time.Hour}, hello, nil).Span
		if s.ErrorType != ErrTypeIdle || time.Duration(s.EndNS-s.StartNS) != 120*time.Second || s.HTTPStatus.OK {
			t.Errorf("%s after %v: %s", s.ErrorType, time.Duration(s.EndNS-s.StartNS), s.ErrorMessage)
		}
	})
}

func TestDeadlineBoundsTheWholeRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := send(t, transcript(t, "llama-queued-keepalive.timed"), hello, func(c *Config) { c.Deadline = 10 * time.Second })
		if s := r.Span; s.ErrorType != ErrTypeTimeout || time.Duration(s.EndNS-s.StartNS) != 10*time.Second || !r.Span.GivenUp {
			t.Errorf("%s after %v", s.ErrorType, time.Duration(s.EndNS-s.StartNS))
		}
	})
}

func TestReadingGoesOnPastTheFinishReason(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := send(t, transcript(t, "llama-chat-usage"), hello, nil).Span
		succeeded(t, s)
		if s.FinishReason != "length" || !s.OutputTokens.OK || s.Model != "tiny" {
			t.Errorf("finish %q, model %q, output %v", s.FinishReason, s.Model, s.OutputTokens)
		}
		if got := time.Duration(s.EndNS - s.StartNS); got != firstEvent+10*eventGap {
			t.Errorf("the span ends after %v, not with [DONE]", got)
		}
	})
}

func TestDoneEndsAStreamThatStaysOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := stream(says("x"), usageOf(9, 1), done)
		h.end = time.Hour
		began := time.Now()
		s := send(t, h, hello, nil).Span
		succeeded(t, s)
		if got := time.Duration(s.EndNS - s.StartNS); got != firstEvent+2*eventGap {
			t.Errorf("the span ends after %v", got)
		}
		if waited := time.Since(began); waited > 2*time.Second {
			t.Errorf("waited %v for nothing", waited)
		}
	})
}

func TestWhatIsNoStreamIsABadResponse(t *testing.T) {
	html := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
	for name, h := range map[string]http.Handler{
		"login page":   &script{status: 200, header: html, steps: []step{{0, "<!doctype html>\n<title>Sign in</title>\n"}}},
		"huge page":    &script{status: 200, header: html, steps: []step{{0, strings.Repeat("<p>sign in</p>\n", 1<<16)}}},
		"not streamed": transcript(t, "llama-nonstream"),
		"native":       transcript(t, "ollama-native"),
		"garbage":      stream(says("x"), "data: {garbage}", done),
		"no JSON":      stream("data: hello", done),
		"binary":       &script{status: 200, header: http.Header{"Content-Type": {"application/octet-stream"}}, steps: []step{{0, "\x00\x01\n\xff\xfe\n"}}},
	} {
		bubble(t, func(t *testing.T) {
			if s := send(t, h, hello, nil).Span; s.ErrorType != ErrTypeBadResponse {
				t.Errorf("%s: %q: %s", name, s.ErrorType, s.ErrorMessage)
			}
		})
	}
}

func TestAnswersAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		h     http.Handler
		total int
	}{
		"line":  {h: stream("data: "+strings.Repeat("x", 2<<20), done)},
		"total": {h: stream(says(strings.Repeat("x", 4000)), says(strings.Repeat("y", 4000)), done), total: 6000},
		"flood": {h: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for line := []byte(says("x") + "\n\n"); ; {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}), total: 1 << 20},
		"more than was asked for": {h: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // before that the server does not notice that nobody listens
			for pause(r.Context(), 10*time.Millisecond) {
				_, _ = io.WriteString(w, says("x")+"\n\n")
				flush(w)
			}
		})},
		"empty lines": {h: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(bytes.Repeat([]byte("\n"), 1<<14)); err != nil {
					return
				}
			}
		})},
		"gzip bomb": {h: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for {
				if _, err := z.Write(bytes.Repeat([]byte(": \n"), 1<<14)); err != nil {
					return
				}
			}
		}), total: 1 << 20},
	} {
		bubble(t, func(t *testing.T) {
			r := send(t, c.h, hello, func(cfg *Config) { cfg.MaxTotalBytes = c.total })
			if r.Span.ErrorType != ErrTypeTooLarge || !r.Span.GivenUp {
				t.Errorf("%s: %q: %s", name, r.Span.ErrorType, r.Span.ErrorMessage)
			}
			if took := time.Duration(r.Span.EndNS - r.Span.StartNS); took > time.Minute {
				t.Errorf("%s: listened for %v", name, took)
			}
		})
	}
}

func TestGzipIsUnpackedAsItArrives(t *testing.T) {
	bubble(t, func(t *testing.T) {
		zipped := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Accept-Encoding"); got != "identity" {
				t.Errorf("asked for %q", got)
			}
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for _, e := range []string{roleOnly, says("a"), says("b"), usageOf(9, 2), done} {
				time.Sleep(eventGap)
				_, _ = io.WriteString(z, e+"\n\n")
				_ = z.Flush()
				flush(w)
			}
			_ = z.Close()
		})
		s := send(t, zipped, hello, nil).Span
		succeeded(t, s)
		if since(t, s, s.FirstTokenNS) != 2*eventGap || since(t, s, s.LastTokenNS) != 3*eventGap {
			t.Errorf("first token after %v, last after %v", since(t, s, s.FirstTokenNS), since(t, s, s.LastTokenNS))
		}
	})
}

func TestStandardsOwnLiberties(t *testing.T) {
	content := `{"choices":[{"delta":{"content":"x"}}]}`
	for name, body := range map[string]string{
		"CRLF":               "data: " + content + "\r\n\r\ndata: [DONE]\r\n\r\n",
		"no space":           "data:" + content + "\n\ndata:[DONE]\n\n",
		"byte order mark":    "\ufeffdata: " + content + "\n\ndata: [DONE]\n\n",
		"two data lines":     "data: {\"choices\":\ndata: [{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n",
		"no empty lines":     "data: " + content + "\ndata: " + content + "\ndata: [DONE]\n",
		"no final line feed": "data: " + content + "\n\ndata: [DONE]",
		"named events":       "event: message\nid: 1\ndata: " + content + "\n\nevent: end\ndata: [DONE]\n\n",
	} {
		bubble(t, func(t *testing.T) {
			s := send(t, &script{status: 200, steps: []step{{0, body}}}, hello, nil).Span
			if s.ErrorType != "" || !s.FirstTokenNS.OK {
				t.Errorf("%s: %q %s, first token %v", name, s.ErrorType, s.ErrorMessage, s.FirstTokenNS)
			}
		})
	}
}

func TestTextIsKeptWhenWanted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := client(t, stream(roleOnly, `data: {"choices":[{"delta":{"reasoning":"hm"}}]}`, says("Once "), says("upon"), done), nil)
		if got := c.Send(t.Context(), hello, Call{KeepText: true}).Text; got != "Once upon" {
			t.Errorf("text %q", got)
		}
		if got := c.Send(t.Context(), hello, Call{}).Text; got != "" {
			t.Errorf("unwanted text %q", got)
		}
	})
}

func TestInterruptedRequestStillHasItsSpan(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := client(t, transcript(t, "llama-queued-keepalive.timed"), nil)
		time.AfterFunc(9500*time.Millisecond, cancel)
		r := c.Send(ctx, hello, Call{})
		s := r.Span
		if s.ErrorType != ErrTypeInterrupted || time.Duration(s.EndNS-s.StartNS) != 9500*time.Millisecond || !r.Span.GivenUp {
			t.Errorf("%q after %v", s.ErrorType, time.Duration(s.EndNS-s.StartNS))
		}
	})
}

func TestStartIsWhenTheServerHasTheRequest(t *testing.T) {
	// Dialling takes a second here, and the server hesitates before it reads: the stamp belongs to neither.
	bubble(t, func(t *testing.T) {
		slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(300 * time.Millisecond)
			stream(says("x"), done).ServeHTTP(w, r)
		})
		c := client(t, slow, func(cfg *Config) {
			dial := cfg.Dial
			cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				time.Sleep(time.Second)
				return dial(ctx, network, address)
			}
		})
		opened := clock.Now()
		p := *hello
		p.Text = strings.Repeat("word ", 20_000) // more than the server's buffers: the last byte goes out when it reads
		s := c.Send(t.Context(), &p, Call{}).Span
		succeeded(t, s)
		if got := time.Duration(s.StartNS - opened); got != 1300*time.Millisecond {
			t.Errorf("started %v after the call", got)
		}
		if got := since(t, s, s.FirstTokenNS); got != firstEvent {
			t.Errorf("first token after %v", got)
		}
	})
}
