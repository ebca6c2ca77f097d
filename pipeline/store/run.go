package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/llm-tracer/tracer/schema"
)

// ErrRunExists says that the dataset holds a run of that id already, or that another tracer is writing it.
var ErrRunExists = errors.New("run id is taken")

// File is one published part.
type File struct {
	Path   string `json:"path"` // relative to the dataset
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`

	tmp    string // where it stands until it is published
	shared bool   // another run may publish the same contents first; then its file serves
}

// Manifest says which files a run published; it is written last, so a run without one is not committed.
type Manifest struct {
	RunID         string        `json:"run_id"`
	Host          string        `json:"host"`
	SchemaVersion string        `json:"schema_version"`
	Tracer        string        `json:"tracer"`
	Status        schema.Status `json:"status"`
	Files         []File        `json:"files"`
}

// Name is what the run's files begin with.
func (m *Manifest) Name() string { return RunName(m.RunID, m.Host) }

// RunName is what a run's files begin with: <run_id>-<host>.
func RunName(runID, host string) string { return runID + "-" + schema.Slug(host) }

// runIDs stand in file names and partition paths.
var runIDs = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// CheckRunID refuses run ids that do not fit into a file name.
func CheckRunID(id string) error {
	if !runIDs.MatchString(id) {
		return fmt.Errorf("run id %q: use letters, digits, '.', '_' and '-', at most 100, beginning with a letter or digit", id)
	}
	return nil
}

// Run is one run's place in a dataset.
type Run struct {
	Root string // the dataset
	Name string // <run_id>-<host>

	claim *os.File // keeps the folder for unfinished files locked
}

// Tmp is the folder for what is not published yet.
func (r Run) Tmp() string { return filepath.Join(r.Root, "_tracer", "tmp", r.Name) }

func (r Run) manifest() string { return filepath.Join(r.Root, "_tracer", "commits", r.Name+".json") }

// Claim makes the run's own temporary folder, or says that the run id is taken.
func (r *Run) Claim() error {
	for _, dir := range []string{filepath.Dir(r.Tmp()), filepath.Dir(r.manifest())} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the dataset's folders: %w", err)
		}
	}
	if _, err := os.Stat(r.manifest()); err == nil {
		return fmt.Errorf("%w: %s holds it; choose another --run-id or --out", ErrRunExists, r.manifest())
	}
	err := os.Mkdir(r.Tmp(), 0o755)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s is being written, or was left by a run that broke off; choose another --run-id, or remove that folder", ErrRunExists, r.Tmp())
	}
	if err != nil {
		return fmt.Errorf("claiming run %s: %w", r.Name, err)
	}
	r.claim, err = lock(r.Tmp(), unix.LOCK_EX)
	return err
}

// release gives the claim up.
func (r *Run) release() error {
	return errors.Join(os.RemoveAll(r.Tmp()), r.claim.Close())
}

// Publish moves finished files into place, each whole, and the manifest last. What can fail for want of room is written
// before the first file is moved.
func (r *Run) Publish(m *Manifest) error {
	publishing, err := lock(filepath.Dir(r.Tmp()), unix.LOCK_SH)
	if err != nil {
		return fmt.Errorf("publishing run %s: %w", r.Name, err)
	}
	defer publishing.Close() //nolint:errcheck // a lock
	if err := r.writeCard(r.Tmp()); err != nil {
		return err
	}
	if err := r.placeShared(m); err != nil {
		return err
	}
	body, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	manifest := File{Path: filepath.Join("_tracer", "commits", r.Name+".json"), tmp: filepath.Join(r.Tmp(), "manifest")}
	if err := writeSynced(manifest.tmp, append(body, '\n')); err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	var placed []string
	for _, f := range append(slices.Clone(m.Files), manifest) {
		if f.tmp == "" { // shared, and in place
			continue
		}
		if err := r.place(f); err != nil {
			for _, path := range placed { // a run without its manifest is no run
				err = errors.Join(err, os.Remove(filepath.Join(r.Root, path)))
			}
			return err
		}
		placed = append(placed, f.Path)
	}
	return r.release()
}

// placeShared publishes the files that another run may have published meanwhile; those leave the manifest.
func (r Run) placeShared(m *Manifest) error {
	own := m.Files[:0]
	for _, f := range m.Files {
		if f.shared {
			err := r.place(f)
			if errors.Is(err, ErrRunExists) {
				continue
			}
			if err != nil {
				return err
			}
			f.tmp = ""
		}
		own = append(own, f)
	}
	m.Files = own
	return nil
}

// place renames one finished file to where readers look, never over another.
func (r Run) place(f File) error {
	err := Move(f.tmp, filepath.Join(r.Root, f.Path))
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s stands there already", ErrRunExists, f.Path)
	}
	if err != nil {
		return fmt.Errorf("publishing %s: %w", f.Path, err)
	}
	return nil
}

// Move renames a file or folder, never over another, and makes that survive a power cut. Its new folder is made if need be.
func Move(from, to string) error {
	dir := filepath.Dir(to)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // NFS and old filesystems: link is as exclusive
		if err = os.Link(from, to); err == nil {
			err = os.Remove(from)
		}
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// Abandon gives the claim up, and removes what was written.
func (r *Run) Abandon() error { return r.release() }

func writeSynced(path string, body []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err = f.Write(body); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes a rename survive a power cut.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	err = f.Sync()
	if errors.Is(err, unix.EINVAL) { // some network filesystems know no fsync of a folder
		err = nil
	}
	return errors.Join(err, f.Close())
}

// Has says whether a published file stands there.
func (r Run) Has(path string) bool {
	_, err := os.Stat(filepath.Join(r.Root, path))
	return err == nil
}
