package nebula

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// Config is one model on one server. Only Endpoint, Profile and Model are needed.
type Config struct {
	Endpoint string // http://host:port, with or without /v1 or /api
	Key      Key
	Profile  Profile
	Model    string

	Temperature   float64           // 0, greedy, makes runs comparable
	Seed          schema.Opt[int64] // sent where it is given
	ContextTokens int32             // num_ctx for Open WebUI, see ContextFor; default 32,768
	MaxContext    int32             // of the model where known: a prompt counted as exactly so long was cut
	// Template is what the chat template adds to a text, in tokens, where texts are counted by the model's own tokenizer:
	// every answer is then held against the sum.
	Template schema.Opt[int32]
	// Reopen makes a text begin as no other, where nothing else keeps it out of the prefix cache: it gives the text to
	// send, what it now begins with, and how many tokens were added. Without it texts are sent as they are.
	Reopen func(text string) (sent, opening string, added int)

	Idle     time.Duration // silence after which a request is given up; default 120 s
	Deadline time.Duration // for a whole request; default none
	Tries    int           // for one prompt on an overloaded server; default 5
	MaxWait  time.Duration // the longest wait between two tries, whatever the server asks; default 5 min

	MaxLineBytes  int // default 1 MiB
	MaxTotalBytes int // default 64 MiB

	Dial Dial        // default net.Dialer
	TLS  *tls.Config // of https; default the system's CAs and no client certificate
}

// Format prints the configuration without the key and without the endpoint's user and query, whatever the verb.
func (c Config) Format(f fmt.State, _ rune) {
	shown := "[no endpoint]"
	if e, err := parseEndpoint(c.Endpoint); err == nil {
		shown = e.shown(e.under(c.Profile))
	}
	fmt.Fprintf(f, "{%s %s %q key %v}", shown, c.Profile.Name, c.Model, c.Key)
}

// MarshalText is what Format prints, for JSON.
func (c Config) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%v", c), nil }

func (c *Config) fill() error {
	if c.Model == "" {
		return errors.New("making the client: no model named; give the name under which the server lists it")
	}
	if c.Profile.Name == "" {
		return errors.New("making the client: no server profile; take one from Detect or ProfileByName")
	}
	if c.MaxLineBytes < 0 || c.MaxTotalBytes < 0 || c.MaxTotalBytes > 1<<30 {
		return errors.New("making the client: bounds of the answer must lie between 0 (the default) and 1 GiB")
	}
	setDefault(&c.ContextTokens, maxNebulaContext)
	setDefault(&c.Idle, 120*time.Second)
	setDefault(&c.Tries, 5)
	setDefault(&c.MaxWait, 5*time.Minute)
	setDefault(&c.MaxLineBytes, 1<<20)
	setDefault(&c.MaxTotalBytes, 64<<20)
	return nil
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Client asks one model on one server. Its methods may be called concurrently.
type Client struct {
	cfg       Config
	endpoint  endpoint
	base      string
	shown     string
	http      *http.Client
	transport *http.Transport
	censor    censor
	dressed   atomic.Int32 // dress: what the server was found to accept

	recordings sync.Pool
}

// New makes a client; it connects to nothing yet.
func New(cfg Config) (*Client, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	e, err := parseEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	transport := newTransport(cfg.Dial, cfg.TLS)
	base := e.under(cfg.Profile)
	return &Client{
		cfg: cfg, endpoint: e, base: base, shown: e.shown(base),
		http:       &http.Client{Transport: transport, CheckRedirect: sameServer},
		transport:  transport,
		censor:     newCensor(e.secrets(cfg.Key)),
		recordings: sync.Pool{New: func() any { return new(recording) }},
	}, nil
}

// MarshalText is the client's configuration.
func (c *Client) MarshalText() ([]byte, error) { return c.cfg.MarshalText() }

// Endpoint is the server's URL without credentials.
func (c *Client) Endpoint() string { return c.shown }

// Format prints the client as its configuration.
func (c *Client) Format(f fmt.State, verb rune) { c.cfg.Format(f, verb) }

// keepRecording returns a recording's buffers for the next request, unless they grew beyond the usual.
func (c *Client) keepRecording(r *recording) {
	if cap(r.bytes) <= 4<<20 {
		c.recordings.Put(r)
	}
}
