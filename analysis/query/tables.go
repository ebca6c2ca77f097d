package query

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// table is one of the dataset's tables, and where its files stand.
type table struct {
	name   string
	doc    string   // what a row is
	keys   []string // of its partitions
	schema *arrow.Schema
	files  []string
	groups [][]string // the same files, by shape
}

// tables are what a dataset may hold.
type tables struct {
	all         []table
	uncommitted []string // relative to the dataset, as all that follow
	missing     []string
	runs        map[string][]string // ids of those that have rows in a file, by its path; empty where there are no manifests
}

// Table is one of the dataset's tables: what a row is, and the files that count, relative to the dataset.
type Table struct {
	Name, Doc string
	Glob      string // that finds its files
	Files     []string
}

// told are the tables as users are told of them.
func (t *tables) told(root string) (all []Table) {
	for _, one := range t.all {
		public := Table{Name: one.name, Doc: one.doc, Glob: one.name + "/*.parquet"}
		if len(one.keys) > 0 {
			public.Glob = one.name + "/**/*.parquet"
		}
		for _, f := range one.files {
			public.Files = append(public.Files, strings.TrimPrefix(f, root+string(filepath.Separator)))
		}
		all = append(all, public)
	}
	return all
}

// published finds the files that count: those that a manifest lists. Corpora have no manifest of their own, since runs share
// them. Where there are no manifests at all, every file counts.
func published(root string) (*tables, error) {
	found := &tables{all: []table{
		{name: schema.Samples.Name, doc: schema.Samples.Doc, keys: []string{"gpu", "llm", "stage"}, schema: schema.Samples.Schema()},
		{name: schema.Requests.Name, doc: schema.Requests.Doc, keys: []string{"gpu", "llm"}, schema: schema.Requests.Schema()},
		{name: schema.Folds.Name, doc: schema.Folds.Doc, schema: schema.Folds.Schema()},
		{name: schema.Runs.Name, doc: schema.Runs.Doc, schema: schema.Runs.Schema()},
		{name: schema.Prompts.Name, doc: schema.Prompts.Doc, schema: schema.Prompts.Schema()},
	}}
	catalog, err := committed(root)
	if err != nil {
		return nil, err
	}
	live, none := catalog.Live(), len(catalog.Runs)+len(catalog.Compactions) == 0
	found.runs = runsOf(root, catalog)
	there, seen := false, map[string]bool{}
	for i := range found.all {
		t := &found.all[i]
		paths, err := parquetFiles(root, t.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		there = true
		for _, path := range paths {
			seen[path] = true
			if _, ok := live[path]; ok || none || t.name == schema.Prompts.Name {
				t.files = append(t.files, filepath.Join(root, path))
			} else {
				found.uncommitted = append(found.uncommitted, path)
			}
		}
	}
	if !there {
		return nil, fmt.Errorf("%w: there is no folder samples, requests, folds, runs or prompts in it", ErrNoDataset)
	}
	for path := range live {
		if !seen[path] && strings.HasSuffix(path, ".parquet") {
			found.missing = append(found.missing, path)
		}
	}
	slices.Sort(found.missing)
	return found, nil
}

// Manifests lists a dataset's manifests, relative to it.
func Manifests(root string) ([]string, error) {
	return fs.Glob(os.DirFS(root), "_tracer/commits/*.json")
}

// committed is what the manifests say, all of which are to be readable.
func committed(root string) (*store.Catalog, error) {
	catalog, err := store.ReadCatalog(root)
	if err != nil {
		return nil, err
	}
	for path, err := range catalog.Unreadable {
		return nil, fmt.Errorf("reading the manifest %s: %w; tracer verify says more", path, err)
	}
	return catalog, nil
}

// runsOf are the ids of the runs that have rows in a file, by its path.
func runsOf(root string, catalog *store.Catalog) map[string][]string {
	runs := map[string][]string{}
	for file, names := range catalog.Owners() {
		for _, name := range names {
			if m, ok := catalog.Runs[name]; ok {
				at := filepath.Join(root, file)
				runs[at] = append(runs[at], m.RunID)
			}
		}
	}
	return runs
}

// parquetFiles lists a table's files, relative to the dataset, in their order.
func parquetFiles(root, name string) (paths []string, err error) {
	err = filepath.WalkDir(filepath.Join(root, name), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".parquet") {
			return err
		}
		relative, err := filepath.Rel(root, path)
		paths = append(paths, relative)
		return err
	})
	return paths, err
}

// views are the statements that make the tables' views, of all runs or of some. Corpora belong to no run.
func (t *tables) views(runs []string) []string {
	chosen, quoted := map[string]bool{}, []string{}
	for _, run := range runs {
		chosen[run] = true
		quoted = append(quoted, quote(run))
	}
	var statements []string
	for _, one := range t.all {
		of := ""
		if len(runs) > 0 && one.name != schema.Prompts.Name {
			one.groups = t.holding(one.groups, chosen)
			of = fmt.Sprintf(" WHERE run_id IN (%s)", strings.Join(quoted, ", "))
		}
		statements = append(statements, one.view(of))
	}
	return statements
}

// holding leaves out the files that have no rows of some runs, by the manifests.
func (t *tables) holding(groups [][]string, chosen map[string]bool) (left [][]string) {
	for _, files := range groups {
		var of []string
		for _, f := range files {
			runs, known := t.runs[f]
			if !known || slices.ContainsFunc(runs, func(run string) bool { return chosen[run] }) {
				of = append(of, f)
			}
		}
		if len(of) > 0 {
			left = append(left, of)
		}
	}
	return left
}

// shape looks into the tables' files.
func (t *tables) shape(ctx context.Context) (err error) {
	for i := range t.all {
		if t.all[i].groups, err = shaped(ctx, t.all[i].files); err != nil {
			return err
		}
	}
	return nil
}

// view is the table's typed columns without rows, and its files below them: so each column is there whatever the files'
// age, and each keeps its type. Files of one shape are read by one call, without union_by_name: with it DuckDB reads the
// footers of all of them for each query anew, and keeps what they say until it is over, some 300 KB a file, beside its limit.
func (t table) view(of string) string {
	var columns []string
	for _, f := range t.schema.Fields() {
		columns = append(columns, fmt.Sprintf("NULL::%s AS %s", typeName(f.Type), f.Name))
	}
	types := make([]string, 0, len(t.keys))
	for _, key := range t.keys {
		columns = append(columns, "NULL::VARCHAR AS "+key)
		types = append(types, fmt.Sprintf("%s: VARCHAR", quote(key)))
	}
	hive := "false"
	if len(t.keys) > 0 {
		hive = fmt.Sprintf("true, hive_types = {%s}", strings.Join(types, ", "))
	}
	var view strings.Builder
	fmt.Fprintf(&view, "CREATE OR REPLACE VIEW %s AS SELECT %s WHERE false", t.name, strings.Join(columns, ", "))
	for _, files := range t.groups {
		var paths []string
		for _, f := range files {
			paths = append(paths, quote(escape(f)))
		}
		fmt.Fprintf(&view, " UNION ALL BY NAME FROM read_parquet([%s], hive_partitioning = %s)%s", strings.Join(paths, ", "), hive, of)
	}
	return view.String()
}

// escape makes a path safe where patterns are read.
func escape(path string) string {
	return strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]").Replace(path)
}

// typeName is DuckDB's name of a column's type.
func typeName(t arrow.DataType) string {
	switch t := t.(type) {
	case *arrow.ListType:
		return typeName(t.Elem()) + "[]"
	case *arrow.TimestampType:
		return "TIMESTAMPTZ"
	default:
		names := map[arrow.Type]string{
			arrow.STRING: "VARCHAR", arrow.BOOL: "BOOLEAN", arrow.INT32: "INTEGER", arrow.INT64: "BIGINT", arrow.FLOAT32: "FLOAT", arrow.FLOAT64: "DOUBLE",
		}
		return names[t.ID()]
	}
}
