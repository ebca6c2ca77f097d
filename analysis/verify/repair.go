package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/llm-tracer/tracer/analysis/compact"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// Move is something that was set aside, by paths in the dataset.
type Move struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// maxRounds bounds how often moving one thing may show that another cannot stay: a corpus, then the runs that sent it.
const maxRounds = 4

// Repair sets aside what cannot stay, until what remains is sound, and verifies that. Nothing is deleted: everything keeps
// its path under _tracer/aside/<time>. A crash at any point leaves something that the next Repair carries on with.
func Repair(ctx context.Context, root, tracer string) (*Report, []Move, error) {
	held, err := store.Hold(root, true)
	if err != nil {
		return nil, nil, err
	}
	defer held.Close() //nolint:errcheck // a lock
	if err := ownFolders(root); err != nil {
		return nil, nil, err
	}
	a := aside{root: root, tracer: tracer, to: path.Join("_tracer", "aside", time.Now().UTC().Format("20060102T150405.000"))}
	if _, err := store.Recover(root, a.drop); err != nil {
		return nil, a.moved, err
	}
	for range maxRounds {
		report, err := dataset(ctx, root)
		if err != nil {
			return nil, a.moved, err
		}
		before := len(a.moved)
		if err := a.settle(ctx, report); err != nil {
			return report, a.moved, err
		}
		if len(a.moved) == before {
			return report, a.moved, nil
		}
	}
	report, err := dataset(ctx, root)
	return report, a.moved, err
}

// aside is where things are moved to.
type aside struct {
	root, to, tracer string
	moved            []Move
}

// settle moves what a report says cannot stay.
func (a *aside) settle(ctx context.Context, r *Report) error {
	catalog, err := store.ReadCatalog(a.root)
	if err != nil {
		return err
	}
	files, runs := map[string]bool{}, map[string]bool{}
	for i := range r.Findings {
		for _, file := range r.Findings[i].aside {
			files[file] = true
		}
		for _, name := range r.Findings[i].runs {
			runs[name] = true
		}
	}
	names := slices.Sorted(maps.Keys(runs))
	if err := a.takeOut(ctx, catalog, files, names); err != nil {
		return err
	}
	for _, name := range names {
		if err := a.run(catalog, name); err != nil {
			return err
		}
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if err := a.move(file); err != nil {
			return err
		}
	}
	return nil
}

// takeOut has the files that hold rows of several runs hold none of some: first, since with their manifests these are
// forgotten. A damaged file is not read again; all its runs cannot stay.
func (a *aside) takeOut(ctx context.Context, c *store.Catalog, files map[string]bool, runs []string) error {
	for file, m := range c.Merged() {
		if !slices.ContainsFunc(runs, func(name string) bool { return m.Runs[name] > 0 }) {
			continue
		}
		if err := compact.Without(ctx, a.root, a.tracer, m, runs, a.drop); err != nil {
			return err
		}
		delete(files, file)
	}
	return nil
}

// drop is how compactions take away what they replaced.
func (a *aside) drop(at, was string) error {
	if _, err := os.Lstat(at); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	to := path.Join(a.to, was)
	if err := store.Move(at, filepath.Join(a.root, to)); err != nil {
		return fmt.Errorf("setting %s aside: %w", was, err)
	}
	a.moved = append(a.moved, Move{was, to})
	return nil
}

// run sets a run's manifest aside, and then its files: without the manifest they are strays.
func (a *aside) run(c *store.Catalog, name string) error {
	m := c.Runs[name]
	if m == nil {
		return nil
	}
	if err := a.move(path.Join(store.Commits, name+".json")); err != nil {
		return err
	}
	for _, f := range m.Files {
		if tableOf(f.Path) == schema.Prompts.Name { // other runs may have sent it
			continue
		}
		if err := a.move(f.Path); err != nil {
			return err
		}
	}
	return nil
}

// move sets one file or folder aside, unless a live tracer holds it.
func (a *aside) move(file string) error {
	at := filepath.Join(a.root, file)
	if store.Held(at) {
		return nil
	}
	return a.drop(at, file)
}
