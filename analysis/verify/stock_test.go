package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What is no file of tracer's is told as what it is, never waited for, and set aside.
func TestWhatIsNoFileOfTracersIsFound(t *testing.T) {
	pipe := func(file string) error { return unix.Mkfifo(file, 0o600) }
	folder := func(file string) error { return os.Mkdir(file, 0o700) }
	note := func(file string) error { return os.WriteFile(file, []byte("a note\n"), 0o600) }
	dangling := func(file string) error { return os.Symlink("nowhere", file) }
	for _, c := range []struct {
		file string
		make func(string) error
		says string
	}{
		{"runs/x.parquet", folder, "error: runs/x.parquet: it is a folder with the name of a file"},
		{"runs/y.parquet", pipe, "error: runs/y.parquet: it is no regular file"},
		{"runs/z.parquet", dangling, "error: runs/z.parquet: it is no regular file"},
		{"_tracer/commits/x.json", pipe, "error: _tracer/commits/x.json: the manifest cannot be read: it is no regular file"},
		{"_tracer/journal/x.journal", pipe, "warning: _tracer/journal/x.journal: it is no regular file, and so no journal"},
		{"_tracer/journal/y.journal", folder, "warning: _tracer/journal/y.journal: it is no regular file, and so no journal"},
		{"_tracer/journal/notes.txt", note, "warning: _tracer/journal/notes.txt: it is no journal"},
		{"_tracer/journal/x.journal.damaged", note, "warning: _tracer/journal/x.journal.damaged: a damaged journal"},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			dir := soundCopy(t)
			at := filepath.Join(dir, c.file)
			must(t, os.MkdirAll(filepath.Dir(at), 0o755))
			must(t, c.make(at))
			r, err := Dataset(t.Context(), dir)
			if err != nil || len(r.Findings) != 1 || !strings.Contains(lines(r), c.says) {
				t.Fatalf("%v, found\n%s", err, lines(r))
			}
			r, moved, err := Repair(t.Context(), dir, "test")
			if err != nil || len(moved) != 1 || len(r.Findings) > 0 {
				t.Errorf("repaired: %v, %v\n%s", err, moved, lines(r))
			}
		})
	}
}

func TestFoldersThatAreLinksAreNotFollowed(t *testing.T) {
	for _, folder := range []string{"samples", "_tracer/tmp", strings.TrimSuffix(leaf, "/")} {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			dir, outside := soundCopy(t), t.TempDir()
			at := filepath.Join(dir, folder)
			must(t, os.MkdirAll(at, 0o755))
			must(t, os.Rename(at, filepath.Join(outside, "moved")))
			must(t, os.Symlink(filepath.Join(outside, "moved"), at))
			_, moved, err := Repair(t.Context(), dir, "test")
			if err == nil || !strings.Contains(err.Error(), folder+" is a link to a folder") || len(moved) > 0 {
				t.Errorf("%v, set aside: %v", err, moved)
			}
		})
	}
}
