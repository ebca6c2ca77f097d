package store

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/llm-tracer/tracer/schema"
)

// PublishCorpus writes prompts/<id>.parquet into a dataset, whole, and gives its path. A corpus is named by its contents,
// so one that stands there already serves.
func PublishCorpus(dir, id string, prompts []schema.Prompt) (string, error) {
	r := Run{Root: dir}
	to := path.Join(schema.Prompts.Name, id+".parquet")
	if r.Has(to) {
		return filepath.Join(dir, to), nil
	}
	parent := filepath.Join(dir, "_tracer", "tmp")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("making the dataset's folders: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, "corpus-")
	if err != nil {
		return "", fmt.Errorf("writing the corpus: %w", err)
	}
	writing, err := lock(tmp, unix.LOCK_EX)
	if err != nil {
		return "", fmt.Errorf("writing the corpus: %w", err)
	}
	defer writing.Close()   //nolint:errcheck // a lock
	defer os.RemoveAll(tmp) //nolint:errcheck // what is left there disturbs nobody
	sorted := slices.SortedFunc(slices.Values(prompts), func(a, b schema.Prompt) int { return cmp.Compare(a.ID, b.ID) })
	if _, err := WriteFile(tmp, schema.Prompts, to, sorted); err != nil { // the same for every run that sends the corpus
		return "", err
	}
	if err := r.writeCard(tmp); err != nil {
		return "", err
	}
	if err := r.move(filepath.Join(tmp, partName(to)), to); err != nil && !errors.Is(err, ErrRunExists) {
		return "", err
	}
	return filepath.Join(dir, to), nil
}
