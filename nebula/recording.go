package nebula

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/llm-tracer/tracer/internal/clock"
)

var errTooLarge = errors.New("answer too large")

// recording is a response body as it came: its bytes, and for each line the instant at which the read that completed it
// returned. Lines that arrived together share their instant. Nothing is decoded and, once the buffers have grown, nothing
// allocated while the stream runs.
type recording struct {
	maxLine  int
	maxTotal int
	maxLines int

	bytes    []byte
	lines    []recordedLine
	lineAt   int              // where the unfinished line begins
	endNS    int64            // the last line's arrival, or the end of the stream
	finished bool             // [DONE] was seen
	heard    func(atNS int64) // is told of the first token while the answer goes on; nil once it was, or where nobody asks
}

// soon is within how many lines of an answer its first token is looked for while it goes on.
const soon = 64

// listenForToken tells of the first token. Until then nothing else is waited for, so that decoding delays no stamp.
func (r *recording) listenForToken() {
	if r.heard == nil {
		return
	}
	events, _ := r.events()
	a := decode(events, false)
	if len(a.tokensNS) > 0 {
		r.heard(a.tokensNS[0])
	}
	if len(a.tokensNS) > 0 || len(r.lines) > soon {
		r.heard = nil
	}
}

// recordedLine is one line without its line break.
type recordedLine struct {
	from, to  int32 // the recording is bounded far below 2 GiB
	arrivedNS int64
}

// arrivals is told of every read that brought bytes.
type arrivals interface{ touch(atNS int64) }

// reset makes the recording empty and keeps its buffers.
func (r *recording) reset(maxLine, maxTotal, maxLines int) {
	*r = recording{maxLine: maxLine, maxTotal: maxTotal, maxLines: maxLines, bytes: r.bytes[:0], lines: r.lines[:0]}
}

// read records body until [DONE], the end of the stream or a bound. It returns nil for the first two.
func (r *recording) read(body io.Reader, seen arrivals) error {
	for {
		r.grow()
		n, err := body.Read(r.bytes[len(r.bytes):cap(r.bytes)])
		r.endNS = clock.Now()
		if n > 0 {
			seen.touch(r.endNS)
			if tooLarge := r.take(n); tooLarge != nil || r.finished {
				return tooLarge
			}
			r.listenForToken()
		}
		switch {
		case errors.Is(err, io.EOF):
			r.finishLastLine()
			return nil
		case err != nil:
			return err
		}
	}
}

// grow makes room for the next read, doubling, up to one byte more than is allowed in total.
func (r *recording) grow() {
	if len(r.bytes) < cap(r.bytes) {
		return
	}
	size := max(32<<10, 2*cap(r.bytes))
	bigger := make([]byte, len(r.bytes), min(size, r.maxTotal+1))
	copy(bigger, r.bytes)
	r.bytes = bigger
}

// take splits the n bytes just read into lines.
func (r *recording) take(n int) error {
	at := len(r.bytes)
	r.bytes = r.bytes[:at+n]
	for !r.finished {
		i := bytes.IndexByte(r.bytes[at:], '\n')
		if i < 0 {
			break
		}
		r.line(at + i)
		at += i + 1
		r.lineAt = at
		if r.longest() {
			return fmt.Errorf("%w: a line of over %d bytes", errTooLarge, r.maxLine)
		}
		if len(r.lines) > r.maxLines && !r.finished {
			return fmt.Errorf("%w: over %d lines", errTooLarge, r.maxLines)
		}
	}
	if len(r.bytes)-r.lineAt > r.maxLine && !r.finished {
		return fmt.Errorf("%w: a line of over %d bytes", errTooLarge, r.maxLine)
	}
	if len(r.bytes) > r.maxTotal && !r.finished {
		return fmt.Errorf("%w: over %d bytes", errTooLarge, r.maxTotal)
	}
	return nil
}

func (r *recording) longest() bool {
	last := r.lines[len(r.lines)-1]
	return int(last.to-last.from) > r.maxLine
}

var (
	dataField = []byte("data:")
	doneWord  = []byte("[DONE]")
)

func (r *recording) line(end int) {
	text := r.bytes[r.lineAt:end]
	r.lines = append(r.lines, recordedLine{from: int32(r.lineAt), to: int32(end), arrivedNS: r.endNS})
	if rest, found := bytes.CutPrefix(text, dataField); found && bytes.Equal(bytes.TrimSpace(rest), doneWord) {
		r.finished = true
	}
}

// finishLastLine keeps a last line that ends with the stream instead of a line break. It may be whole, a final [DONE]
// most often.
func (r *recording) finishLastLine() {
	if r.lineAt < len(r.bytes) {
		r.line(len(r.bytes))
		r.lineAt = len(r.bytes)
	}
}

func (r *recording) text(l recordedLine) []byte { return r.bytes[l.from:l.to] }
