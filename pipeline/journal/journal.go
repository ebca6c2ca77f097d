// Package journal keeps a run on disk from its first reading on: what the boards said and what was asked is appended to
// one file before anything is made of it, so that a process that is killed, or a machine that loses its power, loses the
// last second. The pipeline derives its Parquet parts from the journal alone, in a live run and in a recovery alike.
//
// A journal is a line that names the format, then frames:
//
//	length uint32 | CRC-32C uint32, of length, kind and payload | kind byte | payload, zstd
//
// all little-endian. What each kind holds is said in records.go. The readings' payloads, each without its first 24 bytes,
// make one Arrow IPC stream when they are put together.
//
// The file is locked (flock) by whoever writes or recovers it; the kernel gives the lock up with the process, so that a
// journal that can be locked belongs to nobody any more.
package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// What callers decide on.
var (
	ErrExists  = errors.New("the journal exists")
	ErrLive    = errors.New("another process is writing or recovering the journal")
	ErrNoLocks = errors.New("the filesystem knows no locks")
	ErrNothing = errors.New("it begins as no journal of this version of tracer does")
)

const suffix = ".journal"

// Path is where the journal of the run of this name stands in a dataset.
func Path(root, name string) string { return filepath.Join(root, "_tracer", "journal", name+suffix) }

// Names lists the runs that have a journal in a dataset, sorted.
func Names(root string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(Path(root, "")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, store.NoFolder(root, fmt.Errorf("listing journals: %w", err))
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && e.Type().IsRegular() {
			names = append(names, name)
		}
	}
	return names, nil
}

// Run is a journal that was found in a dataset.
type Run struct {
	Name   string // <run_id>-<host>
	Header Header // empty where it cannot be read
	Err    error  // why it cannot be recovered: ErrLive, ErrNoLocks, or that its header is broken
}

// List finds the journals in a dataset and says which of them a process has left.
func List(root string) ([]Run, error) {
	names, err := Names(root)
	if err != nil {
		return nil, err
	}
	var found []Run
	for _, name := range names {
		j, err := Open(Path(root, name), memory.DefaultAllocator, false)
		if errors.Is(err, fs.ErrNotExist) {
			continue // recovered meanwhile
		}
		r := Run{Name: name, Err: err}
		if err == nil {
			r.Header = *j.Header
			err = j.Close()
		} else {
			r.Header, err = Peek(root, name), nil
		}
		if err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	return found, nil
}

// openRegular opens a file, and not a pipe, which would wait for its other end.
func openRegular(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	is, err := f.Stat()
	if err == nil && !is.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Peek reads the header of a journal that somebody else may be writing; it is empty where that cannot be.
func Peek(root, name string) (h Header) {
	path := Path(root, name)
	f, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return h
	}
	defer f.Close() //nolint:errcheck // read only
	j := &Journal{path: path, file: f}
	if j.dec, err = newDecoder(); err == nil && j.readHeader() == nil {
		h = *j.Header
	}
	return h
}

// Journal is one run's file, open and locked.
type Journal struct {
	Header *Header
	// Unlocked says that the filesystem knows no locks: others cannot see that the journal is in use.
	Unlocked bool

	path string
	file *os.File
	size int64 // of what is whole: the next frame goes there
	mem  memory.Allocator
	enc  *zstd.Encoder
	dec  *zstd.Decoder

	frame    []byte // scratch
	encoding *Encoder
	damaged  map[int64]int64 // what a replay found so and went past: to where, by where it begins
}

// passed notes damage for those who follow the replay.
func (j *Journal) passed(from, to int64) {
	if j.damaged == nil {
		j.damaged = map[int64]int64{}
	}
	j.damaged[from] = to
}

// Create begins the journal of a run: it appears under its name with the header in it, or not at all. It is ErrExists
// where there is one of that name.
func Create(path string, h *Header, mem memory.Allocator) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the journal's folder: %w", err)
	}
	const unnamed = ".*.new"
	left, _ := filepath.Glob(path + unnamed) // by a process that was killed here; the pattern is sound
	for _, dead := range left {
		_ = os.Remove(dead) // it disturbs nobody
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+unnamed) // mode 0600
	if err != nil {
		return nil, fmt.Errorf("creating the journal: %w", err)
	}
	j, err := begin(f, path, h, mem)
	if err == nil {
		err = store.Move(f.Name(), path)
	}
	if errors.Is(err, fs.ErrExist) {
		err = ErrExists
	}
	if err != nil {
		_ = os.Remove(f.Name())
		_ = f.Close()
		return nil, err
	}
	return j, nil
}

func begin(f *os.File, path string, h *Header, mem memory.Allocator) (*Journal, error) {
	j, err := newJournal(f, path, mem)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt([]byte(magic), 0); err != nil {
		return nil, fmt.Errorf("writing the journal: %w", err)
	}
	named := *h
	named.Columns = columnsSum
	j.size, j.Header = int64(len(magic)), &named
	if err := j.appendJSON(kindHeader, j.Header); err != nil {
		return nil, err
	}
	return j, j.Sync()
}

// Open locks the journal that a run has left and reads its header. It is ErrLive while a process uses it, fs.ErrNotExist
// where there is none, and ErrNoLocks where the filesystem cannot tell, unless unlocked allows that.
func Open(path string, mem memory.Allocator, unlocked bool) (*Journal, error) {
	f, err := openRegular(path, os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	j, err := newJournal(f, path, mem)
	if err == nil && j.Unlocked && !unlocked {
		err = ErrNoLocks
	}
	if err == nil && j.gone() {
		err = fmt.Errorf("opening the journal: %w: another process has just recovered it", fs.ErrNotExist)
	}
	if err == nil {
		err = j.readHeader()
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return j, nil
}

func newJournal(f *os.File, path string, mem memory.Allocator) (*Journal, error) {
	j := &Journal{path: path, file: f, mem: mem}
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, ErrLive
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		j.Unlocked = true
	case err != nil:
		return nil, fmt.Errorf("locking the journal: %w", err)
	}
	if j.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)); err != nil {
		return nil, err
	}
	j.dec, err = newDecoder()
	return j, err
}

func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(largestPayload))
}

// gone says that the file was removed between its opening and its locking.
func (j *Journal) gone() bool {
	have, err := j.file.Stat()
	if err != nil {
		return true
	}
	there, err := os.Stat(j.path)
	return err != nil || !os.SameFile(have, there)
}

// Readings appends a batch. Looked is the instant before which every opening that was announced is in the journal already:
// no request that a later frame opens began before it.
func (j *Journal) Readings(look Look, rows []schema.Reading) error {
	if j.encoding == nil {
		j.encoding = NewEncoder(j.mem)
	}
	first := j.encoding.out.Len() == 0
	payload, err := j.encoding.frame(look, rows)
	if err == nil {
		err = j.append(kindReadings, payload)
	}
	if err != nil && first {
		j.encoding = nil // the stream's schema was not written either
	}
	return err
}

// Opened appends that a worker is about to send a request, and what is known of it.
func (j *Journal) Opened(worker int, openNS int64, s *schema.Span) error {
	return j.appendJSON(kindOpened, opened{worker, openNS, kept(s)})
}

// Answering appends that a worker's request has its first token: for who follows the run, since its span says so, too.
func (j *Journal) Answering(worker int, firstTokenNS int64) error {
	return j.appendJSON(kindAnswering, answering{worker, firstTokenNS})
}

// Closed appends a worker's finished request.
func (j *Journal) Closed(worker int, s *schema.Span) error {
	return j.appendJSON(kindClosed, closed{worker, kept(s)})
}

// kept is a request without its prompt's text, which stands in the corpus, and the server's message, which is for the
// screen.
func kept(s *schema.Span) *schema.Span {
	if s == nil {
		return nil
	}
	span, prompt := *s, *s.Prompt
	prompt.Text = ""
	span.Prompt, span.ErrorMessage = &prompt, ""
	return &span
}

// End appends how the run ended. Nothing may follow it.
func (j *Journal) End(run *schema.Run, sampling []schema.Sampling) error {
	return j.appendJSON(kindEnd, End{*run, sampling})
}

// Size is how long the journal is, without what an append that failed may have left behind it.
func (j *Journal) Size() int64 { return j.size }

// Sync makes what was appended survive a power cut. It may run beside an append.
func (j *Journal) Sync() error {
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("syncing the journal: %w", err)
	}
	return nil
}

// Close gives the journal up, and leaves the file for a recovery.
func (j *Journal) Close() error { return j.file.Close() }

// Remove deletes the journal of a run that is published.
func (j *Journal) Remove() error {
	if err := os.Remove(j.path); err != nil {
		return fmt.Errorf("removing the journal: %w", err)
	}
	return errors.Join(store.SyncDir(filepath.Dir(j.path)), j.file.Close())
}

// SetAside renames a journal that holds more than could be read.
func (j *Journal) SetAside() (path string, err error) {
	path = j.path + ".damaged"
	if err := os.Rename(j.path, path); err != nil {
		return "", fmt.Errorf("setting the journal aside: %w", err)
	}
	return path, errors.Join(store.SyncDir(filepath.Dir(j.path)), j.file.Close())
}
