package export

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/analysis/fit"
	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/schema"
)

// Formats are the names of what Write knows.
var Formats = []string{"csv", "opendc", "kavier", "jsonl"}

// Order is what is to be exported, and how.
type Order struct {
	query.Choice
	Format     string
	AllColumns bool         // csv: every column of samples after the nine
	Samples    bool         // jsonl: the samples beside the requests
	Hardware   fit.Hardware // kavier: what its constants are about
}

// export is one export under way.
type export struct {
	Order
	ctx    context.Context //nolint:containedctx // of the one call that makes an export
	data   *query.Dataset
	boards []query.Board
	folder *Folder
	files  []File
	notes  []string // for the reader of the README
}

// Write makes an export of a dataset in a folder, which is to be published afterwards.
func Write(ctx context.Context, d *query.Dataset, o Order, to *Folder) ([]File, error) {
	boards, err := d.Boards(ctx, o.Choice)
	if err != nil {
		return nil, err
	}
	e := &export{Order: o, ctx: ctx, data: d, boards: boards, folder: to}
	if err := to.free(readme); err != nil {
		return nil, err
	}
	switch o.Format {
	case "csv":
		err = e.csv()
	case "jsonl":
		err = e.jsonl()
	case "kavier":
		err = e.kavier()
	case "opendc":
		err = e.opendc()
	default:
		err = fmt.Errorf("no export is called %q; there are %s", o.Format, strings.Join(Formats, ", "))
	}
	if err != nil {
		return nil, err
	}
	if len(e.files) == 0 {
		return nil, fmt.Errorf("%w: the runs have no rows for this export", query.ErrNoneChosen)
	}
	return e.files, e.readme()
}

// write makes a file and notes how many rows it has; one without rows is left out.
func (e *export) write(name string, fill func(io.Writer) (rows int64, err error)) error {
	var rows int64
	err := e.folder.write(name, func(w io.Writer) (err error) {
		rows, err = fill(w)
		return err
	})
	if err == nil && rows == 0 {
		return e.folder.drop(name)
	}
	e.files = append(e.files, File{name, rows})
	return err
}

// seedColumns are those of the first design's CSV, in its order, under the dataset's names.
var seedColumns = []string{
	"timestamp", "prompt_id", "input_tokens", "output_tokens_requested", "gpu_name", "llm_name", "inference_stage",
	"gpu_utilization_pct", "power_instant_w",
}

// csv writes one file for each workload and kind of board: prefill_A10.csv, decode_A10.csv.
func (e *export) csv() error {
	columns := slices.Clone(seedColumns)
	if e.AllColumns {
		for _, c := range schema.Samples.Columns {
			if !slices.Contains(columns, c.Name) {
				columns = append(columns, c.Name)
			}
		}
	}
	for _, name := range e.shortNames() {
		of := slices.DeleteFunc(slices.Clone(e.boards), func(b query.Board) bool { return query.ShortName(b.Name) != name })
		selected := strings.Replace(strings.Join(columns, ", "), "timestamp", "strftime(timestamp, '%Y-%m-%dT%H:%M:%S.%fZ') AS timestamp", 1)
		for _, workload := range []schema.Workload{schema.WorkloadPrefill, schema.WorkloadDecode} {
			rows := fmt.Sprintf(`SELECT %s FROM samples WHERE %s AND workload = '%s' AND inference_stage IN ('prefill', 'decode') AND NOT warmup
				ORDER BY samples.timestamp, gpu_uuid`, selected, query.Among(of, schema.Samples.Name), workload)
			err := e.write(fmt.Sprintf("%s_%s.csv", workload, name), func(w io.Writer) (int64, error) {
				out := &lines{w: w}
				err := e.data.WriteCSV(e.ctx, out, rows)
				return out.n - 1, err // less the header
			})
			if err != nil {
				return err
			}
		}
	}
	e.notes = append(e.notes, "Rows of idle boards, of warm-up requests and of overlapping requests in different stages are left out.",
		"An empty field is a value that was not read, is not supported or failed. Utilisation is read less often than power.")
	return nil
}

// shortNames are the kinds of boards.
func (e *export) shortNames() []string {
	var names []string
	for _, b := range e.boards {
		names = append(names, query.ShortName(b.Name))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// jsonl writes requests.jsonl, and samples.jsonl where asked for: every column under the dataset's name, a line a row.
func (e *export) jsonl() error {
	type table struct{ name, order string }
	tables := []table{{schema.Requests.Name, "start_timestamp, request_id"}}
	if e.Samples {
		tables = append(tables, table{schema.Samples.Name, "timestamp, gpu_uuid"})
	}
	for _, t := range tables {
		rows := fmt.Sprintf("SELECT * EXCLUDE (%s) FROM %s WHERE %s ORDER BY %s", partitionKeys[t.name], t.name, query.Among(e.boards, t.name), t.order)
		err := e.write(t.name+".jsonl", func(w io.Writer) (int64, error) {
			out := &lines{w: w}
			err := e.data.WriteJSON(e.ctx, out, rows)
			return out.n, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// partitionKeys repeat, as slugs, what columns say exactly.
var partitionKeys = map[string]string{schema.Requests.Name: "gpu, llm", schema.Samples.Name: "gpu, llm, stage"}
