// Package remote reads boards that are in another host.
//
// A Host copies this program there over the system's ssh, starts it as an agent and listens to it over ssh's stdin and stdout.
// The agent is two processes. A relay, the child of ssh's server, carries bytes between it and a socket, and dies with the
// connection. A keeper, which outlives connections, owns the boards: it runs a sampler of its own, whose readings go to a log in
// a folder under /tmp, and from there to whoever is attached, from the first on that this one does not have. So nothing is lost
// and nothing doubled however often the link is cut, and there is a gap only where nothing was read. A keeper that nobody
// speaks to for longer than the patience it was told removes its folder and ends.
//
// Readings carry the other host's CLOCK_MONOTONIC. Round trips over the same connection tell what that is here
// (remote/clocks), and each reading says by how much it may be off. Until the round trip after it is in, a reading waits.
package remote

import (
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// Queue is between the sampler, which never waits, and the log.
type Queue interface {
	sampler.Sink
	Pop(into []schema.Reading) int
}

// Log keeps the readings of one sampling on the host's disk.
type Log interface {
	Append(rows []schema.Reading) error
	// Rows begins with the first reading.
	Rows() Cursor
	Remove() error
}

// Cursor reads a log. Next gives the next batch, in the memory of the one before; none where there is no more for now.
type Cursor interface {
	Next(into []schema.Reading) ([]schema.Reading, error)
}

// Encoder writes one Arrow IPC stream, a message at a time; what it returns is valid until the next.
type Encoder interface {
	Encode(rows []schema.Reading) ([]byte, error)
}

// Decoder reads such a stream.
type Decoder interface {
	Decode(payload []byte, into []schema.Reading) ([]schema.Reading, error)
}

// Boards are the agent's own.
type Boards struct {
	Devices []sampler.Device
	Close   func()
}
