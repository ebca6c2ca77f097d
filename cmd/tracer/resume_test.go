package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
)

// What stands in the way of going on with a run is named, with its mend, and nothing is published before.
func TestResumingSaysWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	dir := inMemory(t)
	resume := func(run string, more ...string) []string {
		return append([]string{"collect", "--resume", run, "--out", dir}, more...)
	}
	s := start(t, dir, "one", of(t, shortRun(dir, "one", "--repeat", "4")))
	_ = s.Process.Kill()
	s.ends(t, -1)
	ends(t, exitUsage, resume("one", "--dry-run"), `it broke off, and is not published yet: tracer recover --out \S+ one first`)
	ends(t, exitUsage, resume("one", "--sizes", "10"), `leave it out`)
	ends(t, exitUsage, resume("one", "--model", "other"), `--model other: run one was started with`)
	header := journal.Peek(dir, store.RunName("one", hostname()))
	if header.Run.ID != "one" || len(manifests(t, dir)) > 0 {
		t.Fatal("a resume that was refused has published something")
	}
	corpus := filepath.Join(dir, "prompts", header.Run.CorpusID+".parquet")
	if err := os.Rename(corpus, corpus+".away"); err != nil {
		t.Fatal(err)
	}
	ends(t, exitUsage, resume("one"), `the prompts that it sends are not there: .*`+header.Run.CorpusID+`.*tracer prompts`)
	if err := os.Rename(corpus+".away", corpus); err != nil {
		t.Fatal(err)
	}
	ends(t, exitOK, shortRun(dir, "one.2"))
	ends(t, exitOK, resume("one", "--silence", "3m", "--model", header.Run.Model), `run one goes on as one.3`, `run one.3, complete`)
	commits := filepath.Join(dir, store.Commits)
	write(t, filepath.Join(commits, "far-elsewhere.json"), []byte(`{"run_id": "far", "host": "elsewhere"}`))
	ends(t, exitUsage, resume("far"), `--resume far: it was measured on elsewhere; go on with it there`)
	ends(t, exitConflict, shortRun(dir, "far", "--rank", "none"), `run id is taken: host elsewhere`)
	own := store.RunName("one", hostname()) + ".json"
	write(t, filepath.Join(commits, own), []byte(`{`))
	ends(t, exitFailure, resume("one"), `manifest \S+`+own+` cannot be read`)
}
