package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/analysis/verify"
	"github.com/llm-tracer/tracer/pipeline/rehearsal"
	"github.com/llm-tracer/tracer/pipeline/store"
)

// Whatever pages the pipeline writes, a copy of its run under another name passes every check, and the name is in its rows.
func TestACopiedRunIsSound(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	if err := rehearsal.Record(dir, rehearsal.Run{ID: "first", Boards: 2, Requests: 10, Period: 20 * time.Millisecond, Start: time.Minute}); err != nil {
		t.Fatal(err)
	}
	catalog, err := store.ReadCatalog(dir)
	if err != nil {
		t.Fatal(err)
	}
	run := template{catalog.Runs["first-rehearsal"], map[string][]byte{}}
	for _, f := range run.manifest.Files {
		if run.files[f.Path], err = os.ReadFile(filepath.Join(dir, f.Path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(to, "prompts"), os.DirFS(filepath.Join(dir, "prompts"))); err != nil {
		t.Fatal(err)
	}
	s, err := newSplicer()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.publish(to, &run, "other"); err != nil {
		t.Fatal(err)
	}
	found, err := verify.Dataset(t.Context(), to)
	if err != nil || found.Rows == 0 || found.Runs != 1 || found.Count(verify.Error)+found.Count(verify.Warning) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
}
