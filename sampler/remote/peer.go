package remote

import (
	"net"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
)

// mostWaiting is how many messages wait for a connection. Readings are not sent before there is room, so that what is left is for
// answers to pings, one every 0.2 s.
const mostWaiting = 64

// peer is one connection to the keeper. Messages leave by a goroutine of their own: a connection that is cut takes none for
// minutes.
type peer struct {
	conn    net.Conn
	out     chan message
	encoder Encoder // nil until it is attached
	closed  bool
}

func newPeer(conn net.Conn) *peer { return &peer{conn: conn, out: make(chan message, mostWaiting)} }

// room says whether readings may be sent.
func (p *peer) room() bool { return len(p.out) < mostWaiting/4 }

// send queues a message. Where nothing leaves any more it is given up with the connection.
func (p *peer) send(m message) {
	select {
	case p.out <- m:
	default:
		_ = p.conn.Close() // its reader tells
	}
}

// pong answers a ping; when it leaves is filled in then.
func (p *peer) pong(sentNS, atNS int64) { p.send(numbers(kindPong, sentNS, atNS, 0)) }

// write sends what is queued, until the peer is closed.
func (p *peer) write() {
	broken := false
	for m := range p.out {
		if broken {
			continue
		}
		if m.kind == kindPong {
			m = leaving(m)
		}
		broken = write(p.conn, m) != nil
	}
	_ = p.conn.Close()
}

func leaving(m message) message {
	var sent, at, none int64
	_, _ = m.numbers(&sent, &at, &none) // it is ours
	return numbers(kindPong, sent, at, clock.Now())
}

// close lets what is queued leave, if it can, and ends the connection.
func (p *peer) close() {
	if !p.closed {
		p.closed = true
		_ = p.conn.SetWriteDeadline(time.Now().Add(time.Second))
		close(p.out)
	}
}
