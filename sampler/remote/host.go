package remote

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler/remote/clocks"
	"github.com/llm-tracer/tracer/schema"
)

const (
	pingEvery = 200 * time.Millisecond
	// deadAfter is how long a connection may be silent, with a ping every 0.2 s, before another is made.
	deadAfter  = 5 * time.Second
	firstRetry = 500 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// ErrGone is a host that could not be reached for longer than the patience with it.
var ErrGone = errors.New("the host is gone")

// errOther is a host that is no longer the one it was.
var errOther = errors.New("the host has other boards than before")

// Config is how a host is reached.
type Config struct {
	Target

	SSH      []string      // the command, with its first arguments
	Version  string        // of this program
	Driver   time.Duration // patience with one call of the driver
	Patience time.Duration // without a connection
	Decoder  func() Decoder
	Say      func(string) // what the user is to know while it happens
}

// Host is another host whose boards are read. Its methods may be called from any goroutine; one sampling runs at a time.
type Host struct {
	Config

	program program
	session string
	facts   Facts
	uuids   []string // by the host's own word
	stop    context.CancelFunc
	owner   conc.WaitGroup // of the goroutine that speaks with the agent
	wake    chan struct{}
	left    bool // owner's: the agent was told to end

	mu     sync.Mutex
	run    *run // the sampling that is wanted; nil where none is
	bye    bool
	live   []Live
	closed error // why nobody speaks with the host any more

	// Of the owner.
	at    *run // the sampling that it works for
	clock clocks.Estimate
	next  int    // number of the last sampling that was begun
	boot  string // of the host, when last attached
}

// Open connects to a host, whose name its errors leave to the caller, copies this program there where it must, and has the agent open the boards.
func Open(ctx context.Context, c Config) (*Host, error) {
	p, err := thisProgram()
	if err != nil {
		return nil, err
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	h := &Host{Config: c, program: p, session: hex.EncodeToString(id[:]), wake: make(chan struct{}, 1)}
	own, stop := context.WithCancel(context.WithoutCancel(ctx)) // connections outlive the opening
	h.stop = stop
	opened := context.AfterFunc(ctx, stop)
	first, err := h.connect(own)
	if err == nil && !opened() {
		first.close()
		err = context.Cause(ctx)
	}
	if err != nil {
		stop()
		return nil, err
	}
	h.facts = first.hello.Facts
	for i := range h.facts.Boards {
		b := &h.facts.Boards[i]
		h.uuids = append(h.uuids, b.UUID)
		b.Host = h.facts.Host
		if b.Simulated { // the same everywhere
			sum := sha256.Sum256([]byte(c.Name + b.UUID))
			b.UUID = fmt.Sprintf("GPU-%x%s", sum[:4], b.UUID[min(len("GPU-01234567"), len(b.UUID)):])
		}
	}
	h.boot = h.facts.Boot
	h.live = make([]Live, len(h.facts.Boards))
	h.owner.Go(func() { h.speak(own, first) })
	return h, nil
}

// Facts are what the host says of itself, and its boards.
func (h *Host) Facts() Facts { return h.facts }

// Close has the agent remove all that it wrote but the program, and end. A host that cannot be reached now does so by itself when its
// patience is over, which is told.
func (h *Host) Close() {
	h.mu.Lock()
	h.bye = true
	h.mu.Unlock()
	h.nudge()
	timer := time.AfterFunc(deadAfter, h.stop)
	h.owner.Wait()
	timer.Stop()
	h.stop()
	if !h.left {
		h.Say(fmt.Sprintf("%s cannot be reached: its agent ends, and removes what it wrote, when it has heard nothing for %v", h.Name, h.Patience))
	}
}

// nudge has the owner look at what is wanted.
func (h *Host) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// attached is a connection on which the agent has said hello.
type attached struct {
	*link
	hello   hello
	decoder Decoder
}

// connect makes a connection and waits for the agent's boards.
func (h *Host) connect(ctx context.Context) (*attached, error) {
	l, err := h.dial(ctx, h.SSH, h.program, h.session, func(what string) { h.Say(h.Name + ": " + what) })
	if err != nil {
		return nil, err
	}
	a := &attached{link: l, decoder: h.Decoder()}
	// The agent may have to load the driver; it gives up by itself after three times its patience.
	quiet := time.AfterFunc(answerWithin+3*h.Driver, l.kill)
	defer quiet.Stop()
	if err := h.greet(a); err != nil {
		late := l.killed.Load()
		l.close()
		if b, ok := errors.AsType[*BrokenError](err); ok {
			return nil, b
		}
		return nil, l.explain(ctx, err, late)
	}
	return a, nil
}

// BrokenError is what the agent cannot do.
type BrokenError struct {
	Message string
	Usage   bool // the boards that were asked for are not there
}

func (e *BrokenError) Error() string { return e.Message }

func (h *Host) greet(a *attached) error {
	ask := attach{Protocol: protocol, Boards: h.Boards, Library: h.Library, Driver: h.Driver, Patience: h.Patience, Have: h.has()}
	if err := write(a.in, words(kindAttach, ask)); err != nil {
		return err
	}
	m, err := read(a.out, clock.Now)
	if err != nil {
		return err
	}
	switch m.kind {
	case kindBroken:
		var b broken
		if err := m.into(&b); err != nil {
			return err
		}
		return &BrokenError{b.Error, b.Usage}
	case kindHello:
	default:
		return fmt.Errorf("the agent begins with %q", m.kind)
	}
	if err := m.into(&a.hello); err != nil {
		return err
	}
	switch {
	case a.hello.Protocol != protocol || a.hello.Version != h.Version:
		return &BrokenError{Message: fmt.Sprintf("the agent there is tracer %s, and this is %s", a.hello.Version, h.Version)}
	case h.uuids != nil && !slices.EqualFunc(a.hello.Boards, h.uuids, func(b schema.Board, uuid string) bool { return b.UUID == uuid }):
		return errOther
	}
	return nil
}

// has is what has arrived of the sampling under way.
func (h *Host) has() have {
	all := have{}
	if h.at != nil {
		for _, p := range h.at.parts {
			all[p.number] = p.have
		}
	}
	return all
}

// speak listens to the agent, and connects again whenever that ends, until it is told not to or loses its patience.
func (h *Host) speak(ctx context.Context, a *attached) {
	for {
		heard := clock.Now()
		err := h.converse(ctx, a, &heard)
		a.close()
		if err == nil || ctx.Err() != nil {
			h.lose(context.Cause(ctx))
			return
		}
		h.Say(fmt.Sprintf("%s: the connection is lost (%v); its agent goes on and keeps the readings", h.Name, err))
		if a, err = h.reconnect(ctx, heard); err != nil {
			h.lose(err)
			return
		}
		h.Say(fmt.Sprintf("%s: connected again after %.1f s", h.Name, float64(clock.Now()-heard)/1e9))
		if a.hello.Boot != h.boot {
			h.Say(h.Name + ": the host was booted meanwhile")
			h.rebooted(a.hello.Boot)
		}
	}
}

// reconnect tries until the patience is over.
func (h *Host) reconnect(ctx context.Context, sinceNS int64) (*attached, error) {
	pause := firstRetry
	for {
		a, err := h.connect(ctx)
		if err == nil {
			return a, nil
		}
		switch left := h.Patience - time.Duration(clock.Now()-sinceNS); {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, errOther):
			return nil, err
		case left <= 0:
			return nil, fmt.Errorf("%w: not reached for %v: %w", ErrGone, h.Patience, err)
		default:
			pause = min(2*pause, lastRetry, left+firstRetry)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-h.leaving():
		}
		timer.Stop()
		if h.leave() {
			return nil, errors.New("not reached when the run ended")
		}
	}
}

// leaving wakes whoever waits for a connection when something else is wanted.
func (h *Host) leaving() <-chan struct{} { return h.wake }

func (h *Host) leave() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bye
}

// lose ends the sampling of a host that nobody speaks with any more.
func (h *Host) lose(err error) {
	h.mu.Lock()
	r := h.run
	h.closed = err
	h.mu.Unlock()
	h.at = r
	if r != nil {
		h.giveUp(r, err)
	}
}
