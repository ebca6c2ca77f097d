package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// tables are those that a dataset holds.
var tables = []string{schema.Samples.Name, schema.Requests.Name, schema.Folds.Name, schema.Runs.Name, schema.Prompts.Name}

func tableOf(file string) string {
	table, _, _ := strings.Cut(file, "/")
	return table
}

const (
	journals   = "_tracer/journal"
	unfinished = "_tracer/tmp"
)

// takeStock holds the files that stand there against the manifests, and gives those to be looked into.
func (c *check) takeStock() (present []string, err error) {
	if c.live, c.merged, err = c.readCatalog(); err != nil {
		return nil, err
	}
	standing, err := c.list()
	if err != nil {
		return nil, err
	}
	for _, file := range standing {
		if _, ok := c.live[file]; !ok && tableOf(file) != schema.Prompts.Name || path.Ext(file) != ".parquet" {
			if err := c.stray(file); err != nil {
				return nil, err
			}
		}
		if _, ok := c.live[file]; ok || tableOf(file) == schema.Prompts.Name && path.Ext(file) == ".parquet" {
			present = append(present, file)
		}
	}
	for file := range c.live {
		if tableOf(file) == schema.Prompts.Name {
			continue // every run that sent it says so
		}
		if _, stands := slices.BinarySearch(standing, file); !stands {
			c.spoil(Finding{Severity: Error, File: file, What: "it is missing, but a manifest names it", Mend: mendDamage, runs: c.owners[file]})
		}
	}
	for file, err := range c.catalog.Unreadable {
		c.find(Finding{Severity: Error, File: file, What: "the manifest cannot be read: " + err.Error(), Mend: mendDamage, aside: []string{file}})
	}
	for name := range c.catalog.Runs {
		c.run(name)
	}
	return present, c.leftovers()
}

// ownFolders refuses a dataset whose folders are links: what they lead to is not its own to look through, or to set aside.
func ownFolders(root string) error {
	for _, folder := range append([]string{journals, unfinished}, tables...) {
		if is, err := os.Lstat(filepath.Join(root, folder)); err == nil && is.Mode()&fs.ModeSymlink != 0 {
			return linked(folder)
		}
	}
	return nil
}

func linked(folder string) error {
	return fmt.Errorf("%s is a link to a folder, which is not followed out of the dataset; put that folder in its place", folder)
}

func (c *check) readCatalog() (map[string]store.File, map[string]store.Merged, error) {
	catalog, err := store.ReadCatalog(c.root)
	if err != nil {
		return nil, nil, err
	}
	c.catalog, c.owners = catalog, catalog.Owners()
	return catalog.Live(), catalog.Merged(), nil
}

// list gives every file under the tables' folders, sorted.
func (c *check) list() (files []string, err error) {
	for _, table := range tables {
		err := filepath.WalkDir(filepath.Join(c.root, table), func(at string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // no such table; or a file that a writer has taken away again
				return nil
			}
			if err != nil {
				return err
			}
			file, err := filepath.Rel(c.root, at)
			if err != nil {
				return err
			}
			keep, err := c.standing(at, filepath.ToSlash(file), e)
			if keep {
				files = append(files, filepath.ToSlash(file))
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", table, err)
		}
	}
	slices.Sort(files)
	return files, nil
}

// standing says whether what stands in a table's folder is a file, and finds what is neither that nor a folder.
func (c *check) standing(at, file string, e fs.DirEntry) (bool, error) {
	is, err := os.Stat(at)
	folder := err == nil && is.IsDir()
	const trip = "readers of all *.parquet trip over it"
	switch {
	case folder && !e.IsDir():
		return false, linked(file)
	case folder && path.Ext(file) == ".parquet":
		c.find(Finding{Severity: Error, File: file, What: "it is a folder with the name of a file; " + trip, Mend: mendStray, aside: []string{file}})
		return false, fs.SkipDir
	case folder:
		return false, nil
	case errors.Is(err, fs.ErrNotExist) && e.Type().IsRegular(): // a writer has taken it away again
		return false, nil
	case err == nil && is.Mode().IsRegular():
		return true, nil
	}
	c.find(Finding{Severity: Error, File: file, What: "it is no regular file; " + trip, Mend: mendStray, aside: []string{file}})
	return false, nil
}

// stray finds a file that no manifest names, unless a tracer is just publishing it: then its manifest comes after it.
func (c *check) stray(file string) error {
	writing, err := c.writers()
	if err != nil {
		return err
	}
	for _, name := range writing {
		if base := path.Base(file); strings.HasPrefix(base, name+"-") || base == name+".parquet" {
			return nil
		}
	}
	now, err := store.ReadCatalog(c.root) // who published it may be done by now
	if err != nil {
		return err
	}
	if _, ok := now.Live()[file]; ok {
		return nil
	}
	f := Finding{Severity: Error, File: file, What: "no manifest names it, but readers find it", Mend: mendStray, aside: []string{file}}
	if path.Ext(file) != ".parquet" {
		f.What = "it is no .parquet file, and pandas trips over it"
	}
	for _, m := range now.Compactions {
		if slices.ContainsFunc(m.Replaces, func(f store.File) bool { return f.Path == file }) {
			f.What = "compaction " + m.ID + " replaced it, but readers find it still: its rows are there twice"
		}
	}
	c.find(f)
	return nil
}

// writers are the runs that live tracers write, or that are to be recovered: their files are theirs to bring into order.
func (c *check) writers() (names []string, err error) {
	for _, folder := range []string{journals, unfinished} {
		entries, err := os.ReadDir(filepath.Join(c.root, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("listing %s: %w", folder, err)
		}
		for _, e := range entries {
			name, isJournal := strings.CutSuffix(e.Name(), ".journal")
			if isJournal && e.Type().IsRegular() || store.Held(filepath.Join(c.root, folder, e.Name())) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// leftovers finds what dead processes left under _tracer.
func (c *check) leftovers() error {
	writing, err := c.writers()
	if err != nil {
		return err
	}
	for _, folder := range []string{unfinished, journals} {
		entries, err := os.ReadDir(filepath.Join(c.root, folder))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("listing %s: %w", folder, err)
		}
		for _, e := range entries {
			file := path.Join(folder, e.Name())
			if store.Held(filepath.Join(c.root, file)) || folder == unfinished && slices.Contains(writing, e.Name()) {
				continue
			}
			is, err := os.Lstat(filepath.Join(c.root, file))
			if err != nil {
				continue // its writer is done
			}
			c.find(c.leftover(file, is.Mode().IsRegular()))
		}
	}
	return nil
}

// leftover says what was left. A journal stays where it is: tracer recover looks for it there.
func (c *check) leftover(file string, regular bool) Finding {
	const setAside = "set it aside: tracer verify --repair"
	f := Finding{Severity: Warning, File: file}
	run, isJournal := strings.CutSuffix(path.Base(file), ".journal")
	broken := slices.IndexFunc(c.catalog.Broken, func(b store.Broken) bool { return b.Folder == file })
	switch {
	case path.Dir(file) == journals && !regular:
		f.What, f.Mend = "it is no regular file, and so no journal", setAside
	case path.Dir(file) == journals && isJournal && c.catalog.Runs[run] != nil:
		f.What, f.Mend = "the journal of a run that is published; nothing but its removal is missing", "remove it: tracer recover"
		return f
	case path.Dir(file) == journals && isJournal:
		f.What, f.Mend = "the journal of a run that broke off; it is not published", "publish what it holds: tracer recover"
		return f
	case path.Dir(file) == journals && path.Ext(file) == ".new":
		f.What, f.Mend = "the journal of a run that broke off before it began; it holds nothing", setAside
	case path.Dir(file) == journals && !strings.Contains(path.Base(file), ".journal."):
		f.What, f.Mend = "it is no journal", setAside
	case path.Dir(file) == journals:
		f.What, f.Mend = "a damaged journal, of which what could be read is published", "look into it, or "+setAside
	case broken >= 0 && c.catalog.Broken[broken].Swapped:
		f.What, f.Mend = "a compaction that broke off after its files had taken their place: all rows are there once", "finish it: tracer compact, or tracer verify --repair"
	case broken >= 0:
		f.What, f.Mend = "a compaction that broke off before its files had taken their place: all rows are there once", "undo it: tracer compact, or tracer verify --repair"
	default:
		f.What, f.Mend = "unfinished files of a tracer that is gone", setAside
	}
	f.aside = []string{file}
	return f
}
