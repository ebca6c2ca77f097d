package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler/remote/clocks"
)

// pushEvery is how often readings that found the ring full are offered again.
const pushEvery = 20 * time.Millisecond

// converse speaks with the agent until the connection ends, or, without an error, the agent was told to end. heardNS is
// when it was last heard.
func (h *Host) converse(ctx context.Context, a *attached, heardNS *int64) error {
	messages, failed := make(chan message), make(chan error, 1)
	over := make(chan struct{})
	var reader conc.WaitGroup
	reader.Go(func() {
		for {
			m, err := read(a.out, clock.Now)
			if err != nil {
				failed <- err
				return
			}
			select {
			case messages <- m:
			case <-over:
				return
			}
		}
	})
	defer reader.Wait()
	defer a.close() // ends the read under way
	defer close(over)
	pings, pushes := time.NewTicker(pingEvery), time.NewTicker(pushEvery)
	defer pings.Stop()
	defer pushes.Stop()
	sent := &said{}
	if err := h.fulfil(a, sent); err != nil {
		return err
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err = <-failed:
			return fmt.Errorf("%w%s", err, lastWords(a.link))
		case m := <-messages:
			*heardNS = m.atNS
			err = h.hear(a, m)
		case <-pings.C:
			if silent := time.Duration(clock.Now() - *heardNS); silent > deadAfter {
				return fmt.Errorf("nothing was heard for %.0f s", silent.Seconds())
			}
			err = write(a.in, numbers(kindPing, clock.Now()))
		case <-pushes.C:
		case <-h.wake:
		}
		if err == nil {
			h.push(false)
			err = h.fulfil(a, sent)
		}
		if errors.Is(err, errLeft) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func lastWords(l *link) string {
	if said := l.words.String(); said != "" {
		return ": " + said
	}
	return ""
}

// said is what was asked of the agent on this connection.
type said struct {
	ended int // the sampling that it was told to end
	acked map[int]int64
}

var errLeft = errors.New("the agent was told to end")

// fulfil asks the agent for what is wanted and was not asked for yet.
func (h *Host) fulfil(a *attached, sent *said) error {
	h.mu.Lock()
	r, bye := h.run, h.bye
	h.mu.Unlock()
	h.at = r
	if r == nil {
		if !bye {
			return nil
		}
		h.left = write(a.in, message{kind: kindBye}) == nil
		if h.left {
			h.awaitEnd(a)
		}
		return errLeft
	}
	p := r.last()
	switch {
	case p == nil, p.lost && !r.ending.Load():
		h.next++
		p = r.begin(h.next)
		a.hello.Runs = append(a.hello.Runs, p.number)
		return write(a.in, words(kindStart, start{Run: p.number, Plan: r.plan, Budget: r.budget}))
	case p.finished == nil && !slices.Contains(a.hello.Runs, p.number):
		p.loseRest() // the agent that took them is gone, and what it kept
		return h.fulfil(a, sent)
	case r.ending.Load() && p.finished == nil && sent.ended != p.number:
		sent.ended = p.number
		return write(a.in, words(kindEnd, runOf{p.number}))
	}
	return h.acknowledge(a, r, sent)
}

// acknowledge tells what has arrived, so that the agent can forget it.
func (h *Host) acknowledge(a *attached, r *run, sent *said) error {
	news := have{}
	for _, p := range r.parts {
		if sent.acked[p.number] < p.have || p.complete() && !p.told {
			news[p.number] = p.have
		}
	}
	if len(news) == 0 {
		return nil
	}
	if sent.acked == nil {
		sent.acked = map[int]int64{}
	}
	for _, p := range r.parts {
		if n, ok := news[p.number]; ok {
			sent.acked[p.number], p.told = n, p.complete()
		}
	}
	return write(a.in, words(kindAck, news))
}

// awaitEnd listens until the agent has closed the connection, which it does when it has cleaned up.
func (h *Host) awaitEnd(a *attached) {
	timer := time.AfterFunc(deadAfter, a.kill)
	defer timer.Stop()
	_ = a.in.Close()
	_ = a.cmd.Wait() // how it ended tells nothing more
}

// hear takes a message.
func (h *Host) hear(a *attached, m message) error {
	switch m.kind {
	case kindPong:
		var sent, stamped, written int64
		if _, err := m.numbers(&sent, &stamped, &written); err != nil {
			return err
		}
		h.clock.Add(clocks.Trip{SentNS: sent, RemoteNS: stamped, BackNS: m.atNS - (written - stamped)})
		if h.at != nil && h.at.arrived() {
			h.clock.Mark()
		}
		return nil
	case kindReadings:
		return h.take(a, m)
	case kindFinished:
		var f finished
		if err := m.into(&f); err != nil {
			return err
		}
		if p := h.part(f.Run); p != nil {
			p.finish(&f)
		}
		return nil
	case kindBroken:
		var b broken
		if err := m.into(&b); err != nil {
			return err
		}
		return &BrokenError{b.Error, b.Usage}
	default:
		return fmt.Errorf("the agent says something unknown: %q", m.kind)
	}
}
