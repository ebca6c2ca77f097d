package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

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
}

// Manifest says which files a run published; it is written last, so a run without one is not committed.
type Manifest struct {
	RunID         string        `json:"run_id"`
	Continues     string        `json:"continues,omitempty"` // the run that it goes on with
	LaunchID      string        `json:"launch_id,omitempty"` // that the run's process shares with others
	Rank          string        `json:"rank,omitempty"`      // of the process among them
	Host          string        `json:"host"`
	SchemaVersion string        `json:"schema_version"`
	Tracer        string        `json:"tracer"`
	Status        schema.Status `json:"status"`
	CorpusID      string        `json:"corpus_id"`
	Files         []File        `json:"files"`
	Job           *Job          `json:"job,omitempty"` // nil where the run cannot be resumed
}

// Job is what a run was asked to do, as far as going on with it needs it.
type Job struct {
	Options map[string]string `json:"options"` // flags, without secrets
	Prompts []string          `json:"prompts"` // ids, in the corpus' order
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
}

// Tmp is the folder for what is not published yet.
func (r Run) Tmp() string      { return filepath.Join(r.Root, "_tracer", "tmp", r.Name) }
func (r Run) manifest() string { return filepath.Join(r.Root, manifestPath(r.Name)) }

func manifestPath(name string) string { return filepath.Join(Commits, name+".json") }

// Uncommitted makes the dataset's own folders, and refuses a run that the dataset holds already.
func (r Run) Uncommitted() error {
	for _, dir := range []string{filepath.Dir(r.Tmp()), filepath.Dir(r.manifest())} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the dataset's folders: %w", err)
		}
	}
	if r.Committed() {
		return fmt.Errorf("%w: %s holds it; choose another --run-id or --out", ErrRunExists, r.manifest())
	}
	return nil
}

// Committed says whether the run is published whole.
func (r Run) Committed() bool {
	_, err := os.Stat(r.manifest())
	return err == nil
}

// Stray is a file of the run's that stands among the tables; empty where there is none.
func (r Run) Stray() string {
	const longest = len("-12345678-000") // what is added to the run's name; more belongs to a run whose name begins like it
	for _, pattern := range []string{"samples/*/*/*/%s-*-[0-9][0-9][0-9].parquet", "requests/*/*/%s-*-[0-9][0-9][0-9].parquet", "runs/%s.parquet", "folds/%s.parquet"} {
		found, _ := fs.Glob(os.DirFS(r.Root), fmt.Sprintf(pattern, r.Name)) // the pattern is sound
		for _, file := range found {
			if added := strings.TrimSuffix(strings.TrimPrefix(path.Base(file), r.Name), ".parquet"); len(added) <= longest {
				return file
			}
		}
	}
	return ""
}

// Fresh makes the run's own temporary folder, without what a process that broke off may have left there. The caller holds
// the run's journal, which is the claim to it.
func (r Run) Fresh() error {
	if err := os.RemoveAll(r.Tmp()); err != nil {
		return fmt.Errorf("clearing what run %s left: %w", r.Name, err)
	}
	if err := os.Mkdir(r.Tmp(), 0o755); err != nil {
		return fmt.Errorf("making a folder for run %s: %w", r.Name, err)
	}
	return nil
}

// Reserved is what a full disk leaves for the last readings, the tables beside the samples and the manifest, in bytes.
const Reserved = 8 << 20

func (r Run) reserve() string { return filepath.Join(r.Tmp(), "reserve") }

// Reserve sets room aside, to be released when the disk is full. Filesystems that cannot do so go without.
func (r Run) Reserve() error {
	f, err := os.OpenFile(r.reserve(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("reserving room: %w", err)
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, Reserved)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("reserving %d MiB: %w", Reserved>>20, err)
	}
	return nil
}

// Release gives the reserved room back.
func (r Run) Release() error {
	if err := os.Remove(r.reserve()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("releasing the reserved room: %w", err)
	}
	return nil
}

// Publish moves finished files into place, each whole, and the manifest last. Before the first file is moved everything is
// on disk, the manifest too, which Finish then goes by: so a publication that broke off is gone on with.
func (r Run) Publish(m *Manifest) error {
	if err := r.writeCard(r.Tmp()); err != nil {
		return err
	}
	body, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = writeSynced(r.intent(), append(body, '\n'))
	}
	if err == nil {
		err = SyncDir(r.Tmp())
	}
	if err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	return r.place(m)
}

// intent is the manifest before it is published.
func (r Run) intent() string { return filepath.Join(r.Tmp(), "manifest") }

// Finish goes on with a publication that broke off; it reports false where none had got as far as moving files.
func (r Run) Finish() (m Manifest, begun bool, err error) {
	text, err := os.ReadFile(r.intent())
	if err != nil || json.Unmarshal(text, &m) != nil {
		return m, false, nil //nolint:nilerr // none, or a torn one: no file was moved
	}
	for _, f := range m.Files {
		there, ok := r.whole(filepath.Join(r.Root, f.Path), f), r.whole(r.tmp(f.Path), f)
		if !there && !ok {
			return m, false, nil // a power cut took a file that was on disk, or somebody did; the journal has its rows
		}
	}
	return m, true, r.place(&m)
}

// whole says whether the file stands at path as it was written.
func (r Run) whole(path string, f File) bool {
	in, err := os.Open(path)
	if err != nil {
		return false
	}
	defer in.Close() //nolint:errcheck // read only
	sum := sha256.New()
	n, err := io.Copy(sum, in)
	return err == nil && n == f.Bytes && hex.EncodeToString(sum.Sum(nil)) == f.SHA256
}

// place moves the files, and then the manifest, while no compaction swaps folders.
func (r Run) place(m *Manifest) error {
	publishing, err := lock(filepath.Dir(r.Tmp()), unix.LOCK_SH)
	if err != nil {
		return fmt.Errorf("publishing run %s: %w", r.Name, err)
	}
	defer publishing.Close() //nolint:errcheck // a lock
	for _, f := range m.Files {
		err := r.move(r.tmp(f.Path), f.Path)
		if (errors.Is(err, ErrRunExists) || errors.Is(err, fs.ErrNotExist)) && r.whole(filepath.Join(r.Root, f.Path), f) { // moved before the publication broke off
			err = nil
		}
		if err != nil {
			return err
		}
	}
	if err := r.move(r.intent(), manifestPath(r.Name)); err != nil {
		return err
	}
	return r.Clear()
}

// Clear removes the run's temporary folder.
func (r Run) Clear() error {
	if err := os.RemoveAll(r.Tmp()); err != nil {
		return fmt.Errorf("clearing the temporary folder of run %s: %w", r.Name, err)
	}
	return nil
}

// move renames one finished file to where readers look, never over another.
func (r Run) move(from, path string) error {
	err := Move(from, filepath.Join(r.Root, path))
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s stands there already", ErrRunExists, path)
	}
	if err != nil {
		return fmt.Errorf("publishing %s: %w", path, err)
	}
	return nil
}

// Move renames a file or folder, never over another, which is fs.ErrExist, and makes that survive a power cut. Its new folder
// is made if need be.
func Move(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	err := renameNew(from, to)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // NFS and old filesystems: link is as exclusive
		if err = os.Link(from, to); err == nil {
			err = os.Remove(from)
		}
	}
	if err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

func renameNew(from, to string) error {
	return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
}

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

// SyncDir makes a rename survive a power cut.
func SyncDir(dir string) error {
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
