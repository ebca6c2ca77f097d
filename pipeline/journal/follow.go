package journal

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/sys/unix"

	"github.com/llm-tracer/tracer/schema"
)

// Follower reads a journal while its run is writing it, without the lock.
type Follower struct {
	Header *Header

	j      *Journal
	replay Replay
	rows   *Rows
}

// Follow opens the journal of a run in progress, to be read from its beginning.
func Follow(path string) (*Follower, error) {
	file, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	j := &Journal{path: path, file: file, mem: memory.DefaultAllocator}
	if j.dec, err = newDecoder(); err == nil {
		err = j.readHeader()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	replay, err := j.Replay()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Follower{Header: j.Header, j: j, replay: *replay, rows: j.Rows()}, nil
}

// Next gives the next frame, and what readings it holds, in the memory of those before; io.EOF where there is no more yet.
func (f *Follower) Next(into []schema.Reading) (Event, []schema.Reading, error) {
	at := f.replay.at
	k, err := f.replay.read()
	var e Event
	if err == nil {
		e, err = f.replay.event(k)
	}
	if errors.Is(err, errTorn) { // perhaps it is being written
		f.replay.at, err = at, io.EOF
	}
	if err != nil || k != kindReadings {
		return e, into[:0], err
	}
	f.rows.payload = f.replay.payload
	rows, err := f.rows.rows(into)
	return e, rows, err
}

// Left says that the run no longer writes its journal: it has ended, or has broken off.
func (f *Follower) Left() bool {
	file, err := os.Open(f.j.path)
	if err != nil {
		return true // published, and so removed
	}
	defer file.Close() //nolint:errcheck // gives the lock up, too
	return unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil
}

// Close ends it.
func (f *Follower) Close() error {
	f.j.dec.Close()
	return f.j.file.Close()
}
