package analysis

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/llm-tracer/tracer/analysis/scan"
	"github.com/llm-tracer/tracer/schema"
)

// Setting is what an overhead was measured with, and holds for.
type Setting struct {
	Host, Model, Server, Driver string
	Boards                      []string // UUIDs
	Period                      time.Duration
}

// nearPeriod is how far, as a share, two periods may differ and still load a board alike.
const nearPeriod = 0.1

// LatestOverhead is the newest result in the dataset that was measured in a setting; its RunID is empty where there is
// none.
func (d Dataset) LatestOverhead(in Setting) (schema.Overhead, error) {
	return again(func() (schema.Overhead, error) { return d.latestOverhead(in) })
}

func (d Dataset) latestOverhead(in Setting) (latest schema.Overhead, err error) {
	files, err := d.Files(schema.Runs.Name, "*")
	if err != nil {
		return latest, err
	}
	var newest arrow.Timestamp
	for _, f := range files {
		all, err := readOverheads(f, in)
		if err != nil {
			return latest, err
		}
		for _, m := range all {
			if slices.Equal(slices.Sorted(slices.Values(m.boards)), slices.Sorted(slices.Values(in.Boards))) && m.started >= newest {
				latest, newest = m.Overhead, m.started
			}
		}
	}
	return latest, nil
}

// measuredOverhead is what one run measured.
type measuredOverhead struct {
	schema.Overhead
	started arrow.Timestamp
	boards  []string
}

// readOverheads reads a file of runs, a row for each of their boards.
func readOverheads(file string, in Setting) (found map[string]*measuredOverhead, err error) {
	found = map[string]*measuredOverhead{}
	columns := []string{
		"run_id", "overhead_run_id", "host", "llm_name", "server", "driver_version", "gpu_uuid", "start_timestamp", "overhead_period_s",
		"overhead_ttft_pct", "overhead_ttft_pct_lo", "overhead_ttft_pct_hi", "overhead_tpot_pct", "overhead_tpot_pct_lo", "overhead_tpot_pct_hi",
	}
	err = eachBatch(file, columns, func(a []arrow.Array) error {
		for i := range a[0].Len() {
			o := schema.Overhead{
				RunID:  text(a[0], i),
				Period: time.Duration(math.Round(optional(a[8], i).V * 1e9)),
				TTFT:   schema.Effect{Pct: optional(a[9], i), Lo: optional(a[10], i), Hi: optional(a[11], i)},
				TPOT:   schema.Effect{Pct: optional(a[12], i), Lo: optional(a[13], i), Hi: optional(a[14], i)},
			}
			measured := a[1].IsValid(i) && text(a[1], i) == o.RunID && (o.TTFT.Pct.OK || o.TPOT.Pct.OK)
			alike := text(a[2], i) == in.Host && text(a[3], i) == in.Model && text(a[4], i) == in.Server && text(a[5], i) == in.Driver
			if measured && alike && math.Abs(float64(o.Period-in.Period)) <= nearPeriod*float64(in.Period) {
				m := found[o.RunID]
				if m == nil {
					m = &measuredOverhead{Overhead: o, started: a[7].(*array.Timestamp).Value(i)}
					found[o.RunID] = m
				}
				m.boards = append(m.boards, text(a[6], i))
			}
		}
		return nil
	})
	if errors.Is(err, scan.ErrNoColumn) { // written before overhead was measured
		return found, nil
	}
	return found, err
}
