package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/internal/campaign"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// measured is what a dataset has of a campaign. Nothing else knows: what is published is done, whoever measured it.
type measured struct {
	file    *campaign.File
	cells   map[string]*cellState        // by run
	options map[string]map[string]string // of its first run
}

// cellState is what there is of one cell.
type cellState struct {
	Root     string  `json:"root"`
	Sent     int     `json:"sent"`     // prompts, each repetition counted
	Answered int     `json:"answered"` // of them
	Seconds  float64 `json:"seconds"`
	complete bool
}

// measuredOf reads a campaign's runs in its dataset.
func measuredOf(ctx context.Context, file *campaign.File) (*measured, error) {
	m := &measured{file: file, cells: map[string]*cellState{}, options: map[string]map[string]string{}}
	catalog, err := store.ReadCatalog(file.Out)
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
			m.options[root] = run.Job.Options
		}
		m.at(root).complete = m.at(root).complete || run.Status == schema.StatusComplete
	}
	if len(m.cells) == 0 {
		return m, nil
	}
	found, err := counted(ctx, file)
	if err != nil {
		return nil, err
	}
	for _, c := range found {
		s := m.at(c.Root)
		s.Sent, s.Answered, s.Seconds = c.Sent, c.Answered, c.Seconds
	}
	return m, nil
}

func (m *measured) at(run string) *cellState {
	if m.cells[run] == nil {
		m.cells[run] = &cellState{Root: run}
	}
	return m.cells[run]
}

// counted asks the dataset how many prompts of each cell were sent and answered, and how long its runs took.
func counted(ctx context.Context, file *campaign.File) (cells []cellState, err error) {
	d, err := query.Open(ctx, file.Out)
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
