package remote

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// protocol is raised with every change of what is said here. Both ends are the same program, so that it only ever differs
// where somebody mixed them up.
const protocol = 1

// kind says what a message is. Lower case goes to the host, upper case comes from it.
type kind byte

const (
	kindAttach kind = 'a' // JSON attach
	kindStart  kind = 's' // JSON start
	kindEnd    kind = 'e' // JSON runOf: stop sampling
	kindAck    kind = 'k' // JSON have: these need not be sent again
	kindPing   kind = 'p' // sent_ns
	kindBye    kind = 'b' // nothing: clean up and end

	kindHello    kind = 'H' // JSON hello
	kindPong     kind = 'Q' // sent_ns, stamped_ns, written_ns
	kindReadings kind = 'R' // run, first, then a message of this connection's Arrow IPC stream
	kindFinished kind = 'F' // JSON finished
	kindBroken   kind = 'X' // JSON broken
)

// largestMessage bounds what a length can ask for: 4,096 readings take 0.6 MB.
const largestMessage = 16 << 20

// attach begins a connection.
type attach struct {
	Protocol int           `json:"protocol"`
	Boards   string        `json:"boards"`   // as --gpu names them
	Library  string        `json:"library"`  // of NVML; empty for the loader's
	Driver   time.Duration `json:"driver"`   // patience with one call
	Patience time.Duration `json:"patience"` // without anyone attached
	Have     have          `json:"have"`
}

// have is how many readings of each sampling have arrived.
type have map[int]int64

type start struct {
	Run    int          `json:"run"`
	Plan   sampler.Plan `json:"plan"`
	Budget float64      `json:"budget"` // 0: calls are only watched
}

type runOf struct {
	Run int `json:"run"`
}

// Facts are what a host says of itself.
type Facts struct {
	Host    string         `json:"host"`
	Version string         `json:"version"`
	Kernel  string         `json:"kernel"`
	CPU     string         `json:"cpu"`
	Boot    string         `json:"boot"` // another after each boot, and with it another clock
	Boards  []schema.Board `json:"boards"`
}

type hello struct {
	Facts

	Protocol int   `json:"protocol"`
	Runs     []int `json:"runs"` // of which there are readings, or will be
}

// finished ends a sampling.
type finished struct {
	Run      int           `json:"run"`
	Readings int64         `json:"readings"` // in all
	Stats    sampler.Stats `json:"stats"`
	Errors   []string      `json:"errors"` // of the boards, the last of each
	Lost     string        `json:"lost"`   // why it ended by itself
	Dead     bool          `json:"dead"`   // the agent that took them is gone: of how it went, only the readings tell
}

// broken is why the host cannot do what it is asked.
type broken struct {
	Error string `json:"error"`
	Usage bool   `json:"usage"` // what was asked for is not there
}

type message struct {
	kind    kind
	payload []byte
	atNS    int64 // when it was there whole
}

func (m message) into(v any) error {
	if err := json.Unmarshal(m.payload, v); err != nil {
		return fmt.Errorf("a message that cannot be read: %c: %w", m.kind, err)
	}
	return nil
}

func words(k kind, v any) message {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // all of them can be
	}
	return message{kind: k, payload: text}
}

func numbers(k kind, all ...int64) message {
	b := make([]byte, 0, 8*len(all))
	for _, n := range all {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return message{kind: k, payload: b}
}

var errShort = errors.New("a message is too short")

// numbers are the first of a payload, and what follows them.
func (m message) numbers(into ...*int64) (rest []byte, err error) {
	rest = m.payload
	for _, n := range into {
		if len(rest) < 8 {
			return nil, errShort
		}
		*n = int64(binary.LittleEndian.Uint64(rest))
		rest = rest[8:]
	}
	return rest, nil
}

func write(w io.Writer, m message) error {
	frame := make([]byte, 0, 5+len(m.payload))
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(m.payload)))
	frame = append(frame, byte(m.kind))
	_, err := w.Write(append(frame, m.payload...))
	return err
}

// read gives the next message, stamped when it was there.
func read(r *bufio.Reader, now func() int64) (m message, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return m, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > largestMessage {
		return m, fmt.Errorf("a message of %d bytes: something else than tracer speaks there", n)
	}
	m.kind, m.payload = kind(head[4]), make([]byte, n)
	_, err = io.ReadFull(r, m.payload)
	m.atNS = now()
	return m, err
}
