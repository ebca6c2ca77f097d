package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/llm-tracer/tracer/pipeline/store"
)

// template is a run as it was published: its manifest, and its files by path. A corpus is left out: runs share it.
type template struct {
	manifest *store.Manifest
	files    map[string][]byte
}

func templates(root string) ([]template, error) {
	catalog, err := store.ReadCatalog(root)
	if err != nil {
		return nil, err
	}
	all := make([]template, len(catalog.Runs))
	for i := range all {
		m, ok := catalog.Runs[store.RunName(runID(i), "generated")]
		if !ok {
			return nil, fmt.Errorf("%s is no dataset of make big: run %s is not in it", root, runID(i))
		}
		all[i] = template{m, map[string][]byte{}}
		for _, f := range m.Files {
			if all[i].files[f.Path], err = os.ReadFile(filepath.Join(root, f.Path)); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// runID is what scripts/big calls its n-th run.
func runID(n int) string { return fmt.Sprintf("big-%05d", n) }

// copyRuns publishes runs from up to to, each a template's rows under a name of its own: in its files, their names and its
// manifest. Parts are renamed into place and the manifest goes last, as in any publication.
func copyRuns(ctx context.Context, all []template, root string, from, to int) error {
	s, err := newSplicer()
	if err != nil {
		return err
	}
	for n := from; n < to && ctx.Err() == nil; n++ {
		if err := s.publish(root, &all[n%len(all)], runID(n)); err != nil {
			return fmt.Errorf("run %d: %w", n, err)
		}
	}
	return ctx.Err()
}

func (s *splicer) publish(root string, t *template, id string) error {
	was := t.manifest.RunID
	m := *t.manifest
	m.RunID, m.Files = id, nil
	for _, f := range t.manifest.Files {
		body, err := s.file(t.files[f.Path], was, id)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		sum := sha256.Sum256(body)
		f.Path, f.Bytes, f.SHA256 = strings.ReplaceAll(f.Path, was, id), int64(len(body)), hex.EncodeToString(sum[:])
		if err := writeFile(filepath.Join(root, f.Path), body); err != nil {
			return err
		}
		m.Files = append(m.Files, f)
	}
	body, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(root, store.Commits, m.Name()+".json"), append(body, '\n'))
}

func writeFile(path string, body []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", body, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// grow brings a dataset to some runs: the templates themselves, as far as wanted, then copies. What it has stays.
func grow(ctx context.Context, from, at string, runs int) error {
	all, err := templates(from)
	if err != nil {
		return err
	}
	catalog, err := store.ReadCatalog(at)
	if err != nil {
		return err
	}
	if len(catalog.Runs) > runs {
		return fmt.Errorf("%s has %d runs already: remove it", at, len(catalog.Runs))
	}
	if len(catalog.Runs) == 0 {
		if err := os.CopyFS(filepath.Join(at, "prompts"), os.DirFS(filepath.Join(from, "prompts"))); err != nil {
			return err
		}
	}
	return copyRuns(ctx, all, at, len(catalog.Runs), runs)
}
