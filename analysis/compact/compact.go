// Package compact rewrites a dataset's small files into large ones: the same rows, in the table's order, folder by folder.
// Readers find every row once at any instant, and so they do after a crash at any instant; see store.Swap.
package compact

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// large is from where on a file is left as it is.
const large = store.PartBytes / 2

// Folder is what becomes, or became, of one folder.
type Folder struct {
	Path   string   `json:"folder"`
	Before []string `json:"before"` // files
	After  []string `json:"after"`  // empty while it is only planned
	Rows   int64    `json:"rows"`
	Was    int64    `json:"bytes_before"`
	Is     int64    `json:"bytes_after"`

	files []store.File
}

// Plan says which folders hold files that can be joined. It changes nothing.
func Plan(root string) ([]Folder, error) {
	held, err := store.Hold(root, false)
	if err != nil {
		return nil, err
	}
	defer held.Close() //nolint:errcheck // a lock
	return plan(root)
}

func plan(root string) ([]Folder, error) {
	catalog, err := store.ReadCatalog(root)
	if err != nil {
		return nil, err
	}
	for file, err := range catalog.Unreadable {
		return nil, fmt.Errorf("reading %s: %w; see tracer verify", file, err)
	}
	small := map[string][]store.File{}
	for _, f := range catalog.Live() {
		if table, _, _ := strings.Cut(f.Path, "/"); f.Bytes < large && table != schema.Prompts.Name {
			small[path.Dir(f.Path)] = append(small[path.Dir(f.Path)], f)
		}
	}
	var plan []Folder
	for folder, files := range small {
		if len(files) > 1 {
			plan = append(plan, planned(folder, files))
		}
	}
	slices.SortFunc(plan, func(a, b Folder) int { return cmp.Compare(a.Path, b.Path) })
	return plan, nil
}

func planned(folder string, files []store.File) Folder {
	slices.SortFunc(files, func(a, b store.File) int { return cmp.Compare(a.Path, b.Path) })
	p := Folder{Path: folder, files: files}
	for _, f := range files {
		p.Before = append(p.Before, f.Path)
		p.Rows, p.Was = p.Rows+f.Rows, p.Was+f.Bytes
	}
	return p
}

// Dataset finishes or undoes compactions that broke off, and then compacts every folder that can be; done is told of each.
func Dataset(ctx context.Context, root, tracer string, done func(Folder)) error {
	held, err := store.Hold(root, true)
	if err != nil {
		return err
	}
	defer held.Close() //nolint:errcheck // a lock
	if _, err := store.Recover(root, store.Remove); err != nil {
		return err
	}
	folders, err := plan(root)
	if err != nil {
		return err
	}
	var finishing []func() error // all at the end: each waits for readers to settle
	for _, f := range folders {
		c := compaction{root: root, tracer: tracer, Folder: f, some: true, drop: store.Remove}
		var finish func() error
		if finish, err = c.run(ctx); err != nil {
			err = fmt.Errorf("compacting %s: %w", f.Path, err)
			break
		}
		finishing = append(finishing, finish)
		done(c.Folder)
	}
	for _, finish := range finishing {
		err = errors.Join(err, finish())
	}
	return err
}

// Without rewrites a file that holds rows of several runs without those of some of them; drop takes the file away. The
// dataset must be reserved.
func Without(ctx context.Context, root, tracer string, f store.Merged, runs []string, drop store.Drop) error {
	c := compaction{root: root, tracer: tracer, Folder: planned(path.Dir(f.Path), []store.File{f.File}), without: runs, drop: drop}
	for name := range f.Runs {
		c.some = c.some || !slices.Contains(runs, name)
	}
	finish, err := c.run(ctx)
	if err == nil {
		err = finish()
	}
	if err != nil {
		return fmt.Errorf("taking runs out of %s: %w", f.Path, err)
	}
	return nil
}

// compaction is that of one folder.
type compaction struct {
	root, tracer string
	Folder
	without []string // runs
	some    bool     // rows are left without these
	drop    store.Drop
}

func newID() string {
	var r [3]byte
	_, _ = rand.Read(r[:]) // never fails
	return time.Now().UTC().Format("20060102-150405-") + hex.EncodeToString(r[:])
}

// run publishes the compaction; finish takes away what it replaced.
func (c *compaction) run(ctx context.Context) (finish func() error, err error) {
	m := store.Compaction{ID: newID(), SchemaVersion: schema.Version, Tracer: c.tracer, Folder: c.Path, Without: c.without, Replaces: c.files}
	swap, err := store.BeginSwap(c.root, m.ID)
	if err != nil {
		return nil, err
	}
	if c.some {
		if m.Files, err = c.rewrite(ctx, swap); err != nil {
			return nil, errors.Join(err, swap.Abandon())
		}
	} else if _, err := os.Stat(filepath.Join(c.root, c.files[0].Path)); errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, swap.Forget(&m)
	}
	if err := swap.Publish(&m); err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		c.After, c.Is = append(c.After, f.Path), c.Is+f.Bytes
	}
	return func() error { return swap.Finish(&m, c.drop) }, nil
}

func (c *compaction) leavesOut(run string) bool { return slices.Contains(c.without, run) }

// unchanged refuses a file that is not the one that was committed: what is wrong must not be spread.
func (c *compaction) unchanged(f store.File) error {
	from, err := os.Open(filepath.Join(c.root, f.Path))
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	h := sha256.New()
	if _, err := io.Copy(h, from); err != nil {
		return fmt.Errorf("reading %s: %w", f.Path, err)
	}
	if hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
		return fmt.Errorf("%s is not the file that was committed; see tracer verify", f.Path)
	}
	return nil
}

func (c *compaction) rewrite(ctx context.Context, swap *store.Swap) ([]store.Merged, error) {
	for _, f := range c.files {
		if err := c.unchanged(f); err != nil {
			return nil, err
		}
	}
	table, _, _ := strings.Cut(c.Path, "/")
	switch table {
	case schema.Samples.Name:
		return rewrite(ctx, c, swap, schema.Samples)
	case schema.Requests.Name:
		return rewrite(ctx, c, swap, schema.Requests)
	case schema.Folds.Name:
		return rewrite(ctx, c, swap, schema.Folds)
	case schema.Runs.Name:
		return rewrite(ctx, c, swap, schema.Runs)
	default:
		return nil, fmt.Errorf("no table %s", table)
	}
}
