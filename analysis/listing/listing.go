// Package listing says which files of a dataset are committed, for other programs' catalogs: table by table, with the
// columns, the partition keys and each file's rows and bytes. It is the list that tracer's own readers go by.
package listing

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/llm-tracer/tracer/analysis/scan"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// Format is the version of a listing: readers refuse another one.
const Format = 1

// ErrNoManifests is a dataset of which nothing says what is committed.
var ErrNoManifests = errors.New("it has no manifests (_tracer/commits), so nothing says which of its files are committed")

// Listing is what a dataset holds.
type Listing struct {
	Format  int     `json:"format"`
	Dataset string  `json:"dataset"` // URI of its root, without a slash at the end
	Tables  []Table `json:"tables"`
}

// Table is one of the dataset's tables. One without files is listed too.
type Table struct {
	Name    string   `json:"name"`
	Doc     string   `json:"doc"`
	Keys    []string `json:"partition_keys"` // columns that stand in paths, not in files
	Columns []Column `json:"columns"`
	Files   []File   `json:"files"`
}

// Column is a column of a table's files. Older files may lack those that may be NULL.
type Column struct {
	Name     string `json:"name"`
	Type     string `json:"type"` // Arrow's name of it
	Nullable bool   `json:"nullable"`
	Doc      string `json:"doc"`
}

// File is a committed file.
type File struct {
	Path      string            `json:"path"` // relative to the dataset
	Rows      int64             `json:"rows"`
	Bytes     int64             `json:"bytes"`
	Partition map[string]string `json:"partition"`
}

// Of lists a dataset.
func Of(root string) (*Listing, error) {
	at, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	catalog, err := store.ReadCatalog(root)
	if err != nil {
		return nil, err
	}
	for path, err := range catalog.Unreadable {
		return nil, fmt.Errorf("reading the manifest %s: %w; tracer verify says more", path, err)
	}
	if len(catalog.Runs)+len(catalog.Compactions) == 0 {
		return nil, ErrNoManifests
	}
	l := &Listing{Format: Format, Dataset: "file://" + filepath.ToSlash(at), Tables: []Table{
		about(schema.Samples, "gpu", "llm", "stage"), about(schema.Requests, "gpu", "llm"), about(schema.Folds), about(schema.Prompts), about(schema.Runs),
	}}
	live := catalog.Live()
	if err := corpora(root, catalog, live); err != nil {
		return nil, err
	}
	for _, f := range live {
		table, _, _ := strings.Cut(f.Path, "/")
		i := slices.IndexFunc(l.Tables, func(t Table) bool { return t.Name == table })
		if i < 0 || path.Ext(f.Path) != ".parquet" {
			continue
		}
		l.Tables[i].Files = append(l.Tables[i].Files, File{Path: f.Path, Rows: f.Rows, Bytes: f.Bytes, Partition: partition(f.Path)})
	}
	for i := range l.Tables {
		slices.SortFunc(l.Tables[i].Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	}
	return l, nil
}

// corpora adds those that the runs sent: several runs share one, so it stands in no manifest, or in the first one's alone.
func corpora(root string, c *store.Catalog, live map[string]store.File) error {
	for _, m := range c.Runs {
		at := path.Join(schema.Prompts.Name, m.CorpusID+".parquet")
		if _, ok := live[at]; ok || m.CorpusID == "" {
			continue
		}
		is, err := os.Stat(filepath.Join(root, at))
		if err != nil {
			return fmt.Errorf("the corpus of run %s: %w; tracer verify says more", m.RunID, err)
		}
		f, err := scan.Open(filepath.Join(root, at))
		if err != nil {
			return fmt.Errorf("the corpus of run %s: %w", m.RunID, err)
		}
		live[at] = store.File{Path: at, Rows: f.Rows(), Bytes: is.Size()}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

func about[R any](t schema.Table[R], keys ...string) Table {
	listed := Table{Name: t.Name, Doc: t.Doc, Keys: append([]string{}, keys...), Files: []File{}}
	for _, f := range t.Schema().Fields() {
		listed.Columns = append(listed.Columns, Column{Name: f.Name, Type: typeName(f.Type), Nullable: f.Nullable, Doc: doc(f)})
	}
	return listed
}

func typeName(t arrow.DataType) string {
	if list, ok := t.(*arrow.ListType); ok {
		return fmt.Sprintf("list<%v>", list.Elem())
	}
	return t.String()
}

// doc is a column's description with its unit.
func doc(f arrow.Field) string {
	text, _ := f.Metadata.GetValue("description")
	if unit, ok := f.Metadata.GetValue("unit"); ok {
		text += " [" + unit + "]"
	}
	return text
}

// partition is what a path says of a file's rows, as Hive's readers understand it: percent signs are taken for escapes.
func partition(file string) map[string]string {
	keys := map[string]string{}
	for part := range strings.SplitSeq(path.Dir(file), "/") {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			continue
		}
		if plain, err := url.PathUnescape(value); err == nil {
			value = plain
		}
		keys[key] = value
	}
	return keys
}
