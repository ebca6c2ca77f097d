package verify

import (
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
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/llm-tracer/tracer/analysis/scan"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// batchRows is how many rows are looked at together.
const batchRows = 1 << 15

// rowsOf judges a table's rows, batch by batch, and what they are together.
type rowsOf interface {
	batch(r arrow.Record)
	end()
}

// file is one file in the first pass.
type file struct {
	*check
	path   string
	owners []string            // runs
	parts  map[string]string   // partition keys
	found  map[string]*Finding // by what they are about
	rowsBy map[string]int64    // run
	clock  map[string]*offsets // by run
	row    int64
	intact bool // byte for byte as it was committed
	lacks  []arrow.Field
}

// checkFile is the first pass over one file.
func (c *check) checkFile(ctx context.Context, name string) error {
	f := &file{
		check: c, path: name, owners: c.owners[name], parts: partitions(name), found: map[string]*Finding{},
		rowsBy: map[string]int64{}, clock: map[string]*offsets{},
	}
	defer f.hand()
	at := filepath.Join(c.root, name)
	rows, err := f.read(ctx, at)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var different *differenceError
	switch {
	case errors.As(err, &different):
		f.damaged("%v", err)
	case errors.Is(err, fs.ErrPermission):
		return err
	case err != nil && f.intact:
		f.undecodable(err)
	case err != nil:
		f.damaged("it cannot be decoded: %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files++
	c.rows += rows
	return nil
}

// differenceError is a file that is not the one that was committed.
type differenceError struct{ what string }

func (e *differenceError) Error() string { return e.what }

// read digests the file and decodes every value of it.
func (f *file) read(ctx context.Context, at string) (rows int64, err error) {
	size, sum, err := digest(at)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	f.bytes += size
	f.mu.Unlock()
	committed, ok := f.live[f.path]
	switch {
	case !ok:
	case size != committed.Bytes:
		return 0, &differenceError{fmt.Sprintf("it has %d bytes, %d were committed", size, committed.Bytes)}
	case sum != committed.SHA256:
		return 0, &differenceError{fmt.Sprintf("its contents are not those that were committed: SHA-256 %.12s…, not %.12s…", sum, committed.SHA256)}
	default:
		f.intact = true
	}
	p, err := scan.Open(at)
	if err != nil {
		return 0, err
	}
	defer p.Close() //nolint:errcheck // read only
	if ok && p.Rows() != committed.Rows {
		return 0, &differenceError{fmt.Sprintf("it has %d rows, %d were committed", p.Rows(), committed.Rows)}
	}
	fits := f.fits(p)
	f.older()
	if !fits {
		return p.Rows(), nil
	}
	return p.Rows(), f.each(ctx, p)
}

func digest(at string) (size int64, sum string, err error) {
	from, err := os.Open(at)
	if err != nil {
		return 0, "", err
	}
	defer from.Close() //nolint:errcheck // read only
	h := sha256.New()
	size, err = io.Copy(h, from)
	return size, hex.EncodeToString(h.Sum(nil)), err
}

func (f *file) each(ctx context.Context, p *scan.File) error {
	var judge rowsOf
	switch tableOf(f.path) {
	case schema.Samples.Name:
		judge = &samples{file: f}
	case schema.Requests.Name:
		judge = &requests{file: f}
	case schema.Folds.Name:
		judge = &folds{file: f}
	case schema.Runs.Name:
		judge = &runRows{file: f}
	case schema.Prompts.Name:
		judge = &prompts{file: f}
	}
	batches, err := p.Read(ctx, nil, 0, p.Rows(), batchRows)
	if err != nil {
		return err
	}
	defer batches.Close()
	order := scan.OrderOf(tableSchema(tableOf(f.path)))
	var last scan.Keys
	for ctx.Err() == nil {
		r, err := batches.Next()
		if errors.Is(err, io.EOF) {
			judge.end()
			return nil
		}
		if err != nil {
			return err
		}
		keys := order.Of(r)
		if i := keys.Unsorted(last); i >= 0 {
			f.bad("order", "row %d comes after its place: the file is to be sorted by %s", f.row+int64(i), strings.Join(order, ", "))
		}
		if r.NumRows() > 0 {
			last = keys.Row(int(r.NumRows()) - 1)
		}
		judge.batch(f.completed(r))
		f.row += r.NumRows()
	}
	return ctx.Err()
}

// fits holds a file's columns and metadata against the schema. Columns that may be NULL may be missing, as in older files,
// or unknown, as in newer ones.
func (f *file) fits(p *scan.File) bool {
	table := tableOf(f.path)
	want := tableSchema(table)
	if v := p.Meta("tracer.schema_version"); v != schema.Version {
		f.bad("version", "it has schema version %q, this tracer reads %q", v, schema.Version)
	}
	if t := p.Meta("tracer.table"); t != table {
		f.bad("table", "it is a file of table %q", t)
	}
	for _, have := range p.Schema.Fields() {
		at := want.FieldIndices(have.Name)
		switch {
		case have.Name == "gpu" || have.Name == "llm" || have.Name == "stage":
			f.bad("key", "column %s bears the name of a partition key, and pandas cannot read the two together", have.Name)
		case len(at) == 0 && !have.Nullable:
			f.bad("unknown", "column %s is not known, and may not be NULL: a newer tracer wrote it", have.Name)
		case len(at) == 0:
		case !sameType(have.Type, want.Field(at[0]).Type):
			f.bad("type", "column %s is of type %v, not %v", have.Name, have.Type, want.Field(at[0]).Type)
		case have.Nullable && !want.Field(at[0]).Nullable:
			f.bad("nullable", "column %s may be NULL, which it never is", have.Name)
		}
	}
	for _, need := range want.Fields() {
		switch lacking := len(p.Schema.FieldIndices(need.Name)) == 0; {
		case !lacking || need.Nullable:
		case slices.Contains(addedTo(table), need.Name):
			f.lacks = append(f.lacks, need)
		default:
			f.bad("column", "column %s is missing", need.Name)
		}
	}
	return len(f.found) == 0
}

// older tells of columns that the file lacks and that its tracer did not know.
func (f *file) older() {
	if len(f.lacks) == 0 {
		return
	}
	names := make([]string, len(f.lacks))
	for i, field := range f.lacks {
		names[i] = field.Name
	}
	f.find(Finding{
		Severity: Note, File: f.path, What: "an older tracer wrote it, without what was added since: " + strings.Join(names, ", "),
		Mend: "nothing to mend; readers get NULL",
	})
}

// completed is a batch with what the file lacks, as NULL.
func (f *file) completed(r arrow.Record) arrow.Record {
	if len(f.lacks) == 0 {
		return r
	}
	fields, columns := slices.Clone(r.Schema().Fields()), slices.Clone(r.Columns())
	for _, field := range f.lacks {
		fields, columns = append(fields, field), append(columns, array.MakeArrayOfNull(memory.DefaultAllocator, field.Type, int(r.NumRows())))
	}
	return array.NewRecord(arrow.NewSchema(fields, nil), columns, r.NumRows())
}

func addedTo(table string) []string {
	switch table {
	case schema.Samples.Name:
		return schema.Samples.Added()
	case schema.Requests.Name:
		return schema.Requests.Added()
	case schema.Runs.Name:
		return schema.Runs.Added()
	}
	return nil
}

// sameType leaves out whether a list's elements may be NULL, which Parquet's writers see differently.
func sameType(a, b arrow.DataType) bool {
	x, ok1 := a.(*arrow.ListType)
	y, ok2 := b.(*arrow.ListType)
	if ok1 && ok2 {
		return arrow.TypeEqual(x.Elem(), y.Elem())
	}
	return arrow.TypeEqual(a, b)
}

func tableSchema(table string) *arrow.Schema {
	switch table {
	case schema.Samples.Name:
		return schema.Samples.Schema()
	case schema.Requests.Name:
		return schema.Requests.Schema()
	case schema.Folds.Name:
		return schema.Folds.Schema()
	case schema.Runs.Name:
		return schema.Runs.Schema()
	default:
		return schema.Prompts.Schema()
	}
}

// partitions are the keys in a path.
func partitions(file string) map[string]string {
	keys := map[string]string{}
	for part := range strings.SplitSeq(path.Dir(file), "/") {
		if key, value, ok := strings.Cut(part, "="); ok {
			keys[key] = value
		}
	}
	return keys
}

// damaged finds that the file is not what was committed, or cannot be read.
func (f *file) damaged(format string, args ...any) {
	f.found = map[string]*Finding{"damage": {
		Severity: Error, File: f.path, What: fmt.Sprintf(format, args...), Mend: mendDamage, runs: f.owners, aside: []string{f.path},
	}}
}

// undecodable finds that this tracer cannot read what a tracer wrote. The file is no worse for it: it stays, as its runs do.
func (f *file) undecodable(err error) {
	f.found = map[string]*Finding{"decoding": {
		Severity: Error, File: f.path, What: fmt.Sprintf("tracer cannot decode it, though its checksum is right: %v", err),
		Mend: "it stays; see whether another program reads it (tracer query does so by DuckDB), and report a bug of tracer's", unjudged: f.owners,
	}}
}

// bad finds something about the file or its rows; what it says of the first is what is told.
func (f *file) bad(about, format string, args ...any) {
	if known := f.found[about]; known != nil {
		known.Rows++
		return
	}
	f.found[about] = &Finding{Severity: Error, File: f.path, What: fmt.Sprintf(format, args...), Rows: 1, Mend: mendContent, runs: f.owners}
}

// filed counts a row for its run, and finds whether it is one that the file was committed for.
func (f *file) filed(runID, host string) (name string) {
	name = store.RunName(runID, host)
	if f.rowsBy[name]++; f.rowsBy[name] > 1 {
		return name
	}
	switch base := path.Base(f.path); {
	case !slices.Contains(f.owners, name):
		f.bad("run", "it holds rows of run %s, whose manifest does not name it", name)
	case !store.IsMerged(base) && !strings.HasPrefix(base, name+"-") && base != name+".parquet":
		f.bad("run", "it holds rows of run %s, by whose name it is not called", name)
	}
	return name
}

// of is the run that rows are to be kept for, nil where they are no rows of one that the file was committed for.
func (f *file) of(name string) *run {
	if !slices.Contains(f.owners, name) {
		return nil
	}
	return f.run(name)
}

// hand gives what was found to the runs.
func (f *file) hand() {
	for _, found := range f.found {
		if tableOf(f.path) == schema.Prompts.Name { // no run's own; whoever sent it finds it missing
			found.aside = []string{f.path}
		}
		f.spoil(*found)
	}
	for name, rows := range f.rowsBy {
		r := f.of(name)
		if r == nil {
			continue
		}
		r.mu.Lock()
		r.rows[tableOf(f.path)] += rows
		if merged, ok := f.merged[f.path]; ok && merged.Runs[name] != rows {
			r.bad(f.path, "it holds %d rows of run %s, the compaction's manifest says %d", rows, name, merged.Runs[name])
		}
		if o := f.clock[name]; o != nil {
			r.clock.join(*o)
		}
		r.mu.Unlock()
	}
}

// The columns of a batch, and their values where there are any: nil is a column that the file lacks.

func column[A arrow.Array](r arrow.Record, name string) (a A) {
	if at := r.Schema().FieldIndices(name); len(at) > 0 {
		a, _ = r.Column(at[0]).(A)
	}
	return a
}

func text(a *array.String, i int) string {
	if a == nil || a.IsNull(i) {
		return ""
	}
	return a.Value(i)
}

func list(a *array.List, i int) (all []string) {
	if a.IsNull(i) {
		return nil
	}
	from, to := a.ValueOffsets(i)
	for k := from; k < to; k++ {
		all = append(all, strings.Clone(a.ListValues().(*array.String).Value(int(k))))
	}
	return all
}

func optional[T any, A interface {
	comparable
	arrow.Array
	Value(int) T
}](a A, i int) schema.Opt[T] {
	var none A
	if a == none || a.IsNull(i) {
		return schema.Opt[T]{}
	}
	return schema.Some(a.Value(i))
}
