package bucket

import (
	"bytes"
	"context"
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

	"github.com/sourcegraph/conc/pool"

	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// atOnce is how many objects are moved side by side; an upload of one buffers 40 MiB at most.
const atOnce = 2

const readme = "README.md"

// ErrDamaged says that a local file is not as its manifest says.
var ErrDamaged = errors.New("the local file is not as its manifest says")

// Pushed says what became of one run, or of a compacted dataset as a whole.
type Pushed struct {
	Name  string `json:"run"` // <run_id>-<host>
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	New   int    `json:"new"` // files that were not there before
}

// Ready says whether a run can be begun that is to be pushed here: the store answers, takes objects, and has no such run.
func (b *Bucket) Ready(ctx context.Context, name string) error {
	keys, err := b.list(ctx, manifestKey(name)) // unlike a look at the one object, it is told why it fails
	if err != nil {
		return err
	}
	if slices.Contains(keys, manifestKey(name)) {
		return fmt.Errorf("%w: %s/%s holds it; choose another --run-id or --out", store.ErrRunExists, b.At.Plain(), manifestKey(name))
	}
	card := store.Card()
	_, err = b.put(ctx, object{key: readme, sum: sumOf(card), size: int64(len(card)), shared: true}, bytes.NewReader(card))
	return err
}

// Runs counts the manifests that the store holds.
func (b *Bucket) Runs(ctx context.Context) (int, error) {
	keys, err := b.list(ctx, store.Commits+"/")
	return len(keys), err
}

func manifestKey(name string) string { return path.Join(store.Commits, name+".json") }

// unit is what becomes visible together: a run, or a compacted dataset.
type unit struct {
	name      string
	files     []store.File
	corpora   []string
	manifests []string // keys, in the order in which they are put
}

// Push puts the committed runs of a local dataset into the store, or those that are named; tell hears of each.
func (b *Bucket) Push(ctx context.Context, root string, tell func(Pushed), names ...string) error {
	catalog, err := store.ReadCatalog(root)
	if err != nil {
		return err
	}
	for file, err := range catalog.Unreadable {
		if errors.Is(err, fs.ErrNotExist) { // another push has just emptied the spool of it
			continue
		}
		return fmt.Errorf("%w: the manifest %s cannot be read: %w; tracer verify %s says more", ErrDamaged, file, err, root)
	}
	units, err := b.units(ctx, catalog, names)
	if err != nil {
		return err
	}
	for _, u := range units {
		done, err := b.pushUnit(ctx, root, u)
		if err != nil {
			return err
		}
		tell(done)
	}
	return b.card(ctx, root)
}

// units divides a dataset into what is pushed together.
func (b *Bucket) units(ctx context.Context, catalog *store.Catalog, names []string) (units []unit, err error) {
	if len(catalog.Compactions) > 0 {
		u, err := b.compacted(ctx, catalog)
		return []unit{u}, err
	}
	for name, m := range catalog.Runs {
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		units = append(units, unit{name: name, files: m.Files, corpora: []string{corpusOf(m)}, manifests: []string{manifestKey(name)}})
	}
	slices.SortFunc(units, func(x, y unit) int { return bytes.Compare([]byte(x.name), []byte(y.name)) })
	return units, nil
}

func corpusOf(m *store.Manifest) string { return path.Join(schema.Prompts.Name, m.CorpusID+".parquet") }

// compacted is a dataset whose files were joined. Its rows must not be in the store under their old names as well: readers
// that list files would find them twice.
func (b *Bucket) compacted(ctx context.Context, catalog *store.Catalog) (u unit, err error) {
	u.name = "compacted"
	for _, f := range catalog.Live() {
		u.files = append(u.files, f)
	}
	slices.SortFunc(u.files, func(x, y store.File) int { return bytes.Compare([]byte(x.Path), []byte(y.Path)) })
	stands, err := b.list(ctx, "")
	if err != nil {
		return u, err
	}
	for _, c := range catalog.Compactions {
		u.manifests = append(u.manifests, manifestKey("compact-"+c.ID))
		for _, f := range c.Replaces {
			if _, there := slices.BinarySearch(stands, f.Path); there {
				return u, fmt.Errorf("%w: %s/%s, which the compaction of this dataset replaced; push it to a prefix of its own", ErrConflict, b.At.Plain(), f.Path)
			}
		}
	}
	for name, m := range catalog.Runs {
		u.manifests, u.corpora = append(u.manifests, manifestKey(name)), append(u.corpora, corpusOf(m))
	}
	slices.Sort(u.corpora)
	u.corpora = slices.Compact(u.corpora)
	slices.Sort(u.manifests) // a broken off push goes on in the same order
	return u, nil
}

// pushUnit puts files, and the manifests when all files are there.
func (b *Bucket) pushUnit(ctx context.Context, root string, u unit) (Pushed, error) {
	done := Pushed{Name: u.name, Files: len(u.files)}
	manifests := make([][]byte, len(u.manifests))
	there := 0
	for i, key := range u.manifests {
		body, err := os.ReadFile(filepath.Join(root, key))
		gone := errors.Is(err, fs.ErrNotExist) // another push has just done it, and emptied the spool
		if err != nil && !gone {
			return done, fmt.Errorf("pushing %s: %w", u.name, err)
		}
		same, storeErr := b.holds(ctx, object{key: key, sum: sumOf(body), size: int64(len(body)), shared: gone})
		if storeErr != nil {
			return done, storeErr
		}
		if gone && !same {
			return done, fmt.Errorf("pushing %s: %w", u.name, err)
		}
		if manifests[i] = body; same {
			there++
		}
	}
	for _, f := range u.files {
		done.Bytes += f.Bytes
	}
	if there == len(manifests) {
		return done, nil
	}
	created, err := b.putFiles(ctx, root, u)
	done.New = created
	for i, key := range u.manifests {
		if err == nil {
			_, err = b.put(ctx, object{key: key, sum: sumOf(manifests[i]), size: int64(len(manifests[i]))}, bytes.NewReader(manifests[i]))
		}
	}
	return done, err
}

func (b *Bucket) putFiles(ctx context.Context, root string, u unit) (created int, err error) {
	group := pool.NewWithResults[bool]().WithContext(ctx).WithMaxGoroutines(atOnce).WithCancelOnError().WithFirstError()
	for _, f := range u.files {
		group.Go(func(ctx context.Context) (bool, error) { return b.putFile(ctx, root, f) })
	}
	for _, corpus := range u.corpora {
		group.Go(func(ctx context.Context) (bool, error) { return b.putCorpus(ctx, root, corpus) })
	}
	made, err := group.Wait()
	for _, isNew := range made {
		if isNew {
			created++
		}
	}
	return created, err
}

// putFile puts one file, unless its bytes are not those that its manifest tells of.
func (b *Bucket) putFile(ctx context.Context, root string, f store.File) (bool, error) {
	o := object{key: f.Path, sum: f.SHA256, size: f.Bytes}
	file, err := os.Open(filepath.Join(root, f.Path))
	if errors.Is(err, fs.ErrNotExist) { // pushed before, and taken out of the spool since
		there, storeErr := b.holds(ctx, o)
		if there || storeErr != nil {
			return false, storeErr
		}
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w; tracer verify %s says more", ErrDamaged, err, root)
	}
	defer file.Close() //nolint:errcheck // read only
	digest := sha256.New()
	n, err := io.Copy(digest, file)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", f.Path, err)
	}
	if n != f.Bytes || hex.EncodeToString(digest.Sum(nil)) != f.SHA256 {
		return false, fmt.Errorf("%w: %s; it is not pushed: tracer verify %s says more", ErrDamaged, f.Path, root)
	}
	return b.put(ctx, o, file)
}

// putCorpus puts the prompts, which are named by their contents: a file that stands there serves.
func (b *Bucket) putCorpus(ctx context.Context, root, key string) (bool, error) {
	body, err := os.ReadFile(filepath.Join(root, key))
	o := object{key: key, sum: sumOf(body), size: int64(len(body)), shared: true}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a copy of the tables that are measured, without the prompts
	}
	if err != nil {
		return false, fmt.Errorf("reading the corpus: %w", err)
	}
	_, err = b.put(ctx, o, bytes.NewReader(body))
	return false, err
}

// card puts the dataset's README, where there is none.
func (b *Bucket) card(ctx context.Context, root string) error {
	body, err := os.ReadFile(filepath.Join(root, readme))
	if err != nil {
		body = store.Card()
	}
	_, err = b.put(ctx, object{key: readme, sum: sumOf(body), size: int64(len(body)), shared: true}, bytes.NewReader(body))
	return err
}

// PutCard replaces the dataset's README, the one object that changes.
func (b *Bucket) PutCard(ctx context.Context, text string) error {
	_, err := b.put(ctx, object{key: readme, sum: sumOf([]byte(text)), size: int64(len(text)), replace: true}, bytes.NewReader([]byte(text)))
	return err
}

func sumOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
