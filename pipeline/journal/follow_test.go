package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/sys/unix"

	"github.com/llm-tracer/tracer/schema"
)

func TestAFollowerReadsWhatIsAppendedAndWaitsForTheRest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.journal")
	j, err := Create(path, &Header{Boards: make([]schema.Board, 1), Sampling: make([]schema.Sampling, 1), Workers: 1}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Follow(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	nothing := func() {
		t.Helper()
		if e, rows, err := f.Next(nil); !errors.Is(err, io.EOF) || len(rows) > 0 {
			t.Fatalf("got %v, %v, %v before anything was appended", e, rows, err)
		}
	}
	nothing()
	for i := range int64(3) {
		if err := errors.Join(j.Opened(0, i+1, nil), j.Readings(Look{NS: i}, []schema.Reading{{StartNS: i, PowerInstantW: schema.Some(float32(i))}})); err != nil {
			t.Fatal(err)
		}
		if e, _, err := f.Next(nil); err != nil || e.OpenNS != i+1 {
			t.Fatalf("got %v, %v, want the opening", e, err)
		}
		if _, rows, err := f.Next(nil); err != nil || len(rows) != 1 || rows[0].PowerInstantW != schema.Some(float32(i)) {
			t.Fatalf("got %v, %v, want the reading", rows, err)
		}
		nothing()
	}

	// Half of a frame is one that is being written.
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Opened(0, 99, nil); err != nil {
		t.Fatal(err)
	}
	appended, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(whole)+5)); err != nil {
		t.Fatal(err)
	}
	nothing()
	if err := os.WriteFile(path, appended, 0o600); err != nil {
		t.Fatal(err)
	}
	if e, _, err := f.Next(nil); err != nil || e.OpenNS != 99 {
		t.Errorf("got %v, %v, want the frame that is whole now", e, err)
	}

	if f.Left() {
		t.Error("the run is taken to have left its journal while it holds the lock")
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if !f.Left() {
		t.Error("the run has left its journal, and is taken to write it")
	}
}

func TestAPipeIsNoJournalAndIsNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	path := Path(dir, "pipe")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), unix.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if found, err := List(dir); err != nil || len(found) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
	_, err := Follow(path)
	if err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Error("followed:", err)
	}
	_, err = Open(path, memory.DefaultAllocator, false)
	if err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Error("opened:", err)
	}
}
