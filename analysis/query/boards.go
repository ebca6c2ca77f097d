package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/schema"
)

// ErrNoneChosen says that nothing in the dataset fits what was asked for.
var ErrNoneChosen = errors.New("nothing chosen")

// Board is one board in one run.
type Board struct {
	RunID       string   `json:"run_id"`
	Boards      int      `json:"boards"` // of the run
	UUID        string   `json:"gpu_uuid"`
	Name        string   `json:"gpu_name"`
	LLM         string   `json:"llm_name"`
	Simulated   bool     `json:"simulated"`
	Cores       *int64   `json:"cores"`
	MaxSMMHz    *int64   `json:"max_sm_clock_mhz"`
	MemoryBytes *int64   `json:"memory_bytes"`
	IdleW       *float64 `json:"idle_power_w"`
	GainError   float64  `json:"sensor_gain_error"`
}

// ShortName is a board's name without its vendor, fit for a file name: A10 for NVIDIA A10.
func ShortName(gpu string) string {
	for _, vendor := range []string{"NVIDIA ", "Tesla "} {
		gpu = strings.TrimPrefix(gpu, vendor)
	}
	return schema.Slug(gpu)
}

// Served is what so many boards together are called: 2 × NVIDIA A10. Names of several kinds are joined by + already.
func Served(gpu string, boards int) string {
	kinds := strings.Count(gpu, "+") + 1
	switch gpu = Printable(gpu); {
	case boards <= kinds:
		return gpu
	case kinds > 1:
		return fmt.Sprintf("%s (%d boards)", gpu, boards)
	}
	return fmt.Sprintf("%d × %s", boards, gpu)
}

// ServedSlug is the same, fit for a file name: A10, 2x-A10.
func ServedSlug(gpu string, boards int) string {
	if boards <= strings.Count(gpu, "+")+1 {
		return ShortName(gpu)
	}
	return fmt.Sprintf("%dx-%s", boards, ShortName(gpu))
}

// Choice narrows a dataset down; what is empty narrows nothing.
type Choice struct {
	Runs []string // run_id, each of which must be there
	GPU  string   // gpu_name, its slug or its short name, or gpu_uuid
	LLM  string   // llm_name or its slug
}

// Takes says whether a board in a run is chosen.
func (c Choice) Takes(runID, gpu, uuid, llm string) bool {
	return (c.Runs == nil || slices.Contains(c.Runs, runID)) &&
		(c.GPU == "" || slices.Contains([]string{gpu, schema.Slug(gpu), ShortName(gpu), uuid}, c.GPU)) &&
		(c.LLM == "" || slices.Contains([]string{llm, schema.Slug(llm)}, c.LLM))
}

// Choose narrows the dataset's tables down to the runs that have a board which is chosen. None is ErrNoneChosen.
func (d *Dataset) Choose(ctx context.Context, c Choice) error {
	if c.Runs == nil && c.GPU == "" && c.LLM == "" {
		return nil
	}
	boards, err := d.Boards(ctx, c)
	if err != nil {
		return err
	}
	var runs []string
	for _, b := range boards {
		runs = append(runs, b.RunID)
	}
	d.runs = slices.Compact(runs)
	return d.show(ctx, d.runs)
}

// show makes the views anew, of some runs.
func (d *Dataset) show(ctx context.Context, runs []string) error {
	for _, statement := range d.found.views(runs) {
		if _, err := d.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("choosing runs: %w", said(err))
		}
	}
	return nil
}

// Within does something while the tables show one run alone, and then shows again what they did before: so a query about a
// run looks into its own files, and not into the footers of all. Nothing else may ask meanwhile.
func (d *Dataset) Within(ctx context.Context, runID string, do func() error) error {
	if err := d.show(ctx, []string{runID}); err != nil {
		return err
	}
	return errors.Join(do(), d.show(ctx, d.runs))
}

// Boards lists the boards of the runs chosen, in the order in which these began. None is ErrNoneChosen.
func (d *Dataset) Boards(ctx context.Context, c Choice) ([]Board, error) {
	var all []Board
	err := d.Select(ctx, &all, `SELECT run_id, count(*) OVER (PARTITION BY run_id) AS boards, gpu_uuid, gpu_name, llm_name, coalesce(simulated, false) AS simulated, cores, max_sm_clock_mhz,
		memory_bytes, idle_power_w, coalesce(sensor_gain_error, 0) AS sensor_gain_error FROM runs ORDER BY start_timestamp, run_id, gpu_uuid`)
	if err != nil {
		return nil, fmt.Errorf("listing the runs: %w", err)
	}
	var chosen []Board
	var there []string
	for _, b := range all {
		if c.Takes(b.RunID, b.Name, b.UUID, b.LLM) {
			chosen = append(chosen, b)
		}
		if name := fmt.Sprintf("%s on %s (%s)", Printable(b.LLM), Printable(b.Name), Printable(b.RunID)); !slices.Contains(there, name) {
			there = append(there, name)
		}
	}
	for _, run := range c.Runs {
		if !slices.ContainsFunc(all, func(b Board) bool { return b.RunID == run }) {
			return nil, fmt.Errorf("%w: there is no run %s; there are %s", ErrNoneChosen, Printable(run), some(there))
		}
	}
	switch {
	case len(chosen) > 0:
		return chosen, nil
	case len(there) == 0:
		return nil, fmt.Errorf("%w: the dataset has no runs", ErrNoneChosen)
	default:
		return nil, fmt.Errorf("%w: no run fits; there are %s", ErrNoneChosen, some(there))
	}
}

// some names what is there, the latest of it where that is much.
func some(there []string) string {
	const most = 12
	if n := len(there) - most; n > 0 {
		there = append([]string{fmt.Sprintf("%d others", n)}, there[n:]...)
	}
	return cmp.Or(strings.Join(there, ", "), "none")
}

// Among is the SQL condition that rows are of these boards; rows of requests name no board, and are of their runs.
func Among(boards []Board, table string) string {
	var rows []string
	column := "(run_id, gpu_uuid)"
	if table == schema.Requests.Name {
		column = "run_id"
	}
	for _, b := range boards {
		row := quote(b.RunID)
		if table != schema.Requests.Name {
			row = fmt.Sprintf("(%s, %s)", row, quote(b.UUID))
		}
		if !slices.Contains(rows, row) {
			rows = append(rows, row)
		}
	}
	return fmt.Sprintf("%s IN (%s)", column, strings.Join(rows, ", "))
}
