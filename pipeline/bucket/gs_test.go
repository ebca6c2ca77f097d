package bucket

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Standard output is for results: what opens a bucket without credentials says nothing there.
func TestABucketIsOpenedWithoutAWordOnStandardOutput(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Authorization") != "" {
			t.Error("credentials were sent")
		}
		_, _ = io.WriteString(w, `{"kind": "storage#objects", "items": [{"name": "p/samples/x.parquet", "size": "1"}]}`)
	}))
	defer server.Close()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	screen, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	stdout := os.Stdout
	os.Stdout = screen
	defer func() { os.Stdout = stdout }()
	for _, emulated := range []string{"", strings.TrimPrefix(server.URL, "http://")} {
		t.Setenv("STORAGE_EMULATOR_HOST", emulated)
		at, err := Parse("gs://bucket/p?anonymous=true")
		if err != nil {
			t.Fatal(err)
		}
		b, err := Open(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		if emulated != "" {
			if keys, err := b.list(t.Context(), ""); err != nil || len(keys) != 1 || keys[0] != "samples/x.parquet" {
				t.Errorf("%q, %v", keys, err)
			}
		}
		_ = b.Close()
	}
	t.Setenv("STORAGE_EMULATOR_HOST", "")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
	at, _ := Parse("gs://bucket/p")
	if _, err := Open(t.Context(), at); err == nil {
		t.Error("a bucket is opened with credentials that are not there")
	}
	at, _ = Parse("gs://bucket/p?anonymous=perhaps")
	if _, err := Open(t.Context(), at); !errors.Is(err, ErrLocation) {
		t.Error(err)
	}
	if said, err := os.ReadFile(screen.Name()); err != nil || len(said) > 0 {
		t.Errorf("%q, %v", said, err)
	}
}
