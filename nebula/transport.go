package nebula

import (
	"context"
	"crypto/tls"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
)

// Dial opens a connection, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// newTransport speaks HTTP/1.1 only: one connection per stream, so that no stream waits for another's frames, and the
// last write on the connection is the request's last.
func newTransport(dial Dial, secure *tls.Config) *http.Transport {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	if secure = secure.Clone(); secure == nil {
		secure = new(tls.Config)
	}
	secure.NextProtos = []string{"http/1.1"} // said aloud, for servers that would take HTTP/2 for granted
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			stamped := &stampedConn{Conn: conn}
			stamped.wroteNS.Store(math.MinInt64)
			return stamped, nil
		},
		Protocols:           protocols,
		TLSClientConfig:     secure,
		TLSHandshakeTimeout: 10 * time.Second,
		// A connection of its own for each request. llama.cpp announces keep-alive and closes after every stream all the
		// same, uvicorn closes after 5 s: a request sent into that is lost. Dialling comes before StartNS.
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 1 << 20,
		DisableCompression:     true, // a compressing proxy holds tokens back
	}
}

// stampedConn knows when the kernel had taken its last write. net/http's own WroteRequest hook runs before the final
// flush, which holds the whole of a short request.
type stampedConn struct {
	net.Conn
	wroteNS atomic.Int64
}

func (c *stampedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.wroteNS.Store(clock.Now())
	return n, err
}

// sending follows one request onto the wire.
type sending struct {
	readyNS atomic.Int64 // when the connection was ready; before that, when the request was handed to net/http
	conn    atomic.Pointer[stampedConn]
}

// follow begins to follow the request that is made with the context it returns.
func (s *sending) follow(ctx context.Context) context.Context {
	s.readyNS.Store(clock.Now())
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			s.readyNS.Store(clock.Now())
			conn := info.Conn
			if secure, ok := conn.(*tls.Conn); ok {
				conn = secure.NetConn()
			}
			if stamped, ok := conn.(*stampedConn); ok {
				s.conn.Store(stamped)
			}
		},
	})
}

// startNS is when the request's last byte was handed to the kernel or, of a request that never got so far, the instant
// before it was tried. Ask when the response has begun.
func (s *sending) startNS() int64 {
	if conn := s.conn.Load(); conn != nil {
		return max(s.readyNS.Load(), conn.wroteNS.Load())
	}
	return s.readyNS.Load()
}

// sameServer allows redirects that stay on the server and keep the method: elsewhere the key and the prompt would go to
// a host that nobody named, and a POST turned GET asks nothing.
func sameServer(r *http.Request, via []*http.Request) error {
	first := via[0]
	if len(via) > 3 || r.Method != first.Method || !sameHost(r.URL, first.URL) {
		return http.ErrUseLastResponse
	}
	return nil
}

func sameHost(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }
