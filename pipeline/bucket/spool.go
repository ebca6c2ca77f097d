package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// Why a folder cannot be a spool: it keeps runs for another place, or for nobody else, and a spool is emptied.
var (
	ErrOtherSpool = errors.New("the folder is the spool of another store")
	ErrNoSpool    = errors.New("the folder is a dataset, and a spool is emptied")
)

// Spool is a local dataset that holds runs until they are in the store, and nothing else of them after that.
type Spool struct {
	Dir string
	At  Location
}

// SpoolHome is where spools are unless told otherwise: it must outlive a reboot, which temporary folders and caches may not.
func SpoolHome() (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("%w; name a folder for runs that are not in the store yet with --spool", err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "tracer", "spool"), nil
}

// SpoolOf is the spool of a store, in the folder that is named, or else in its usual one; nothing is made yet.
func SpoolOf(at Location, dir string) (Spool, error) {
	if dir != "" {
		return Spool{dir, at}, nil
	}
	home, err := SpoolHome()
	return Spool{filepath.Join(home, at.Folder()), at}, err
}

func destination(dir string) string { return filepath.Join(dir, "_tracer", "store") }

// Make makes the folder, and writes down whose it is.
func (s Spool) Make() error {
	if err := os.MkdirAll(filepath.Join(s.Dir, "_tracer"), 0o755); err != nil {
		return fmt.Errorf("making the spool: %w", err)
	}
	is, err := os.ReadFile(destination(s.Dir))
	if errors.Is(err, fs.ErrNotExist) {
		if own, _ := filepath.Glob(filepath.Join(s.Dir, store.Commits, "*.json")); len(own) > 0 {
			return fmt.Errorf("%w: %s has runs of its own; name another folder with --spool, or bring them to the store with tracer push", ErrNoSpool, s.Dir)
		}
		err = os.WriteFile(destination(s.Dir), []byte(s.At.String()+"\n"), 0o644)
		is = []byte(s.At.String())
	}
	if err != nil {
		return fmt.Errorf("making the spool: %w", err)
	}
	if other := strings.TrimSpace(string(is)); other != s.At.String() {
		return fmt.Errorf("%w: %s is for %s; name another folder with --spool", ErrOtherSpool, s.Dir, other)
	}
	return nil
}

// Is says whether the folder was made as this store's spool.
func (s Spool) Is() bool {
	text, err := os.ReadFile(destination(s.Dir))
	return err == nil && strings.TrimSpace(string(text)) == s.At.String()
}

// Left are the runs of a spool that are not known to be in the store: those that are committed, and those that broke off.
func (s Spool) Left() (committed, broken []string, err error) {
	catalog, err := store.ReadCatalog(s.Dir)
	if err != nil {
		return nil, nil, err
	}
	for name := range catalog.Runs {
		committed = append(committed, name)
	}
	slices.Sort(committed)
	journals, err := journal.List(s.Dir)
	if err != nil {
		return nil, nil, err
	}
	for _, j := range journals {
		if !errors.Is(j.Err, journal.ErrLive) {
			broken = append(broken, j.Name)
		}
	}
	return committed, broken, nil
}

// Alone gives one run as a dataset of its own, for reading: in the spool, others' files come and go.
func (s Spool) Alone(m *store.Manifest) (dir string, done func() error, err error) {
	dir, err = os.MkdirTemp(filepath.Join(s.Dir, "_tracer", "tmp"), "alone-")
	if err != nil {
		return "", nil, fmt.Errorf("reading run %s: %w", m.RunID, err)
	}
	done = func() error { return os.RemoveAll(dir) }
	for _, f := range append(slices.Clone(m.Files), store.File{Path: manifestKey(m.Name())}) {
		if err := link(filepath.Join(s.Dir, f.Path), filepath.Join(dir, f.Path)); err != nil {
			return "", nil, errors.Join(fmt.Errorf("reading run %s: %w", m.RunID, err), done())
		}
	}
	return dir, done, nil
}

// Drop takes a run out of the spool, which the store holds; the manifest last, so that one which broke off is pushed again,
// which finds everything there.
func (s Spool) Drop(m *store.Manifest) error {
	for _, f := range m.Files {
		if err := remove(filepath.Join(s.Dir, f.Path)); err != nil {
			return fmt.Errorf("emptying the spool: %w", err)
		}
	}
	if err := remove(filepath.Join(s.Dir, manifestKey(m.Name()))); err != nil {
		return fmt.Errorf("emptying the spool: %w", err)
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Empty pushes what is committed in the spool, or those runs that are named, and takes each out that the store has then.
func (s Spool) Empty(ctx context.Context, b *Bucket, tell func(Pushed), names ...string) error {
	catalog, err := store.ReadCatalog(s.Dir)
	if err != nil {
		return err
	}
	if len(catalog.Compactions) > 0 { // a user's doing: pushed whole, and kept
		return b.Push(ctx, s.Dir, tell)
	}
	var failed error
	err = b.Push(ctx, s.Dir, func(p Pushed) {
		tell(p)
		failed = errors.Join(failed, s.Drop(catalog.Runs[p.Name]))
	}, names...)
	return errors.Join(err, failed)
}

// Spools are the usual spools that there are.
func Spools() (all []Spool, err error) {
	home, err := SpoolHome()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(home)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		dir := filepath.Join(home, e.Name())
		text, err := os.ReadFile(destination(dir))
		if err != nil {
			continue
		}
		if at, err := Parse(strings.TrimSpace(string(text))); err == nil {
			all = append(all, Spool{dir, at})
		}
	}
	return all, nil
}

// Fetch brings back into the spool what going on with a run needs of it and of those that have gone on with it: manifests,
// requests, boards and prompts.
func (s Spool) Fetch(ctx context.Context, b *Bucket, runID string) error {
	catalog, bodies, err := b.catalog(ctx, filepath.Join(s.Dir, "_tracer"))
	if err != nil {
		return err
	}
	root := runID
	for _, m := range catalog.Runs {
		if m.RunID == runID && m.Continues != "" {
			root = m.Continues
		}
	}
	for name, m := range catalog.Runs {
		if m.RunID != root && m.Continues != root {
			continue
		}
		if len(catalog.Compactions) > 0 {
			return fmt.Errorf("run %s cannot be gone on with: %s was compacted before it was pushed; begin a new run", runID, s.At)
		}
		for _, f := range append(slices.Clone(m.Files), store.File{Path: corpusOf(m)}) {
			table, _, _ := strings.Cut(f.Path, "/")
			if table == schema.Requests.Name || table == schema.Runs.Name || f.SHA256 == "" {
				if err := b.download(ctx, f, filepath.Join(s.Dir, f.Path)); err != nil {
					return err
				}
			}
		}
		if err := writeNew(filepath.Join(s.Dir, manifestKey(name)), bodies[manifestKey(name)]); err != nil {
			return err
		}
	}
	return nil
}

// writeNew writes a file whole, unless it stands there.
func writeNew(path string, body []byte) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return whole(path, func(w io.Writer) error {
		_, err := w.Write(body)
		return err
	})
}

// whole has a file written beside its place and then moved there.
func whole(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".fetching-*")
	if err != nil {
		return err
	}
	err = write(tmp)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
