package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	iceio "github.com/apache/iceberg-go/io"
	icetable "github.com/apache/iceberg-go/table"
)

// What is tried anew after others were faster. A committer that was killed may have claimed a version of a table, which the
// catalog gives to another after a minute.
const (
	patience             = 90 * time.Second
	firstWait, widerWait = 20 * time.Millisecond, time.Second
)

// registrar brings a catalog's tables to what a listing says.
type registrar struct {
	catalog   catalog.Catalog
	namespace icetable.Identifier
	dataset   string // URI
	told      func(format string, args ...any)
}

// outcome is what was done to one table.
type outcome struct {
	added, removed int
	rows           int64 // of the table afterwards
}

// register commits what is to be done, table by table, runs last.
func (r *registrar) register(ctx context.Context, l *listing) error {
	if err := r.makeNamespace(ctx); err != nil {
		return err
	}
	for i := range l.Tables {
		t := &l.Tables[i]
		done, err := r.bring(ctx, t)
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
		r.told("%s: %d files added, %d taken out; %d rows in %d files", t.Name, done.added, done.removed, done.rows, len(t.Files))
	}
	return nil
}

func (r *registrar) makeNamespace(ctx context.Context) error {
	err := r.catalog.CreateNamespace(ctx, r.namespace, nil)
	if err != nil && !errors.Is(err, catalog.ErrNamespaceAlreadyExists) {
		return fmt.Errorf("making namespace %v: %w", r.namespace, err)
	}
	return nil
}

// bring commits to one table until it is as the listing says. Each attempt looks at the table anew: what another committer has
// registered meanwhile is not registered again.
func (r *registrar) bring(ctx context.Context, t *table) (outcome, error) {
	wait := firstWait
	for began := time.Now(); ; wait = min(2*wait, widerWait) {
		done, outrun, err := r.attempt(ctx, t)
		if err == nil || !outrun || time.Since(began) > patience {
			return done, err
		}
		select {
		case <-ctx.Done():
			return done, err
		case <-time.After(wait):
		}
	}
}

// attempt reports whether it failed because others are committing.
func (r *registrar) attempt(ctx context.Context, t *table) (done outcome, outrun bool, err error) {
	tbl, err := r.open(ctx, t)
	if err != nil {
		return done, errors.Is(err, catalog.ErrTableAlreadyExists), err
	}
	done, err = r.commit(ctx, tbl, t)
	if err == nil || errors.Is(err, icetable.ErrCommitFailed) {
		return done, true, err
	}
	now, lost := r.catalog.LoadTable(ctx, tbl.Identifier())
	return done, lost == nil && now.MetadataLocation() != tbl.MetadataLocation(), err
}

// open loads the table, or makes it, and gives it the columns that newer files have.
func (r *registrar) open(ctx context.Context, t *table) (*icetable.Table, error) {
	name := append(slices.Clone(r.namespace), t.Name)
	tbl, err := r.catalog.LoadTable(ctx, name)
	if errors.Is(err, catalog.ErrNoSuchTable) {
		tbl, err = r.create(ctx, name, t) // or somebody is faster, which the next attempt sees
	}
	if err != nil {
		return nil, fmt.Errorf("opening it in the catalog: %w", err)
	}
	if at := tbl.Properties()[datasetProperty]; at != r.dataset {
		return nil, fmt.Errorf("it registers the dataset at %q, not %q: give another --namespace, or another --warehouse", at, r.dataset)
	}
	return tbl, nil
}

// datasetProperty is the table's property that names the dataset whose files it registers.
const datasetProperty = "tracer.dataset"

func (r *registrar) create(ctx context.Context, name icetable.Identifier, t *table) (*icetable.Table, error) {
	s, err := schemaOf(t)
	if err != nil {
		return nil, err
	}
	spec, err := specOf(t, s)
	if err != nil {
		return nil, err
	}
	return r.catalog.CreateTable(ctx, name, s, catalog.WithPartitionSpec(spec), catalog.WithProperties(iceberg.Properties{
		"comment": t.Doc, datasetProperty: r.dataset,
		"gc.enabled": "false", // the files are the dataset's: no engine may delete them
	}))
}

// commit makes one snapshot of what the table lacks and has too much.
func (r *registrar) commit(ctx context.Context, tbl *icetable.Table, t *table) (done outcome, err error) {
	fs, err := tbl.FS(ctx)
	if err != nil {
		return done, err
	}
	have, err := filesOf(ctx, tbl)
	if err != nil {
		return done, fmt.Errorf("reading what it registers: %w", err)
	}
	tx := tbl.NewTransaction()
	changed, err := addColumns(tx, tbl, t)
	if err != nil {
		return done, err
	}
	staged, err := tx.StagedTable()
	if err != nil {
		return done, err
	}
	var add []iceberg.DataFile
	for i := range t.Files {
		f := &t.Files[i]
		done.rows += f.Rows
		at := r.dataset + "/" + f.Path
		if _, ok := have[at]; ok {
			delete(have, at)
			continue
		}
		df, err := dataFile(fs, staged.Schema(), staged.Spec(), at, f)
		if err != nil {
			return done, err
		}
		add = append(add, df)
	}
	remove := slices.Collect(maps.Values(have))
	done.added, done.removed = len(add), len(remove)
	if len(add)+len(remove) > 0 {
		if err := tx.ReplaceDataFilesWithDataFiles(ctx, remove, add, nil); err != nil {
			return done, err
		}
	} else if !changed {
		return done, nil
	}
	_, err = tx.Commit(ctx)
	return done, err
}

// filesOf are the data files of the table's current snapshot, by path.
func filesOf(ctx context.Context, tbl *icetable.Table) (map[string]iceberg.DataFile, error) {
	have := map[string]iceberg.DataFile{}
	if tbl.CurrentSnapshot() == nil {
		return have, nil
	}
	tasks, err := tbl.Scan().PlanFiles(ctx)
	if err != nil {
		return nil, err
	}
	for _, task := range tasks {
		have[task.File.FilePath()] = task.File
	}
	return have, nil
}

// addColumns adds what newer files have. Older ones lack it, so it may be NULL.
func addColumns(tx *icetable.Transaction, tbl *icetable.Table, t *table) (bool, error) {
	update, added := tx.UpdateSchema(true, false, icetable.WithNameMapping(tbl.NameMapping())), false
	for _, c := range t.Columns {
		if _, ok := tbl.Schema().FindFieldByName(c.Name); ok {
			continue
		}
		typ, err := typeOf(c, func() int { return 0 })
		if err != nil {
			return false, err
		}
		update, added = update.AddColumn([]string{c.Name}, typ, c.Doc, false, nil), true
	}
	if !added {
		return false, nil
	}
	return true, update.Commit()
}

// dataFile describes a file to Iceberg: where it is, in which partition, and what its footer says of its columns.
func dataFile(fs iceio.IO, s *iceberg.Schema, spec iceberg.PartitionSpec, at string, f *file) (iceberg.DataFile, error) {
	values := map[int]any{}
	for _, field := range spec.Fields() {
		values[field.FieldID] = f.Partition[field.Name]
	}
	b, err := iceberg.NewDataFileBuilder(spec, iceberg.EntryContentData, at, iceberg.ParquetFile, values, nil, nil, f.Rows, f.Bytes)
	if err != nil {
		return nil, err
	}
	m, err := readFooter(fs, at, s)
	if err != nil {
		return nil, fmt.Errorf("reading the footer of %s: %w", at, err)
	}
	if m.rows != f.Rows {
		return nil, fmt.Errorf("%s has %d rows, its manifest says %d: tracer verify says more", at, m.rows, f.Rows)
	}
	return b.ColumnSizes(m.sizes).ValueCounts(m.values).NullValueCounts(m.nulls).LowerBoundValues(m.lower).UpperBoundValues(m.upper).
		SplitOffsets(m.groups).Build(), nil
}
