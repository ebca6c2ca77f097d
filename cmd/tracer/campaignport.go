package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"syscall"

	"github.com/llm-tracer/tracer/internal/campaign"
)

// portFor is the model on the port that its server is to have: a free one, or the endpoint's own, on which nobody else may be. Two
// campaigns on one host that start servers on one port would else both be content with the one that came first.
func (r *campaigning) portFor(ctx context.Context, m *campaign.Model) (on *campaign.Model, release func(), err error) {
	if m.AnyPort() {
		port, err := freePort(ctx)
		return m.On(port), func() {}, err
	}
	for _, probe := range m.Probes() {
		u, err := url.Parse(probe)
		if err != nil {
			return nil, nil, err
		}
		if c, err := (&net.Dialer{Timeout: portPatience}).DialContext(ctx, "tcp", hostPort(u)); err == nil {
			_ = c.Close()
			return nil, nil, fmt.Errorf("something listens on %s before it is started; stop that, leave serve out, or put {port} into endpoint and command for a free port", hostPort(u))
		}
	}
	u, err := url.Parse(m.Endpoint)
	if err != nil {
		return nil, nil, err
	}
	// An abstract socket is seen by whoever sees the port, and goes with its process.
	claim, err := (&net.ListenConfig{}).Listen(ctx, "unix", "@tracer-serve-"+hostPort(u))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, nil, fmt.Errorf("another campaign on this host serves on %s; wait for it, or put {port} into endpoint and command for a free port", hostPort(u))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("claiming %s: %w", hostPort(u), err)
	}
	return m.On(0), func() { _ = claim.Close() }, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// freePort is one that nobody listens on now.
func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close() //nolint:errcheck // nobody has connected
	return l.Addr().(*net.TCPAddr).Port, nil
}
