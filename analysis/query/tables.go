package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/llm-tracer/tracer/schema"
)

// table is one of the dataset's tables, and where its files stand.
type table struct {
	name   string
	keys   []string // of its partitions
	schema *arrow.Schema
	files  []string
}

// tables are what a dataset may hold.
type tables struct {
	all         []table
	uncommitted []string // relative to the dataset
}

// published finds the files that count: those that a manifest lists. Corpora have no manifest of their own, since runs share
// them. Where there are no manifests at all, every file counts.
func published(root string) (*tables, error) {
	found := &tables{all: []table{
		{name: schema.Samples.Name, keys: []string{"gpu", "llm", "stage"}, schema: schema.Samples.Schema()},
		{name: schema.Requests.Name, keys: []string{"gpu", "llm"}, schema: schema.Requests.Schema()},
		{name: schema.Folds.Name, schema: schema.Folds.Schema()},
		{name: schema.Runs.Name, schema: schema.Runs.Schema()},
		{name: schema.Prompts.Name, schema: schema.Prompts.Schema()},
	}}
	committed, err := manifests(root)
	if err != nil {
		return nil, err
	}
	there := false
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
			if committed == nil || committed[path] || t.name == schema.Prompts.Name {
				t.files = append(t.files, filepath.Join(root, path))
			} else {
				found.uncommitted = append(found.uncommitted, path)
			}
		}
	}
	if !there {
		return nil, fmt.Errorf("%w: there is no folder samples, requests, folds, runs or prompts in it", ErrNoDataset)
	}
	return found, nil
}

// manifests is the set of paths that they list; nil where there are none.
func manifests(root string) (map[string]bool, error) {
	paths, err := filepath.Glob(filepath.Join(escape(filepath.Join(root, "_tracer", "commits")), "*.json"))
	if err != nil || len(paths) == 0 {
		return nil, err
	}
	listed := map[string]bool{}
	for _, path := range paths {
		body, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var manifest struct {
			Files []struct {
				Path string `json:"path"`
			} `json:"files"`
		}
		if err := json.Unmarshal(body, &manifest); err != nil {
			return nil, fmt.Errorf("reading the manifest %s: %w", path, err)
		}
		for _, f := range manifest.Files {
			listed[f.Path] = true
		}
	}
	return listed, nil
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
	var quoted []string
	for _, run := range runs {
		quoted = append(quoted, quote(run))
	}
	var statements []string
	for _, one := range t.all {
		view := one.view()
		if len(runs) > 0 && one.name != schema.Prompts.Name && len(one.files) > 0 {
			view += fmt.Sprintf(" WHERE run_id IN (%s)", strings.Join(quoted, ", "))
		}
		statements = append(statements, view)
	}
	return statements
}

// view is the table's typed columns without rows, and its files below them: so each column is there whatever the files'
// age, and each keeps its type.
func (t table) view() string {
	var columns []string
	for _, f := range t.schema.Fields() {
		columns = append(columns, fmt.Sprintf("NULL::%s AS %s", typeName(f.Type), f.Name))
	}
	types := make([]string, 0, len(t.keys))
	for _, key := range t.keys {
		columns = append(columns, "NULL::VARCHAR AS "+key)
		types = append(types, fmt.Sprintf("%s: VARCHAR", quote(key)))
	}
	view := fmt.Sprintf("CREATE VIEW %s AS SELECT %s WHERE false", t.name, strings.Join(columns, ", "))
	if len(t.files) == 0 {
		return view
	}
	var paths []string
	for _, f := range t.files {
		paths = append(paths, quote(escape(f)))
	}
	hive := "false"
	if len(t.keys) > 0 {
		hive = fmt.Sprintf("true, hive_types = {%s}", strings.Join(types, ", "))
	}
	return fmt.Sprintf("%s UNION ALL BY NAME FROM read_parquet([%s], union_by_name = true, hive_partitioning = %s)", view, strings.Join(paths, ", "), hive)
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
