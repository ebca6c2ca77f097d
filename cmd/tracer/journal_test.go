package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
)

// Neither the journal nor the manifest holds what opens the server: they are kept, and datasets are passed on.
func TestJournalAndManifestHoldNoSecrets(t *testing.T) {
	library, dir, out := fakeLibrary(t), t.TempDir(), inMemory(t)
	boards := filepath.Join(dir, "boards")
	url := startSim(t, "--gpu", "sim:H200", "--board-file", boards)
	secretURL := strings.Replace(url, "http://", "http://user:SECRET@", 1) + "?token=SECRET"
	args := collectArgs(out, "one", "--endpoint", secretURL, "--sizes", "10", "--prompts", "50", "--idle", "0s", "--pause", "0s")
	t.Setenv("LD_LIBRARY_PATH", library)
	t.Setenv("TRACER_FAKENVML", boards)
	t.Setenv("TRACER_API_KEY", "SECRET")
	s := start(t, out, "one", of(t, args))
	_ = s.Process.Kill()
	s.ends(t, -1)
	j, err := journal.Open(journal.Path(out, store.RunName("one", hostname())), memory.DefaultAllocator, false)
	if err != nil {
		t.Fatal(err)
	}
	keepsNoSecret(t, "header", j.Header)
	events, err := j.Replay()
	if err != nil {
		t.Fatal(err)
	}
	frames := 0
	for e, err := events.Next(); err == nil; e, err = events.Next() {
		keepsNoSecret(t, "frame", e)
		frames++
	}
	if err := j.Close(); err != nil || frames == 0 {
		t.Fatalf("%d frames, %v", frames, err)
	}
	ends(t, exitOK, []string{"recover", "--out", out}, `run one\S* is published`)
	keepsNoSecret(t, "manifest", committed(t, out, "one"))
	// The endpoint's credentials are to be given again.
	said, err := exec.Command(program(t), "collect", "--out", out, "--resume", "one", "--endpoint", secretURL, "--json").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if strings.Contains(string(said), "SECRET") {
		t.Errorf("told on the screen:\n%s", said)
	}
	if n := len(sendings(t, out, "one")); n != 100 {
		t.Errorf("%d requests", n)
	}
	keepsNoSecret(t, "manifest", committed(t, out, "one.2"))
	if left, _ := os.ReadDir(filepath.Join(out, "_tracer", "journal")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func keepsNoSecret(t *testing.T, what string, v any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "SECRET") {
		t.Errorf("%s: %s", what, text)
	}
}
