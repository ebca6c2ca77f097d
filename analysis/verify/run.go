package verify

import (
	"cmp"
	"fmt"
	"math"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// boardRow is a row of runs.
type boardRow struct {
	file, uuid, gpu, llm       string
	status                     schema.Status
	corpus, tokenizer, version string
	template                   schema.Opt[int32]
	startNS, endNS, stepNS     int64
	startUS, endUS             int64
	scope                      string
	readings, dropped          int64
	counts                     []int64 // as outcomes
	idleW                      schema.Opt[float64]
	stages                     map[schema.Stage]schema.Opt[float64]
	windowS, countedJ          schema.Opt[float64]
	estimatedJ, closure        schema.Opt[float64]
	misfit                     schema.Opt[float64]
	valid                      schema.Opt[bool]
	codes                      []string
	unlabelled                 int64
	period                     time.Duration // the longest that instant power was read at
	sensorS                    float64
	gaps                       []schema.Gap
	gapsTold, misfitTold       bool // older files lack these columns
	steps                      []schema.ClockStep
}

// seen is what the second pass found of a board.
type seen struct {
	rows    int64
	power   power
	held    []schema.Opt[int64] // throttle_reasons by request
	foreign bool
	stuck   bool
}

// run is everything about one run.
type run struct {
	name     string
	manifest *store.Manifest // nil where none could be read
	broken   bool            // guarded by check.mu, as seen is

	mu       sync.Mutex
	boards   []boardRow
	requests []request
	folds    []fold
	sections map[string][]*section // by board
	rows     map[string]int64      // by table
	clock    offsets
	late     []Finding // found when files were handed over
	seen     map[string]seen
}

func (r *run) bad(file, format string, args ...any) {
	r.late = append(r.late, Finding{Severity: Error, File: file, What: fmt.Sprintf(format, args...), Mend: mendContent, runs: []string{r.name}})
}

// embedded are the tokenizers that are no served model's own.
var embedded = []string{"o200k_base", "cl100k_base"}

// ownTokenizer says whether the served model's own tokenizer counted the texts, so that every count is held against it.
func (r *run) ownTokenizer() bool {
	return len(r.boards) > 0 && !slices.Contains(embedded, r.boards[0].tokenizer)
}

func (r *run) templateTokens() schema.Opt[int32] {
	if len(r.boards) == 0 || !r.ownTokenizer() {
		return schema.Opt[int32]{}
	}
	return r.boards[0].template
}

// at is the file that a finding about the run is told of.
func (r *run) at() string {
	if len(r.boards) > 0 {
		return r.boards[0].file
	}
	return path.Join(store.Commits, r.name+".json")
}

// judgeRun is the third pass.
func (c *check) judgeRun(r *run) {
	if r.manifest == nil { // its rows stand in strays, or in files that are told of
		return
	}
	if len(r.boards) == 0 {
		r.bad(r.at(), "runs has no row of it")
	}
	r.rowsAreThere()
	for i := range r.boards {
		b := &r.boards[i]
		r.facts(b)
		r.counted(b)
		r.clocks(b)
		r.closes(b)
	}
	r.overlaps()
	r.circumstances()
	r.charged()
	c.sent(r)
	for _, f := range r.late {
		c.find(f)
	}
}

// rowsAreThere holds the rows found against those committed, table by table: compactions keep them.
func (r *run) rowsAreThere() {
	committed := map[string]int64{}
	for _, f := range r.manifest.Files {
		committed[tableOf(f.Path)] += f.Rows
	}
	for _, table := range tables {
		if table != schema.Prompts.Name && committed[table] != r.rows[table] {
			r.bad(r.at(), "%s has %d rows of it, its manifest says %d", table, r.rows[table], committed[table])
		}
	}
	for uuid, s := range r.seen {
		i := slices.IndexFunc(r.boards, func(b boardRow) bool { return b.uuid == uuid })
		if i < 0 {
			r.bad(r.at(), "samples has %d rows of board %s, runs has none", s.rows, uuid)
		}
	}
}

func (r *run) facts(b *boardRow) {
	if b.version != schema.Version {
		r.bad(b.file, "schema_version is %q, this tracer reads %q", b.version, schema.Version)
	}
	if b.status != r.manifest.Status {
		r.bad(b.file, "status is %s, its manifest says %s", b.status, r.manifest.Status)
	}
	if b.valid.OK && b.valid.V != (len(b.codes) == 0) {
		r.bad(b.file, "board %s: valid is %t, with %d reason codes", b.uuid, b.valid.V, len(b.codes))
	}
	if rows := r.seen[b.uuid].rows; rows != b.readings-b.dropped-b.unlabelled {
		r.bad(b.file, "board %s: %d readings less %d dropped and %d unlabelled, but samples has %d rows", b.uuid, b.readings, b.dropped, b.unlabelled, rows)
	}
}

// counted counts the requests by outcome.
func (r *run) counted(b *boardRow) {
	have := make([]int64, len(outcomes))
	for i := range r.requests {
		q := &r.requests[i]
		have[0]++
		switch q.errorType {
		case "":
			have[1]++
		case schema.ErrorInterrupted:
			have[3]++
		default:
			have[2]++
		}
		if !q.valid {
			have[4]++
		}
	}
	for i, name := range outcomes {
		if have[i] != b.counts[i] {
			r.bad(b.file, "%s is %d, the table of requests gives %d", name, b.counts[i], have[i])
		}
	}
}

// slack is how far a wall clock may move, slowly, between the start of the program and that of the run.
const slack = 1_000_000_000 // ns

func (r *run) clocks(b *boardRow) {
	if r.clock.apart() {
		r.bad(r.at(), "timestamps and monotonic_ns of its rows are apart by %d to %d ns: they are not of one clock", r.clock.least, r.clock.most)
	}
	start := b.startUS*1000 - b.startNS
	if off := r.clock.least - start; r.clock.known && (off > slack || off < -slack) {
		r.bad(b.file, "its rows' timestamps are %.3f s from its own pair of clocks", float64(off)/1e9)
	}
	if step := (b.endUS-b.startUS)*1000 - (b.endNS - b.startNS); math.Abs(float64(step-b.stepNS)) > 2000 { // cut to µs
		r.bad(b.file, "clock_step_ns is %d, its pairs of clocks give %d", b.stepNS, step)
	}
	for i := range r.requests {
		if q := &r.requests[i]; q.start < b.startNS-slack || q.end > b.endNS+slack {
			r.bad(b.file, "request %s was not in flight between the run's start and its end", q.id)
			return
		}
	}
	for _, s := range r.sections[b.uuid] {
		if s.firstNS < b.startNS-slack || s.lastNS > b.endNS+slack {
			r.bad(s.file, "it has rows from before the run's start or after its end")
			return
		}
	}
}

// overlaps finds which requests were in flight together.
func (r *run) overlaps() {
	latest := int64(math.MinInt64) // end of what has begun
	for i := range r.requests {    // by start
		q := &r.requests[i]
		together := q.start < latest || i+1 < len(r.requests) && r.requests[i+1].start < q.end
		latest = max(latest, q.end)
		if together != slices.Contains(q.shared, schema.ReasonOverlap) {
			r.bad(r.at(), "request %s: its reason codes and its neighbours disagree about the reason code %s", q.id, schema.ReasonOverlap)
			return
		}
	}
}

// sent holds the requests against the corpus.
func (c *check) sent(r *run) {
	if len(r.boards) == 0 {
		return
	}
	id := r.boards[0].corpus
	corpus, ok := c.corpora[id]
	if !ok {
		file := path.Join(schema.Prompts.Name, id+".parquet")
		r.late = append(r.late, Finding{
			Severity: Error, File: file, What: "run " + r.name + " sent this corpus, and it is missing or broken", runs: []string{r.name},
			Mend: "restore it from a copy, or make it anew: tracer prompts with the run's flags; tracer verify --repair sets the run aside",
		})
		return
	}
	for i := range r.requests {
		q := &r.requests[i]
		if p, ok := corpus[q.prompt]; !q.warmup && (!ok || p != prompt{q.workload, q.size}) {
			r.bad(r.at(), "request %s: its prompt %s is not in the corpus, or of another workload or size", q.id, q.prompt)
			return
		}
	}
}

// uniqueRequests finds request ids that stand there twice.
func (c *check) uniqueRequests() {
	type named struct{ id, run string }
	var ids []named
	for _, r := range c.runs {
		if r.broken {
			continue
		}
		for i := range r.requests {
			ids = append(ids, named{r.requests[i].id, r.name})
		}
	}
	slices.SortFunc(ids, func(a, b named) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.run, b.run)) })
	for i := 1; i < len(ids); i++ {
		if ids[i].id == ids[i-1].id {
			c.find(Finding{
				Severity: Error, File: schema.Requests.Name, What: "request " + ids[i].id + " is there twice: in " + ids[i-1].run + " and in " + ids[i].run,
				Mend: mendContent, runs: []string{ids[i].run},
			})
			return
		}
	}
}
