// Package verify holds a dataset against itself, from its published files alone: every byte against the manifests, every
// row against the schema, its path, its neighbours and the requests, every count and code against what it was made from.
//
// It works in three passes. The first takes each file by itself. The second takes each board of each run, whose rows it
// merges from the files of all stages in the order of time. The third takes each run. What a pass found broken is not
// judged by the next. Rows are streamed; memory grows with requests, some 300 bytes each, not with rows.
//
// What a label should be is derived here once more, by other code than the pipeline's, and so are overlaps, counts,
// clocks, energies and what befell the boards. Shared with whoever wrote the data are definitions: the reason codes that
// follow from a request's own numbers (schema.Span.Reasons), what it is to be in flight during a gap or a step
// (schema.Span.Missed and Stepped), and a corpus's name (schema.CorpusID).
package verify

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sourcegraph/conc/pool"

	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// Severity says what a finding means for readers.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // readers may get something wrong
	Warning Severity = "warning" // something was left behind that no reader sees
	Note    Severity = "note"    // nothing is wrong
)

// Finding is one thing that is not as it should be.
type Finding struct {
	Severity Severity `json:"severity"`
	File     string   `json:"file"` // or folder, within the dataset
	What     string   `json:"what"`
	Rows     int64    `json:"rows,omitempty"` // that it is true of, where it is about rows; What tells of the first
	Mend     string   `json:"mend"`

	runs     []string // that cannot stay, as <run_id>-<host>
	unjudged []string // runs that stay, and of which no more can be told
	aside    []string // files and folders that cannot stay
}

// String is the finding as a line.
func (f *Finding) String() string {
	what := f.What
	if f.Rows > 1 {
		what += fmt.Sprintf(" (the first of %d rows)", f.Rows)
	}
	return fmt.Sprintf("%s: %s: %s; %s", f.Severity, f.File, what, f.Mend)
}

// Report is what was found.
type Report struct {
	Dataset  string    `json:"dataset"`
	Findings []Finding `json:"findings"`
	Files    int       `json:"files"`
	Rows     int64     `json:"rows"`
	Bytes    int64     `json:"bytes"`
	Runs     int       `json:"runs"`
	Seconds  float64   `json:"seconds"`
}

// Count is how many findings there are of a severity.
func (r *Report) Count(s Severity) (n int) {
	for i := range r.Findings {
		if r.Findings[i].Severity == s {
			n++
		}
	}
	return n
}

// The mends of what can be told in general.
const (
	mendDamage  = "restore it from a copy, or set the run aside: tracer verify --repair"
	mendContent = "do not use the run; tracer verify --repair sets it aside. If nothing changed the file, it is a bug of tracer's"
	mendStray   = "move it out of the dataset: tracer verify --repair sets it aside"
)

// check is one verification under way.
type check struct {
	root    string
	catalog *store.Catalog
	live    map[string]store.File
	merged  map[string]store.Merged
	owners  map[string][]string // runs, by live file

	mu       sync.Mutex
	findings []Finding
	runs     map[string]*run
	corpora  map[string]map[string]prompt // sound ones, by id and prompt
	files    int
	rows     int64
	bytes    int64
}

// Dataset verifies a dataset. Tracers may write into it meanwhile; compactions and repairs wait.
func Dataset(ctx context.Context, root string) (*Report, error) {
	held, err := store.Hold(root, false)
	if err != nil {
		return nil, err
	}
	defer held.Close() //nolint:errcheck // a lock
	if err := ownFolders(root); err != nil {
		return nil, err
	}
	return dataset(ctx, root)
}

func dataset(ctx context.Context, root string) (*Report, error) {
	began := time.Now()
	c := &check{root: root, findings: []Finding{}, runs: map[string]*run{}, corpora: map[string]map[string]prompt{}}
	present, err := c.takeStock()
	if err != nil {
		return nil, err
	}
	if err := c.eachFile(ctx, present); err != nil {
		return nil, err
	}
	if err := c.eachBoard(ctx); err != nil {
		return nil, err
	}
	for _, r := range c.runs {
		if !r.broken {
			c.judgeRun(r)
		}
	}
	c.uniqueRequests()
	slices.SortFunc(c.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.File, b.File), cmp.Compare(a.What, b.What))
	})
	return &Report{
		Dataset: root, Findings: c.findings, Files: c.files, Rows: c.rows, Bytes: c.bytes, Runs: len(c.catalog.Runs),
		Seconds: time.Since(began).Seconds(),
	}, nil
}

// eachFile is the first pass. What runs says is needed for judging the other tables.
func (c *check) eachFile(ctx context.Context, present []string) error {
	for _, early := range []bool{true, false} {
		group := pool.New().WithContext(ctx).WithMaxGoroutines(runtime.GOMAXPROCS(0))
		for _, path := range present {
			if (tableOf(path) == schema.Runs.Name) == early {
				group.Go(func(ctx context.Context) error { return c.checkFile(ctx, path) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// eachBoard is the second pass.
func (c *check) eachBoard(ctx context.Context) error {
	group := pool.New().WithContext(ctx).WithMaxGoroutines(runtime.GOMAXPROCS(0))
	for _, r := range c.runs {
		slices.SortFunc(r.requests, func(a, b request) int { return cmp.Compare(a.start, b.start) })
		if r.broken {
			continue
		}
		for uuid, sections := range r.sections {
			group.Go(func(ctx context.Context) error { return c.checkBoard(ctx, r, uuid, sections) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

func (c *check) find(f Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.findings = append(c.findings, f)
}

// spoil notes that runs cannot be judged any further, and finds why.
func (c *check) spoil(f Finding) {
	c.find(f)
	for _, name := range slices.Concat(f.runs, f.unjudged) {
		r := c.run(name)
		c.mu.Lock()
		r.broken = true
		c.mu.Unlock()
	}
}

// run is what is known of a run.
func (c *check) run(name string) *run {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.runs[name]
	if r == nil {
		r = &run{name: name, manifest: c.catalog.Runs[name], rows: map[string]int64{}, sections: map[string][]*section{}}
		c.runs[name] = r
	}
	return r
}
