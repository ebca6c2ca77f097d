package author

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Passage is one stored answer.
type Passage struct {
	Key       string `json:"key"` // hash of the question
	Model     string `json:"model"`
	Text      string `json:"text"`
	CreatedMS int64  `json:"created_unix_ms"`
	Input     int32  `json:"input_tokens"`
	Output    int32  `json:"output_tokens"`
	Repeated  bool   `json:"repeated,omitempty"` // another question got the same answer before
}

// Store keeps answers in a file of JSON lines that only grows. An answer is there once add has returned: the file is
// synced. A line that was being written when the machine or the process died is dropped by the next Open.
type Store struct {
	mu       sync.Mutex
	file     *os.File
	passages map[string]Passage
	texts    map[string]bool // by hash
	failed   error           // a line may be torn: nothing is added after it
}

// Open reads a store, or makes one. Only one process has it at a time.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("opening the store of answers: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the store of answers: %w", err)
	}
	s := &Store{file: f, passages: map[string]Passage{}, texts: map[string]bool{}}
	if err := s.read(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (s *Store) read(path string) error {
	if err := unix.Flock(int(s.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("locking %s: %w; another tracer is writing prompts there, let it finish", path, err)
	}
	data, err := io.ReadAll(s.file)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	whole, err := s.parse(path, data)
	if err == nil && whole < len(data) {
		if err = s.file.Truncate(int64(whole)); err != nil {
			err = fmt.Errorf("mending %s: %w", path, err)
		}
	}
	return err
}

// Peek reads what a store holds now, whoever writes it, and leaves the file alone. Nothing can be added to the result; it
// is empty where there is no file.
func Peek(path string) (*Store, error) {
	s := &Store{passages: map[string]Passage{}, texts: map[string]bool{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the store of answers: %w", err)
	}
	_, err = s.parse(path, data)
	return s, err
}

// parse keeps the answers of all whole lines, and says how many bytes those are.
func (s *Store) parse(path string, data []byte) (whole int, err error) {
	whole = bytes.LastIndexByte(data, '\n') + 1
	number := 0
	for line := range bytes.Lines(data[:whole]) {
		number++
		var p Passage
		if err := json.Unmarshal(line, &p); err != nil || p.Key == "" || p.Text == "" {
			return whole, fmt.Errorf("%s:%d: no stored answer; remove that line to have it asked for again", path, number)
		}
		s.keep(p)
	}
	return whole, nil
}

func (s *Store) keep(p Passage) {
	s.passages[p.Key] = p
	s.texts[hashOf(p.Text)] = true
}

// Len is how many answers there are.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.passages)
}

func (s *Store) find(key string) (Passage, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, found := s.passages[key]
	return p, found
}

// add stores an answer for good, and marks one that is there already under another question.
func (s *Store) add(p Passage) (Passage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return p, s.failed
	}
	p.Repeated = s.texts[hashOf(p.Text)]
	line, err := json.Marshal(p)
	if err == nil {
		_, err = s.file.Write(append(line, '\n'))
	}
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		s.failed = fmt.Errorf("storing an answer: %w", err)
		return p, s.failed
	}
	s.keep(p)
	return p, nil
}

// Close releases the file.
func (s *Store) Close() error { return s.file.Close() }

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:12])
}
