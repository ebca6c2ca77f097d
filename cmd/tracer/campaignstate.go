package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/internal/campaign"
	"github.com/llm-tracer/tracer/pipeline/bucket"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// measured is what a dataset has of a campaign. Nothing else knows: what is published is done, whoever measured it.
type measured struct {
	file    *campaign.File
	cells   map[string]*cellState        // by run
	options map[string]map[string]string // of its first run
	asked   map[string]int               // prompts of a cell, each repetition counted; 0 where the sensor decides
}

// cellState is what there is of one cell.
type cellState struct {
	Root     string  `json:"root"`
	Sent     int     `json:"sent"`     // prompts, each repetition counted
	Answered int     `json:"answered"` // of them
	Seconds  float64 `json:"seconds"`
	complete bool
}

// measuredOf reads a campaign's runs in its dataset. Of one in a store, the small tables are enough.
func (t *terminal) measuredOf(ctx context.Context, file *campaign.File) (m *measured, err error) {
	look := bucket.Look{Tables: []string{schema.Runs.Name, schema.Requests.Name}, Tell: func(int, int64) {}}
	err = t.inFolder(ctx, file.Out, look, func(dir string) (err error) {
		m, err = measuredIn(ctx, file, dir)
		return err
	})
	if bucket.IsRemote(file.Out) && errors.Is(err, store.ErrNoDataset) { // nothing is there yet
		return newMeasured(file), nil
	}
	return m, err
}

func newMeasured(file *campaign.File) *measured {
	return &measured{file: file, cells: map[string]*cellState{}, options: map[string]map[string]string{}, asked: map[string]int{}}
}

func measuredIn(ctx context.Context, file *campaign.File, dir string) (*measured, error) {
	m := newMeasured(file)
	catalog, err := store.ReadCatalog(dir)
	if err != nil {
		return nil, err
	}
	for _, run := range catalog.Runs {
		if run.LaunchID != file.Name {
			continue
		}
		root := run.RunID
		if run.Continues != "" {
			root = run.Continues
		} else if run.Job != nil {
			m.options[root], m.asked[root] = run.Job.Options, asked(run.Job)
		}
		m.at(root).complete = m.at(root).complete || run.Status == schema.StatusComplete
	}
	if len(m.cells) == 0 {
		return m, nil
	}
	found, err := counted(ctx, file, dir)
	if err != nil {
		return nil, err
	}
	for _, c := range found {
		s := m.at(c.Root)
		s.Sent, s.Answered, s.Seconds = c.Sent, c.Answered, c.Seconds
		// A run may have been stopped when its last answer was there.
		s.complete = s.complete || m.asked[c.Root] > 0 && s.Answered >= m.asked[c.Root]
	}
	return m, nil
}

// asked is how many prompts a run is to send, each repetition counted; 0 where that depends on what the sensor sees.
func asked(job *store.Job) int {
	repeat, err := strconv.Atoi(job.Options["repeat"])
	if err != nil || job.Options["min-stage-updates"] != "0" {
		return 0
	}
	return len(job.Prompts) * repeat
}

func (m *measured) at(run string) *cellState {
	if m.cells[run] == nil {
		m.cells[run] = &cellState{Root: run}
	}
	return m.cells[run]
}

// counted asks the dataset how many prompts of each cell were sent and answered, and how long its runs took.
func counted(ctx context.Context, file *campaign.File, dir string) (cells []cellState, err error) {
	d, err := query.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	err = d.Select(ctx, &cells, fmt.Sprintf(`
WITH mine AS (
    SELECT run_id, any_value(coalesce(continues, run_id)) AS root, max(epoch(end_timestamp) - epoch(start_timestamp)) AS seconds
    FROM runs WHERE launch_id = '%s' GROUP BY run_id
), asked AS (
    SELECT root, prompt_id, repetition, bool_or(error_type IS NULL) AS answered
    FROM requests JOIN mine USING (run_id) WHERE NOT warmup GROUP BY ALL
), answers AS (
    SELECT root, count(*) AS sent, count(*) FILTER (answered) AS answered FROM asked GROUP BY root
), lengths AS (SELECT root, sum(seconds) AS seconds FROM mine GROUP BY root)
SELECT root, CAST(coalesce(sent, 0) AS INTEGER) AS sent, CAST(coalesce(answered, 0) AS INTEGER) AS answered, seconds
FROM lengths LEFT JOIN answers USING (root)`, file.Name))
	return cells, err
}

// done says whether a cell needs no run any more.
func (m *measured) done(c *campaign.Cell) bool {
	s := m.cells[m.file.RunID(c)]
	return s != nil && s.complete
}

// unanswered says what is wrong with a cell that is done.
func (m *measured) unanswered(c *campaign.Cell) string {
	s := m.cells[m.file.RunID(c)]
	if s == nil || s.Answered >= s.Sent {
		return ""
	}
	return fmt.Sprintf("%d of %d prompts have no answer", s.Sent-s.Answered, s.Sent)
}

// expected is how long a cell may take by those that are done: of its workload and size, of its size, or of any.
func (m *measured) expected(c *campaign.Cell, blocks []campaign.Block) (time.Duration, bool) {
	for _, alike := range []func(o *campaign.Cell) bool{
		func(o *campaign.Cell) bool {
			return o.Workload == c.Workload && o.Size == c.Size && o.Model.Name == c.Model.Name
		},
		func(o *campaign.Cell) bool { return o.Workload == c.Workload && o.Size == c.Size },
		func(*campaign.Cell) bool { return true },
	} {
		sum, n := 0.0, 0
		for _, b := range blocks {
			for i := range b.Cells {
				if s := m.cells[m.file.RunID(&b.Cells[i])]; s != nil && s.complete && alike(&b.Cells[i]) {
					sum += s.Seconds
					n++
				}
			}
		}
		if n > 0 {
			return time.Duration(sum / float64(n) * float64(time.Second)), true
		}
	}
	return 0, false
}
