package nebula

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/llm-tracer/tracer/internal/clock"
)

// These two use the host's own network and clock: what they check is order, not speed.

func TestStartIsStampedByTheKernelsWriteOverTCPAndTLS(t *testing.T) {
	var readNS atomic.Int64
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		readNS.Store(clock.Now())
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, says("x")+"\n\n"+done+"\n\n")
	})
	for name, server := range map[string]*httptest.Server{"http": httptest.NewServer(h), "https": httptest.NewTLSServer(h)} {
		t.Run(name, func(t *testing.T) {
			defer server.Close()
			c, err := New(Config{Endpoint: server.URL, Profile: Generic(), Model: "m"})
			if err != nil {
				t.Fatal(err)
			}
			if name == "https" {
				pool := x509.NewCertPool()
				pool.AddCert(server.Certificate())
				c.transport.TLSClientConfig = &tls.Config{RootCAs: pool}
			}
			for range 3 {
				called := clock.Now()
				s := c.Send(t.Context(), hello, Call{}).Span
				succeeded(t, s)
				if s.StartNS < called || s.StartNS > s.FirstTokenNS.V || s.FirstTokenNS.V > s.EndNS || readNS.Load() > s.FirstTokenNS.V {
					t.Errorf("called %d, started %d, read %d, first token %d, end %d", called, s.StartNS, readNS.Load(), s.FirstTokenNS.V, s.EndNS)
				}
			}
		})
	}
}

func TestSendingFindsItsConnection(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	transport := newTransport(nil, nil)
	defer transport.CloseIdleConnections()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	var out sending
	request, err := http.NewRequestWithContext(out.follow(t.Context()), http.MethodPost, server.URL, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if out.conn.Load() == nil || response.ProtoMajor != 1 {
		t.Errorf("connection %v, HTTP/%d", out.conn.Load(), response.ProtoMajor)
	}
}
