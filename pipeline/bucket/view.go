package bucket

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sourcegraph/conc/pool"
	"golang.org/x/sys/unix"

	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// CacheHome is where objects are kept that were read from a store.
func CacheHome() (string, error) {
	if dir := os.Getenv("TRACER_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w; name a folder for what is read from the store in TRACER_CACHE", err)
	}
	return filepath.Join(dir, "tracer"), nil
}

// A cache has two folders. objects/<sha256>.parquet are files that were read once; whoever needs one again finds it there, and
// anyone may delete them at any time. views/<random> is one command's dataset: the manifests, and hard links to the objects
// that they name. It is locked by the command, removed when that is done, and else by the next.

// ErrChanged says that an object is not what its manifest says.
var ErrChanged = errors.New("the object is not as its manifest says")

// View is a dataset in a store as a folder, for as long as one command reads it.
type View struct {
	Dir     string
	LeftOut map[string]bool // committed files that were not asked for

	held *os.File
}

// Look is what of a store is viewed.
type Look struct {
	Anew   bool     // every object is read from the store, as it is, and also those that no manifest names
	Tables []string // these alone; all of them where none is named
	Runs   []string // the files with rows of these runs alone; all of them where none is named, or one is not there
	Tell   func(objects int, bytes int64)
}

// Close removes the view.
func (v *View) Close() error { return errors.Join(os.RemoveAll(v.Dir), v.held.Close()) }

// View makes a folder of what the store's manifests name.
func (b *Bucket) View(ctx context.Context, cache string, look Look) (*View, error) {
	v, err := newView(cache)
	if err != nil {
		return nil, fmt.Errorf("making room for what is read from %s: %w; name a folder that you may write to in TRACER_CACHE", b.At, err)
	}
	if err := b.fill(ctx, v, cache, look); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

func newView(cache string) (*View, error) {
	views := filepath.Join(cache, "views")
	for _, dir := range []string{views, filepath.Join(cache, "objects")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	making, err := store.Claim(views) // a view is not locked yet when it is made
	if err != nil {
		return nil, err
	}
	defer making.Close() //nolint:errcheck // a lock
	left, err := os.ReadDir(views)
	if err != nil {
		return nil, err
	}
	for _, e := range left {
		if dir := filepath.Join(views, e.Name()); !store.Held(dir) {
			if err := os.RemoveAll(dir); err != nil {
				return nil, err
			}
		}
	}
	v := &View{Dir: filepath.Join(views, strings.ToLower(rand.Text()[:12]))}
	if err := os.Mkdir(v.Dir, 0o755); err != nil {
		return nil, err
	}
	v.held, err = store.Claim(v.Dir)
	return v, err
}

// catalog reads the store's manifests, into the folder under which commits/ is to stand too.
func (b *Bucket) catalog(ctx context.Context, under string) (*store.Catalog, map[string][]byte, error) {
	keys, err := b.list(ctx, store.Commits+"/")
	if err != nil {
		return nil, nil, err
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return path.Ext(key) != ".json" || path.Dir(key) != store.Commits })
	tmp, err := os.MkdirTemp(under, "manifests-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // what is left there disturbs nobody
	group, read := pool.New().WithContext(ctx).WithMaxGoroutines(8).WithCancelOnError().WithFirstError(), make([][]byte, len(keys))
	for i, key := range keys {
		group.Go(func(ctx context.Context) (err error) {
			read[i], err = b.read(ctx, key)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	bodies := map[string][]byte{}
	for i, key := range keys {
		bodies[key] = read[i]
		if err := writeNew(filepath.Join(tmp, key), read[i]); err != nil {
			return nil, nil, err
		}
	}
	catalog, err := store.ReadCatalog(tmp)
	return catalog, bodies, err
}

func (b *Bucket) fill(ctx context.Context, v *View, cache string, look Look) error {
	catalog, bodies, err := b.catalog(ctx, v.Dir)
	if err != nil {
		return err
	}
	if len(bodies) == 0 {
		return fmt.Errorf("%w in %s: there is no manifest under %s; name what tracer collect --out or tracer push wrote to", store.ErrNoDataset, b.At, store.Commits)
	}
	for key, body := range bodies {
		if err := writeNew(filepath.Join(v.Dir, key), body); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(v.Dir, schema.Samples.Name), 0o755); err != nil { // a dataset, be it empty
		return err
	}
	files, err := b.wanted(ctx, catalog, look)
	if err != nil {
		return err
	}
	v.LeftOut = map[string]bool{}
	for key := range catalog.Live() {
		if _, wanted := files[key]; !wanted {
			v.LeftOut[key] = true
		}
	}
	return b.fetch(ctx, v, cache, files, look)
}

// wanted are the files that a view is to have.
func (b *Bucket) wanted(ctx context.Context, catalog *store.Catalog, look Look) (map[string]store.File, error) {
	files := catalog.Live()
	for _, m := range catalog.Runs {
		if _, named := files[corpusOf(m)]; !named {
			files[corpusOf(m)] = store.File{Path: corpusOf(m)}
		}
	}
	files[readme] = store.File{Path: readme}
	if len(look.Tables) > 0 {
		maps.DeleteFunc(files, func(key string, _ store.File) bool {
			table, _, _ := strings.Cut(key, "/")
			return !slices.Contains(look.Tables, table)
		})
	}
	if len(look.Runs) > 0 {
		ofRuns(catalog, look.Runs, files)
	}
	if !look.Anew {
		return files, nil
	}
	stands, err := b.list(ctx, "")
	for _, key := range stands {
		if _, named := files[key]; !named && !strings.HasPrefix(key, "_tracer/") && filepath.IsLocal(key) {
			files[key] = store.File{Path: key}
		}
	}
	return files, err
}

// ofRuns leaves the files that hold anything of those runs. Where one of them is not there, all runs' own rows stay instead, for
// whoever reads them to say which there are.
func ofRuns(catalog *store.Catalog, runs []string, files map[string]store.File) {
	names, found, corpora := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for name, m := range catalog.Runs {
		if slices.Contains(runs, m.RunID) {
			names[name], found[m.RunID], corpora[corpusOf(m)] = true, true, true
		}
	}
	all := slices.ContainsFunc(runs, func(id string) bool { return !found[id] })
	owners := catalog.Owners()
	maps.DeleteFunc(files, func(key string, _ store.File) bool {
		if all {
			return !strings.HasPrefix(key, schema.Runs.Name+"/")
		}
		return !corpora[key] && key != readme && !slices.ContainsFunc(owners[key], func(name string) bool { return names[name] })
	})
}

// fetch brings the files into the view, from the cache where they are there.
func (b *Bucket) fetch(ctx context.Context, v *View, cache string, files map[string]store.File, look Look) error {
	var missing []store.File
	var size int64
	for _, f := range files {
		if object := cached(cache, f); !look.Anew && object != "" && link(object, filepath.Join(v.Dir, f.Path)) == nil {
			continue
		}
		missing = append(missing, f)
		size += f.Bytes
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(cache, &disk); err == nil && uint64(size) > disk.Bavail*uint64(disk.Bsize) {
		return fmt.Errorf("reading %s: %d MB are to be fetched, and %s has %d MB free; make room, or name another folder in TRACER_CACHE",
			b.At, size/1e6, cache, disk.Bavail*uint64(disk.Bsize)/1e6)
	}
	if look.Tell != nil && size > 0 {
		look.Tell(len(missing), size)
	}
	group := pool.New().WithContext(ctx).WithMaxGoroutines(2 * atOnce).WithCancelOnError().WithFirstError()
	for _, f := range missing {
		group.Go(func(ctx context.Context) error { return b.bring(ctx, v, cache, f, look.Anew) })
	}
	return group.Wait()
}

// cached is where a file stands in the cache; empty where its checksum is not known.
func cached(cache string, f store.File) string {
	if len(f.SHA256) != 2*sha256.Size || strings.ContainsAny(f.SHA256, `/\.`) {
		return ""
	}
	return filepath.Join(cache, "objects", f.SHA256+".parquet")
}

// bring fetches one file. One that is not there is for the reader to miss.
func (b *Bucket) bring(ctx context.Context, v *View, cache string, f store.File, anew bool) error {
	to := filepath.Join(v.Dir, f.Path)
	get := b.download
	if anew {
		get = b.asItIs
	}
	err := get(ctx, f, to)
	if absent(err) {
		return nil
	}
	if object := cached(cache, f); err == nil && object != "" && !anew {
		_ = link(to, object) // another may have been first
	}
	return err
}

// asItIs fetches one object whatever is wrong with it: that is for verify to find.
func (b *Bucket) asItIs(ctx context.Context, f store.File, to string) error {
	return whole(to, func(w io.Writer) error {
		_, err := b.digest(ctx, f, w.(*os.File))
		if corrupt(err) { // all of it is there by then
			err = nil
		}
		return err
	})
}

// download fetches one object to a path, where it stands whole or not at all.
func (b *Bucket) download(ctx context.Context, f store.File, to string) error {
	return whole(to, func(w io.Writer) error {
		sum, err := b.digest(ctx, f, w.(*os.File))
		if corrupt(err) || err == nil && f.SHA256 != "" && sum != f.SHA256 {
			return fmt.Errorf("%w: %s/%s; tracer verify %s says more", ErrChanged, b.At.Plain(), f.Path, b.At)
		}
		return err
	})
}

// corrupt says that an object's bytes are not those that were put there, by the store's own checksum.
func corrupt(err error) bool {
	return err != nil && strings.Contains(err.Error(), "checksum did not match")
}

// digest fetches an object into a file, and gives its SHA-256.
func (b *Bucket) digest(ctx context.Context, f store.File, file *os.File) (string, error) {
	digest := sha256.New()
	err := b.get(ctx, f.Path, f.Bytes, func() (io.Writer, error) {
		digest.Reset()
		if err := file.Truncate(0); err != nil {
			return nil, err
		}
		_, err := file.Seek(0, io.SeekStart)
		return io.MultiWriter(file, digest), err
	})
	return hex.EncodeToString(digest.Sum(nil)), err
}

// link gives a file another name.
func link(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.Link(from, to)
}
