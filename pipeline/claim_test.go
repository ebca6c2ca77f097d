package pipeline

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
)

// Request ids begin with the run's, so that a run id belongs to one host of a dataset; and a file that is there already is
// noticed before anything is measured.
func TestARunIDIsTakenByWhateverHasUsedIt(t *testing.T) {
	b := breakOff(t, 2)
	if err := b.p.Close(); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"h", "other"} {
		if err := Free(b.dir, brokenRun, host); !errors.Is(err, store.ErrRunExists) {
			t.Errorf("a journal, for host %s: %v", host, err)
		}
	}
	if _, err := Recover(b.dir, brokenName, "test", false); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"h", "other"} {
		if err := Free(b.dir, brokenRun, host); !errors.Is(err, store.ErrRunExists) {
			t.Errorf("a manifest, for host %s: %v", host, err)
		}
		c := b.p.Config
		run := *c.Run
		run.Host, c.Run = host, &run
		if _, err := Open(c); !errors.Is(err, store.ErrRunExists) {
			t.Errorf("opening on host %s: %v", host, err)
		}
	}
	if left, err := journal.Names(b.dir); err != nil || len(left) > 0 {
		t.Errorf("journals %v, %v", left, err)
	}
	if err := os.RemoveAll(filepath.Join(b.dir, "_tracer")); err != nil { // the tables were copied without it
		t.Fatal(err)
	}
	if err := Free(b.dir, brokenRun, "h"); !errors.Is(err, store.ErrRunExists) {
		t.Errorf("files alone: %v", err)
	}
	for _, id := range []string{"on", "one-h", "two"} {
		if err := Free(b.dir, id, "h"); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}
