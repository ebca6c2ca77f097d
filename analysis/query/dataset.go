// Package query opens a dataset as SQL: its five tables as views of an embedded DuckDB, whatever runs, boards and models
// they hold. A view has every column of its table's schema, typed, and NULL in files from before the column was added;
// samples and requests have the partition keys beside them (gpu, llm, stage). A table without files is an empty view.
//
// The database lives in memory and dies with Close. It reads the dataset's folder and nothing else, fetches no extension,
// and keeps to its limits: what exceeds the memory is spilled to a temporary folder. It starts its threads in Open.
package query

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/duckdb/duckdb-go/v2"
	"github.com/jmoiron/sqlx"
	"github.com/jmoiron/sqlx/reflectx"

	"github.com/llm-tracer/tracer/pipeline/store"
)

// memoryMiB bounds DuckDB's own memory; with the rest of the program it stays under 2 GiB.
const memoryMiB = 1280

// ErrNoDataset says that a folder is not there, or holds none of the tables.
var ErrNoDataset = errors.New("no dataset")

// SQLError is what DuckDB has against a query, in its words. It is fs.ErrNotExist where a file is gone that was there when
// the dataset was opened: a compaction has put another in its place, and opening the dataset anew finds that.
type SQLError struct {
	Message string
	gone    bool
}

func (e *SQLError) Error() string { return e.Message }

// Is says whether a file was gone.
func (e *SQLError) Is(target error) bool { return e.gone && target == fs.ErrNotExist }

// Dataset is an open dataset.
type Dataset struct {
	dir    string
	db     *sqlx.DB
	spill  string
	found  *tables
	tables []Table
	runs   []string // that the views show; all where there are none
}

// Strings is a list of strings, for Select.
type Strings []string

// Scan takes what DuckDB's driver makes of one.
func (s *Strings) Scan(v any) error {
	list, ok := v.([]any)
	if !ok {
		return fmt.Errorf("%T is no list", v)
	}
	*s = make(Strings, len(list))
	for i, item := range list {
		(*s)[i] = fmt.Sprint(item)
	}
	return nil
}

// Open opens the dataset in a folder: all of it, or those runs that are named. Close it when done.
func Open(ctx context.Context, dir string, runs ...string) (*Dataset, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening dataset %s: %w", dir, err)
	}
	found, err := published(root)
	if err == nil {
		err = found.shape(ctx)
	}
	if err != nil {
		if is := store.NoFolder(dir, nil); is != nil {
			return nil, is
		}
		return nil, fmt.Errorf("opening dataset %s: %w", dir, err)
	}
	connector, err := duckdb.NewConnector("", nil)
	if err != nil {
		return nil, fmt.Errorf("starting DuckDB: %w", err)
	}
	spill := filepath.Join(os.TempDir(), "tracer-query-"+rand.Text()) // DuckDB makes it when it has to
	d := &Dataset{dir: root, db: sqlx.NewDb(sql.OpenDB(connector), "duckdb"), spill: spill, found: found, tables: found.told(root), runs: runs}
	d.db.Mapper = reflectx.NewMapper("json")
	for _, statement := range append(found.views(runs), confine(root, spill)...) {
		if _, err := d.db.ExecContext(ctx, statement); err != nil {
			reason, _, _ := strings.Cut(err.Error(), "\n") // the lines below it show the statement
			if gone(err) {
				return nil, errors.Join(fmt.Errorf("opening dataset %s: %w: %s", dir, fs.ErrNotExist, reason), d.Close())
			}
			if strings.HasSuffix(reason, "Permission denied") {
				return nil, errors.Join(fmt.Errorf("opening dataset %s: %w: %s", dir, fs.ErrPermission, reason), d.Close())
			}
			return nil, errors.Join(fmt.Errorf("opening dataset %s: %s", dir, reason), d.Close())
		}
	}
	return d, nil
}

// confine locks the database into the dataset's folder. Views are made before: they look into their files.
func confine(root, spill string) []string {
	return []string{
		"SET TimeZone = 'UTC'",
		fmt.Sprintf("SET memory_limit = '%dMiB'", memoryMiB),
		"SET temp_directory = " + quote(spill),
		"SET autoinstall_known_extensions = false",
		"SET autoload_known_extensions = false",
		fmt.Sprintf("SET allowed_directories = [%s, %s, %s]", quote(root+"/"), quote(escape(root)+"/"), quote(spill+"/")),
		"SET enable_external_access = false",
		"SET lock_configuration = true",
	}
}

// Close ends the database and removes what it spilled.
func (d *Dataset) Close() error {
	return errors.Join(d.db.Close(), os.RemoveAll(d.spill))
}

// Dir is the folder that was opened.
func (d *Dataset) Dir() string { return d.dir }

// Uncommitted lists files that stand in the tables but in no manifest: of a run that is being published, or whose
// publication broke off. They are not read. A dataset without manifests, a copy of its tables alone, is read whole.
func (d *Dataset) Uncommitted() []string { return d.found.uncommitted }

// Tables says what the dataset holds, table by table.
func (d *Dataset) Tables() []Table { return d.tables }

// Missing lists files that manifests list and that are gone.
func (d *Dataset) Missing() []string { return d.found.missing }

// Select runs a query and scans its rows into a slice of structs, by their json tags; pointers take NULL.
func (d *Dataset) Select(ctx context.Context, rows any, query string, args ...any) error {
	return said(d.db.SelectContext(ctx, rows, query, args...))
}

// Rows runs a query. Close the rows.
func (d *Dataset) Rows(ctx context.Context, query string, args ...any) (*sqlx.Rows, error) {
	rows, err := d.db.QueryxContext(ctx, query, args...)
	return rows, said(err)
}

// Check says what is wrong with a query of the user's, without running it: what DuckDB does not understand, and what does
// more than read, for COPY could overwrite the dataset.
func (d *Dataset) Check(ctx context.Context, query string) error {
	var parsed string // by the parser alone: preparing EXPORT makes its folder
	if err := d.db.GetContext(ctx, &parsed, "SELECT CAST(json_serialize_sql(?::VARCHAR) AS VARCHAR)", query); err != nil {
		return said(err)
	}
	var tree struct {
		Error      bool   `json:"error"`
		Type       string `json:"error_type"`
		Message    string `json:"error_message"`
		Statements []any  `json:"statements"`
	}
	if err := json.Unmarshal([]byte(parsed), &tree); err != nil {
		return fmt.Errorf("reading DuckDB's parse of the query: %w", err)
	}
	switch {
	case tree.Type == "parser":
		return &SQLError{Message: tree.Message}
	case tree.Error:
		return &SQLError{Message: "a dataset is only read: give a SELECT, DESCRIBE, SUMMARIZE or SHOW"}
	case len(tree.Statements) != 1:
		return &SQLError{Message: fmt.Sprintf("give one statement: there are %d", len(tree.Statements))}
	}
	prepared, err := d.db.PreparexContext(ctx, query)
	if err != nil {
		return said(err)
	}
	return prepared.Close()
}

// said tells DuckDB's complaints from other failures.
func said(err error) error {
	if complaint, ok := errors.AsType[*duckdb.Error](err); ok && complaint.Type != duckdb.ErrorTypeInterrupt {
		return &SQLError{complaint.Msg, gone(err)}
	}
	return err
}

// gone says whether DuckDB misses a file, which it tells in two ways: before it opened it once, and after that.
func gone(err error) bool {
	complaint, ok := errors.AsType[*duckdb.Error](err)
	return ok && complaint.Type == duckdb.ErrorTypeIO &&
		(strings.Contains(complaint.Msg, "No such file or directory") || strings.Contains(complaint.Msg, "No files found that match"))
}

// quote is a string as SQL writes it.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
