package main

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var quiet = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)

// tamper does something to the n-th request for an answer, counted from 1: it may let it pass, with or without a hand in
// the answer, or answer itself.
type tamper func(n int, w http.ResponseWriter, r *http.Request, pass http.Handler)

// faultProxy stands before a real model server, and does to questions what servers, networks and gateways do. What is no
// prompt of a run passes: the list of models, counting, the question for the chat template.
type faultProxy struct {
	t       *testing.T
	tamper  tamper
	secure  *tls.Config
	backend atomic.Pointer[url.URL]
	asked   atomic.Int64 // requests for answers

	mu     sync.Mutex
	addr   string
	server *http.Server
}

// before starts a proxy before the server at a URL.
func before(t *testing.T, backend string, does tamper) *faultProxy {
	t.Helper()
	p := &faultProxy{t: t, tamper: does, addr: "127.0.0.1:0"}
	p.moved(backend)
	return p.up()
}

// moved says where the server is now.
func (p *faultProxy) moved(backend string) {
	u, err := url.Parse(backend)
	if err != nil {
		p.t.Fatal(err)
	}
	p.backend.Store(&url.URL{Scheme: u.Scheme, Host: u.Host})
}

// up listens, again at the same address after down.
func (p *faultProxy) up() *faultProxy {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Error(err)
		return p
	}
	p.addr = l.Addr().String()
	if p.secure != nil {
		l = tls.NewListener(l, p.secure)
	}
	server := &http.Server{Handler: p, ErrorLog: quiet}
	p.server = server
	go func() { _ = server.Serve(l) }()
	p.t.Cleanup(func() { _ = server.Close() })
	return p
}

// down refuses connections and breaks those that there are.
func (p *faultProxy) down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.server.Close()
}

// downFor is an outage.
func (p *faultProxy) downFor(d time.Duration) {
	p.down()
	time.AfterFunc(d, func() { p.up() })
}

// endpoint is what to give as --endpoint.
func (p *faultProxy) endpoint() string {
	if p.secure != nil {
		return "https://" + p.addr + "/v1"
	}
	return "http://" + p.addr + "/v1"
}

func (p *faultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	pass := &httputil.ReverseProxy{
		Rewrite:       func(q *httputil.ProxyRequest) { q.SetURL(p.backend.Load()) },
		Transport:     onceEach,
		FlushInterval: -1,
		ErrorLog:      quiet,
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { reset(w) },
	}
	if !strings.HasSuffix(r.URL.Path, "/chat/completions") || strings.HasSuffix(r.Header.Get("X-Request-Id"), "-template") || p.tamper == nil {
		pass.ServeHTTP(w, r)
		return
	}
	p.tamper(int(p.asked.Add(1)), w, r, pass)
}

// onceEach uses no connection twice: llama.cpp's server announces that it keeps one, and closes it after a stream.
var onceEach = &http.Transport{DisableKeepAlives: true}

// raw is the connection itself: what is written to it has no other's form.
func raw(w http.ResponseWriter) *net.TCPConn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
	return conn.(*net.TCPConn)
}

// reset breaks the connection with an RST.
func reset(w http.ResponseWriter) {
	conn := raw(w)
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// finish closes the connection with a FIN, in the middle of whatever it was in.
func finish(w http.ResponseWriter) { _ = raw(w).Close() }

// hand is a hand in an answer that passes: it sees each line, and writes what is to be sent instead.
type hand struct {
	http.ResponseWriter
	line func(n int, line string, to http.ResponseWriter) // n counts the lines with data from 1; others have none of their own

	rest string
	data int
}

func (h *hand) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h *hand) Write(b []byte) (int, error) {
	h.rest += string(b)
	for {
		line, rest, found := strings.Cut(h.rest, "\n")
		if !found {
			return len(b), nil
		}
		h.rest = rest
		if strings.HasPrefix(line, "data:") {
			h.data++
		}
		h.line(h.data, line+"\n", h.ResponseWriter)
	}
}

// at does something before the n-th line with data, instead of which nothing more is sent.
func at(n int, do func(w http.ResponseWriter)) func(int, string, http.ResponseWriter) {
	return func(i int, line string, w http.ResponseWriter) {
		if i < n {
			_, _ = w.Write([]byte(line))
			return
		}
		_ = http.NewResponseController(w).Flush()
		do(w)
		panic(http.ErrAbortHandler)
	}
}
