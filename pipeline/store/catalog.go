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
)

// Compaction says which files were replaced by which, with the same rows. The manifests of the runs stay as they were.
type Compaction struct {
	ID            string   `json:"compaction"`
	SchemaVersion string   `json:"schema_version"`
	Tracer        string   `json:"tracer"`
	Folder        string   `json:"folder"`
	Without       []string `json:"without,omitempty"` // runs, as <run_id>-<host>, whose rows were left out: they were set aside
	Replaces      []File   `json:"replaces"`
	Files         []Merged `json:"files"`
}

// Merged is a file that holds rows of several runs.
type Merged struct {
	File
	Runs map[string]int64 `json:"runs"` // rows by run, as <run_id>-<host>
}

// merges marks the names of compactions and of their files.
const merges = "compact-"

// IsMerged says whether a file may hold rows of several runs, by its name.
func IsMerged(name string) bool { return strings.HasPrefix(path.Base(name), merges) }

// Catalog is what a dataset's manifests say.
type Catalog struct {
	Runs        map[string]*Manifest // by <run_id>-<host>
	Compactions []*Compaction
	Broken      []Broken         // compactions that broke off; of those, Compactions has the ones that are to be finished
	Unreadable  map[string]error // by path in the dataset
}

// Commits is where manifests stand in a dataset.
var Commits = path.Join("_tracer", "commits")

// ReadCatalog reads the manifests of a dataset. One that cannot be read does not keep the others from being.
func ReadCatalog(root string) (*Catalog, error) {
	c := &Catalog{Runs: map[string]*Manifest{}, Unreadable: map[string]error{}}
	entries, err := os.ReadDir(filepath.Join(root, Commits))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the manifests: %w", err)
	}
	for _, e := range entries {
		name, isManifest := strings.CutSuffix(e.Name(), ".json")
		if !isManifest {
			continue
		}
		at := path.Join(Commits, e.Name())
		body, err := readRegular(filepath.Join(root, at))
		if err == nil {
			err = c.add(name, body)
		}
		if err != nil {
			c.Unreadable[at] = err
		}
	}
	if c.Broken, err = broken(root); err != nil {
		return nil, err
	}
	for _, b := range c.Broken {
		if b.Swapped && !slices.ContainsFunc(c.Compactions, func(m *Compaction) bool { return m.ID == b.manifest.ID }) {
			c.Compactions = append(c.Compactions, b.manifest)
		}
	}
	return c, nil
}

// readRegular reads a file, and not a pipe, which may never end.
func readRegular(path string) ([]byte, error) {
	is, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !is.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	return os.ReadFile(path)
}

// add reads one manifest: a run's, or a compaction's.
func (c *Catalog) add(name string, body []byte) error {
	var compaction Compaction
	if err := json.Unmarshal(body, &compaction); err != nil {
		return err
	}
	if compaction.ID != "" {
		if err := compaction.check(); err != nil {
			return err
		}
		if own := merges + compaction.ID; name != own {
			return fmt.Errorf("it is the manifest of %s", own)
		}
		c.Compactions = append(c.Compactions, &compaction)
		return nil
	}
	var run Manifest
	if err := json.Unmarshal(body, &run); err != nil {
		return err
	}
	if own := run.Name(); name != own {
		return fmt.Errorf("it is the manifest of %s", own)
	}
	if err := checkPaths(run.Files); err != nil {
		return err
	}
	c.Runs[name] = &run
	return nil
}

func (c *Compaction) check() error {
	files := slices.Clone(c.Replaces)
	for _, f := range c.Files {
		files = append(files, f.File)
	}
	return checkPaths(append(files, File{Path: c.Folder}))
}

// checkPaths refuses a manifest that reaches out of its dataset.
func checkPaths(files []File) error {
	for _, f := range files {
		if !filepath.IsLocal(f.Path) {
			return fmt.Errorf("it names %q, which is no path within a dataset", f.Path)
		}
	}
	return nil
}

// Live are the files that hold the committed rows, by path: those of the runs and of compactions that no compaction
// replaced.
func (c *Catalog) Live() map[string]File {
	live := map[string]File{}
	for _, m := range c.Runs {
		for _, f := range m.Files {
			live[f.Path] = f
		}
	}
	for _, m := range c.Compactions {
		for _, f := range m.Files {
			live[f.Path] = f.File
		}
	}
	for _, m := range c.Compactions {
		for _, f := range m.Replaces {
			delete(live, f.Path)
		}
	}
	return live
}

// Merged are the live files of compactions, by path.
func (c *Catalog) Merged() map[string]Merged {
	live, merged := c.Live(), map[string]Merged{}
	for _, m := range c.Compactions {
		for _, f := range m.Files {
			if _, ok := live[f.Path]; ok {
				merged[f.Path] = f
			}
		}
	}
	return merged
}

// FilesOf are the live files that hold rows of a run in a table, in order. Others' rows may stand there too.
func (c *Catalog) FilesOf(m *Manifest, table string) (files []string) {
	live, merged := c.Live(), c.Merged()
	for _, f := range m.Files {
		if _, ok := live[f.Path]; ok {
			files = append(files, f.Path)
		}
	}
	for file, f := range merged {
		if f.Runs[m.Name()] > 0 {
			files = append(files, file)
		}
	}
	files = slices.DeleteFunc(files, func(file string) bool { return !strings.HasPrefix(file, table+"/") })
	slices.Sort(files)
	return files
}

// Owners are, by live file, the runs whose rows it holds, in order. A corpus belongs to no run alone.
func (c *Catalog) Owners() map[string][]string {
	owners := map[string][]string{}
	for name, m := range c.Runs {
		for _, f := range m.Files {
			owners[f.Path] = append(owners[f.Path], name)
		}
	}
	for file, f := range c.Merged() {
		for name := range f.Runs {
			owners[file] = append(owners[file], name)
		}
	}
	for _, names := range owners {
		slices.Sort(names)
	}
	return owners
}
