package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/nebula"
)

// onProxy is what drives most faults of servers.
const onProxy = "fault proxy before the simulated server"

var serverFaults = []fault{
	{"connection refused at start", "a port where nobody listens", "nothing is written; exit 4", refusedAtStart},
	proxied(
		"server gone in mid-run", "asked again, later each time, until `--patience` is over; what was measured is committed, `interrupted`; exit 3",
		sent{prompts: 6, exit: exitPartial, status: "interrupted", kinds: kinds{"": 2, nebula.ErrTypeConnect: some}, says: "start the server"},
		func(p *faultProxy) tamper {
			return func(n int, w http.ResponseWriter, r *http.Request, pass http.Handler) {
				if n > 2 {
					p.down()
				}
				pass.ServeHTTP(w, r)
			}
		},
	),
	proxied(
		"server down for 3 s in mid-run, then back", "asked again until it is back; every prompt is answered; exit 0",
		sent{prompts: 4, kinds: kinds{"": 4, nebula.ErrTypeConnect: some}, says: "every prompt was answered", more: []string{"--patience", "1m"}},
		func(p *faultProxy) tamper {
			return func(n int, w http.ResponseWriter, r *http.Request, pass http.Handler) {
				if n == 2 {
					p.downFor(3 * time.Second)
				}
				pass.ServeHTTP(w, r)
			}
		},
	),
	proxied(
		"HTTP 429 with Retry-After", "asked again, not before that; exit 0",
		sent{prompts: 3, kinds: kinds{"": 3, nebula.ErrTypeOverloaded: 1}, atLeast: time.Second}, second(status(429, `{"error":"slow down"}`, "Retry-After", "1")),
	),
	proxied(
		"HTTP 503, a model being loaded", "asked again; exit 0",
		sent{prompts: 3, kinds: kinds{"": 3, nebula.ErrTypeOverloaded: 1}}, second(status(503, `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`)),
	),
	proxied(
		"HTTP 400 that means a cooldown (Open WebUI)", "asked again; exit 0",
		sent{prompts: 3, kinds: kinds{"": 3, nebula.ErrTypeOverloaded: 1}}, second(status(400, `{"detail":"litellm.RateLimitError: cooldown"}`)),
	),
	proxied(
		"HTTP 500 to every request", "stopped after five in a row, with what was measured; exit 3",
		sent{prompts: 20, exit: exitPartial, status: "interrupted", kinds: kinds{"": 1, "http_500": 5}, says: "see the server's own log"},
		func(*faultProxy) tamper {
			return func(n int, w http.ResponseWriter, r *http.Request, pass http.Handler) {
				if n == 1 {
					pass.ServeHTTP(w, r)
					return
				}
				status(500, "{}")(w, r)
			}
		},
	),
	spoilt("connection reset in mid-stream", nebula.ErrTypeStreamBroken, "the stream broke: ", inStream(at(4, reset))),
	spoilt("connection closed in mid-stream", nebula.ErrTypeStreamBroken, "the stream broke: ", inStream(at(4, finish))),
	spoilt("stream that ends without its end mark", nebula.ErrTypeStreamBroken, "the stream ended without [DONE]", inStream(func(_ int, line string, w http.ResponseWriter) {
		if !strings.Contains(line, "[DONE]") {
			_, _ = io.WriteString(w, line)
		}
	})),
	spoilt("error inside a stream that began as a success", nebula.ErrTypeStreamError, "CUDA out of memory", inStream(at(4, says("data: {\"error\":{\"message\":\"CUDA out of memory\",\"code\":500}}\n\ndata: [DONE]\n\n")))),
	spoilt("no byte for longer than `--silence` before the headers", nebula.ErrTypeIdle, "no byte for 1s", func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { waitForBye(r) }),
	spoilt("no byte for longer than `--silence` before the first token", nebula.ErrTypeIdle, "no byte for 1s", silentFrom(1)),
	spoilt("no byte for longer than `--silence` in mid-stream", nebula.ErrTypeIdle, "no byte for 1s", silentFrom(5)),
	spoilt("headers that dribble in", nebula.ErrTypeIdle, "no byte for 1s", overWire(dribble)),
	spoilt("HTML under a status of success", nebula.ErrTypeBadResponse, "not an event stream", answers(http.StatusOK, "<html>Sign in</html>", "Content-Type", "text/html")),
	spoilt("garbage among the events", nebula.ErrTypeBadResponse, "events are no JSON", inStream(func(n int, line string, w http.ResponseWriter) {
		if n == 3 {
			line = "data: {\"cho\x00\xff\x1b[2J\n"
		}
		_, _ = io.WriteString(w, line)
	})),
	spoilt("line without end", nebula.ErrTypeTooLarge, "a line of over 1048576 bytes", inStream(at(3, endless("data: {\"choices\":[{\"delta\":{\"content\":\"", "x")))),
	spoilt("stream without end, of more tokens than were asked for", nebula.ErrTypeTooLarge, "lines", inStream(at(3, endless("", "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n")))),
	spoilt("error page without end", "http_500", "oops", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusInternalServerError)
		endless("", "oops ")(w)
	}),
	spoilt("chunked encoding that is none", nebula.ErrTypeStreamBroken, "the stream broke: ", overWire(says("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"))),
	proxied(
		"headers of several MB", "an attempt that failed; asked again; exit 0",
		sent{prompts: 3, kinds: kinds{"": 3, nebula.ErrTypeConnect: 1}}, second(func(w http.ResponseWriter, _ *http.Request) {
			conn := raw(w)
			endless("HTTP/1.1 200 OK\r\n", "X-Filler: "+strings.Repeat("x", 4000)+"\r\n")(connWriter{conn})
			_ = conn.Close()
		}),
	),
	proxied(
		"a compressed answer, though none was asked for", "unpacked as it arrives; exit 0", sent{prompts: 3, kinds: kinds{"": 3}},
		func(*faultProxy) tamper {
			return func(_ int, w http.ResponseWriter, r *http.Request, pass http.Handler) { pass.ServeHTTP(zipped(w), r) }
		},
	),
	proxied(
		"redirect on the same server", "followed with the prompt (307, 308); exit 0", sent{prompts: 3, kinds: kinds{"": 3}},
		func(*faultProxy) tamper {
			return func(n int, w http.ResponseWriter, r *http.Request, pass http.Handler) {
				if n%2 == 1 {
					http.Redirect(w, r, "/v1/chat/completions?again", http.StatusTemporaryRedirect)
					return
				}
				pass.ServeHTTP(w, r)
			}
		},
	),
	{"redirect to another host", onProxy, "neither key nor prompt goes there; stopped, with the host's name; exit 4", redirectedElsewhere},
	{"each of these faults once in one run", "fault proxy before llama.cpp's server", "every fault is its own row, and the prompts between them are answered; exit 3", everyFaultOnALlamaServer},
	{"server killed in mid-stream and started again", "llama.cpp's server", "the prompt in flight is a failed row; the run goes on when the server is back; exit 3", aKilledLlamaServer},
}

// kinds are a run's rows by error type; the good ones have none.
type kinds map[string]int

// some is any number of rows but none.
const some = -1

// sent is what a run sends, and what must come of it.
type sent struct {
	prompts int
	exit    int
	status  string // complete where empty
	kinds   kinds
	says    string // on the screen
	atLeast time.Duration
	more    []string // flags
	dir     string   // of its own where empty
}

// proxied is a fault that the proxy makes before the simulated server.
func proxied(name, outcome string, s sent, does func(*faultProxy) tamper) fault {
	return fault{name, onProxy, outcome, func(t *testing.T) {
		url, env := simulatedServer(t)
		p := before(t, url, nil)
		p.tamper = does(p)
		s.through(t, p, env)
	}}
}

// spoil spoils one answer.
type spoil func(w http.ResponseWriter, r *http.Request, pass http.Handler)

// spoilt is a fault that costs one answer and nothing else: the second of three.
func spoilt(name, kind, says string, does spoil) fault {
	outcome := fmt.Sprintf("a failed row, `%s`; the run goes on; exit 3", kind)
	return proxied(name, outcome, sent{prompts: 3, exit: exitPartial, kinds: kinds{"": 2, kind: 1}, says: says}, func(*faultProxy) tamper {
		return func(n int, w http.ResponseWriter, r *http.Request, pass http.Handler) {
			if n == 2 {
				does(w, r, pass)
				return
			}
			pass.ServeHTTP(w, r)
		}
	})
}

// second spoils the second answer without asking the server.
func second(h http.HandlerFunc) func(*faultProxy) tamper {
	return func(*faultProxy) tamper {
		return func(n int, w http.ResponseWriter, r *http.Request, pass http.Handler) {
			if n == 2 {
				h(w, r)
				return
			}
			pass.ServeHTTP(w, r)
		}
	}
}

func status(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func answers(code int, body string, header ...string) spoil {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) { status(code, body, header...)(w, r) }
}

// inStream lays a hand on an answer's lines.
func inStream(line func(int, string, http.ResponseWriter)) spoil {
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		pass.ServeHTTP(&hand{ResponseWriter: w, line: line}, r)
	}
}

// silentFrom says nothing more from the n-th event on.
func silentFrom(n int) spoil {
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		inStream(at(n, func(http.ResponseWriter) { waitForBye(r) }))(w, r, pass)
	}
}

// waitForBye is a server that hangs until its client has gone.
func waitForBye(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // before that nobody sees the client go
	<-r.Context().Done()
}

func says(words string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, words)
		_ = http.NewResponseController(w).Flush()
	}
}

// endless writes for as long as somebody reads.
func endless(begin, again string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		_, err := io.WriteString(w, begin)
		for much := []byte(strings.Repeat(again, 1+(64<<10)/len(again))); err == nil; {
			_, err = w.Write(much)
		}
	}
}

// connWriter writes past HTTP.
type connWriter struct{ io.Writer }

func (connWriter) Header() http.Header { return nil }
func (connWriter) WriteHeader(int)     {}

// overWire writes to the connection itself and closes it.
func overWire(do func(http.ResponseWriter)) spoil {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn := raw(w)
		defer conn.Close()
		do(connWriter{conn})
	}
}

// dribble sends one header's byte every 100 ms, and no end of it.
func dribble(w http.ResponseWriter) {
	_, err := io.WriteString(w, "HTTP/1.1 200 OK\r\nX-Slow: ")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ; err == nil; <-tick.C {
		_, err = io.WriteString(w, "x")
	}
}

type zip struct {
	http.ResponseWriter
	z *gzip.Writer
}

func zipped(w http.ResponseWriter) http.ResponseWriter { return &zip{w, gzip.NewWriter(w)} }

func (z *zip) WriteHeader(code int) {
	z.Header().Set("Content-Encoding", "gzip")
	z.ResponseWriter.WriteHeader(code)
}

func (z *zip) Write(b []byte) (int, error) {
	n, err := z.z.Write(b)
	_ = z.z.Flush()
	if strings.Contains(string(b), "[DONE]") {
		_ = z.z.Close()
	}
	return n, err
}

func (z *zip) Unwrap() http.ResponseWriter { return z.ResponseWriter }
