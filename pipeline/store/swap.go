package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A compaction builds the new state of one folder under _tracer/tmp and exchanges the two folders in one step, so that no
// reader finds a row twice, or not at all, at any instant. In order:
//
//  1. _tracer/tmp/compact-<id> is made, and the new files in it.
//  2. The manifest is written there.
//  3. With tracers kept from publishing: what stays in the folder is linked into the new one, the two are exchanged, and
//     the manifest is moved to _tracer/commits.
//  4. A while later (see settled) what was replaced is removed; _tracer/tmp/compact-<id> last.
//
// Up to the exchange a compaction that broke off is undone by removing its folder; from then on it is carried on with from
// the manifest. Recover does both.

// ErrNoExchange is a file system that cannot exchange two folders in one step.
var ErrNoExchange = errors.New("the file system cannot exchange two folders in one step (renameat2 with RENAME_EXCHANGE)")

// Drop takes a file or folder away that is not needed any more: at is where it stands, was its path in the dataset.
type Drop func(at, was string) error

// Remove is the Drop of those who need it no more.
func Remove(at, _ string) error { return os.RemoveAll(at) }

// Swap is a compaction under way.
type Swap struct {
	root string
	dir  string // for its files, in the dataset
	id   string
	held *os.File
}

// BeginSwap makes the folder for the new files.
func BeginSwap(root, id string) (*Swap, error) {
	s := &Swap{root: root, dir: path.Join("_tracer", "tmp", merges+id), id: id}
	for _, dir := range []string{s.Tmp(), s.next(), filepath.Join(s.Tmp(), "probe")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("beginning a compaction: %w", err)
		}
	}
	var err error
	if s.held, err = lock(s.Tmp(), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("beginning a compaction: %w", err)
	}
	if err := exchange(s.next(), filepath.Join(s.Tmp(), "probe")); err != nil {
		return nil, errors.Join(err, s.Abandon())
	}
	return s, os.Remove(filepath.Join(s.Tmp(), "probe"))
}

// Tmp is where the new files are to be written.
func (s *Swap) Tmp() string      { return filepath.Join(s.root, s.dir) }
func (s *Swap) next() string     { return filepath.Join(s.Tmp(), "folder") }
func (s *Swap) manifest() string { return filepath.Join(s.Tmp(), "manifest") }

// Name is the path of the n-th new file of a folder.
func (s *Swap) Name(folder string, n int) string {
	return path.Join(folder, fmt.Sprintf("%s%s-%03d.parquet", merges, s.id, n))
}

// Abandon undoes a compaction that has not been published.
func (s *Swap) Abandon() error { return errors.Join(os.RemoveAll(s.Tmp()), s.held.Close()) }

// Publish puts the new files in the place of those that they replace.
func (s *Swap) Publish(c *Compaction) error {
	for _, f := range c.Files {
		if err := Move(filepath.Join(s.Tmp(), partName(f.Path)), filepath.Join(s.next(), path.Base(f.Path))); err != nil {
			return fmt.Errorf("publishing %s: %w", f.Path, err)
		}
	}
	if err := s.write(c); err != nil {
		return err
	}
	return s.swap(c)
}

// Finish takes away what was replaced, when readers have settled.
func (s *Swap) Finish(c *Compaction, drop Drop) error {
	if err := finish(s.root, c, drop); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(s.Tmp()), s.held.Close())
}

// Forget commits that files which are gone held nothing that is missed: the runs of their rows were set aside.
func (s *Swap) Forget(c *Compaction) error {
	if err := s.write(c); err != nil {
		return err
	}
	if err := s.commit(); err != nil {
		return err
	}
	return s.Abandon()
}

func (s *Swap) write(c *Compaction) error {
	body, err := json.MarshalIndent(c, "", "  ")
	if err == nil {
		err = writeSynced(s.manifest(), append(body, '\n'))
	}
	if err == nil {
		err = SyncDir(s.Tmp())
	}
	if err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	return nil
}

// swap exchanges the folders, while no tracer publishes.
func (s *Swap) swap(c *Compaction) error {
	publishing, err := lock(filepath.Dir(s.Tmp()), unix.LOCK_EX)
	if err != nil {
		return fmt.Errorf("waiting for tracers that publish: %w", err)
	}
	defer publishing.Close() //nolint:errcheck // a lock
	folder := filepath.Join(s.root, c.Folder)
	if err := linkOthers(folder, s.next(), c); err != nil {
		return err
	}
	if err := SyncDir(s.next()); err != nil {
		return err
	}
	if err := exchange(s.next(), folder); err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(folder), s.Tmp()} {
		if err := SyncDir(dir); err != nil {
			return err
		}
	}
	return s.commit()
}

func (s *Swap) commit() error {
	if err := Move(s.manifest(), filepath.Join(s.root, Commits, merges+s.id+".json")); err != nil {
		return fmt.Errorf("committing compaction %s: %w", s.id, err)
	}
	return nil
}

// linkOthers has the new folder hold what stays of the old one.
func linkOthers(from, to string, c *Compaction) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("compacting %s: %w", c.Folder, err)
	}
	left := len(c.Replaces)
	for _, e := range entries {
		switch {
		case c.replaces(e.Name()):
			left--
		case !e.Type().IsRegular():
			return fmt.Errorf("compacting %s: it holds %s, which is no file", c.Folder, e.Name())
		default:
			if err := os.Link(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
				return fmt.Errorf("compacting %s: %w", c.Folder, err)
			}
		}
	}
	if left != 0 {
		return fmt.Errorf("compacting %s: %d of its files are gone", c.Folder, left)
	}
	return nil
}

func (c *Compaction) replaces(name string) bool {
	return slices.ContainsFunc(c.Replaces, func(f File) bool { return f.Path == path.Join(c.Folder, name) })
}

// exchange swaps two folders in one step.
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("%w: %s", ErrNoExchange, b)
	}
	if err != nil {
		return fmt.Errorf("exchanging %s: %w", b, err)
	}
	return nil
}

// settled is how long an old folder stays whole after the exchange. Who opened it before, and reads its names only once some
// are gone, would take what is left for all there is; who reads them all finds that files are gone, and asks again.
const settled = time.Second

func settle(root string, c *Compaction) {
	if at, err := os.Stat(filepath.Join(root, Commits, merges+c.ID+".json")); err == nil {
		time.Sleep(min(settled, settled-time.Since(at.ModTime()))) //nolint:forbidigo // readers cannot be waited for
	}
}

// finish takes the old folder away, once the new one is committed. Of what it holds, what stands in the new folder too needs
// no second name, the replaced files are dropped, and anything else is moved there. The replaced go last: a listing without
// them would look like one of the new folder.
func finish(root string, c *Compaction, drop Drop) error {
	old, now := filepath.Join(root, "_tracer", "tmp", merges+c.ID, "folder"), filepath.Join(root, c.Folder)
	entries, err := os.ReadDir(old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("finishing compaction %s: %w", c.ID, err)
	}
	settle(root, c)
	var replaced []fs.DirEntry
	kept := slices.DeleteFunc(slices.Clone(entries), func(e fs.DirEntry) bool {
		if c.replaces(e.Name()) {
			replaced = append(replaced, e)
			return true
		}
		return false
	})
	for _, e := range append(kept, replaced...) {
		from, to := filepath.Join(old, e.Name()), filepath.Join(now, e.Name())
		switch {
		case c.replaces(e.Name()):
			err = drop(from, path.Join(c.Folder, e.Name()))
		case same(from, to):
			err = os.Remove(from)
		default:
			err = Move(from, to)
		}
		if err != nil {
			return fmt.Errorf("finishing compaction %s: %w", c.ID, err)
		}
	}
	return nil
}

// same says whether two paths name one file.
func same(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// Broken is a compaction that broke off.
type Broken struct {
	Folder   string // under _tracer/tmp
	Swapped  bool   // its files stand in their place: it is to be finished, not undone
	manifest *Compaction
}

// broken lists the compactions that broke off.
func broken(root string) (all []Broken, err error) {
	entries, err := os.ReadDir(filepath.Join(root, "_tracer", "tmp"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for compactions that broke off: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutPrefix(e.Name(), merges)
		dir := path.Join("_tracer", "tmp", e.Name())
		if !ok || Held(filepath.Join(root, dir)) {
			continue
		}
		b := Broken{Folder: dir}
		for _, manifest := range []string{path.Join(dir, "manifest"), path.Join(Commits, e.Name()+".json")} {
			var c Compaction
			body, err := os.ReadFile(filepath.Join(root, manifest))
			if err != nil || json.Unmarshal(body, &c) != nil || c.ID != id || c.check() != nil || len(c.Replaces) == 0 {
				continue
			}
			_, err = os.Stat(filepath.Join(root, c.Replaces[0].Path))
			b.manifest, b.Swapped = &c, errors.Is(err, fs.ErrNotExist)
		}
		all = append(all, b)
	}
	return all, nil
}

// Recover finishes or undoes every compaction that broke off; drop takes away what is not needed any more.
func Recover(root string, drop Drop) ([]Broken, error) {
	all, err := broken(root)
	if err != nil {
		return nil, err
	}
	for _, b := range all {
		s := Swap{root: root, dir: b.Folder}
		if b.Swapped {
			s.id = b.manifest.ID
			if _, err := os.Stat(s.manifest()); err == nil {
				if err := s.commit(); err != nil {
					return nil, err
				}
			}
			if err := finish(root, b.manifest, drop); err != nil {
				return nil, err
			}
		}
		if err := drop(s.Tmp(), b.Folder); err != nil {
			return nil, fmt.Errorf("taking %s away: %w", b.Folder, err)
		}
	}
	return all, nil
}
