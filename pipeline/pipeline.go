// Package pipeline turns readings and spans into a dataset: it drains the rings that they arrive through into a journal,
// reads the readings back from there, labels each with its stage and request once every request that could touch it has
// closed, builds record batches, and writes Parquet parts by gpu, llm and stage, published whole with a manifest last.
// Recover does the same with a journal that a process has left, by the same code.
//
// One goroutine, the one that calls Collect, does all of this; the rings are what it shares with others. A second one
// syncs the journal, and Commit fits the boards' energies side by side.
package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/pipeline/energy"
	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// Config is what one run writes, and where its rows come from.
type Config struct {
	Dir      string // the dataset
	Run      *schema.Run
	Boards   []schema.Board
	Planned  []schema.Sampling // per board
	Job      *store.Job        // nil where the run cannot be resumed
	Prompts  []schema.Prompt   // the corpus, each prompt once
	Readings *ring.SPSC[schema.Reading]
	Remote   []*ring.SPSC[schema.Reading]   // one per other host: their readings come late, in order by themselves
	Spans    []*ring.SPSC[schema.SpanEvent] // one per worker
	Note     func(string)                   // what the user is to know while the run goes on
}

// partition is where a sample is filed; a part holds one board, so that it is sorted as it is written.
type partition struct {
	board int32
	stage schema.Stage
}

// Pipeline writes one run.
type Pipeline struct {
	Config
	out     store.Run
	journal *journal.Journal
	record  recorder
	broken  error // why no parts are written any more; the journal still is

	*derived
}

// derived is what is made of a journal.
type derived struct {
	rows      *journal.Rows    // as far as they have their label
	batch     []schema.Reading // of the rows, scratch
	next      int              // of the batch, to be labelled
	spans     []timeline       // per board: readings of a host may come minutes after those of another
	open      []int64          // per worker: when its open request was announced; 0 when it has none
	batches   store.Recycler   // of samples only: statistics of plain string columns keep pointing into their batch
	parts     map[partition]*store.Part[schema.Sample]
	filing    []filing // per board
	seq       map[partition]int
	finished  []store.File
	requests  []schema.Request
	labelled  []int64 // per board
	baseline  []mean  // per board, until the first request
	power     []*energy.Updates
	counters  []counter
	conducts  []conduct     // per board
	requested []bool        // per board: its readings have come to the first request
	clocks    []clockErrors // per board
	damaged   damaged
	between   []int64 // per board: readings in those holes
}

// filing is the part that a board's last row went to.
type filing struct {
	stage schema.Stage
	part  *store.Part[schema.Sample]
}

type mean struct {
	sum float64
	n   int
}

// Open publishes the corpus and claims the run's id in the dataset by beginning its journal.
func Open(c Config) (*Pipeline, error) {
	if err := store.CheckRunID(c.Run.ID); err != nil {
		return nil, err
	}
	if c.Planned == nil {
		c.Planned = make([]schema.Sampling, len(c.Boards))
	}
	p := &Pipeline{Config: c, out: store.Run{Root: c.Dir, Name: store.RunName(c.Run.ID, c.Run.Host)}, record: recorder{age: batchAge}}
	if err := errors.Join(p.out.Uncommitted(), elsewhere(p.out, c.Run.ID)); err != nil {
		return nil, err
	}
	if _, err := store.PublishCorpus(c.Dir, c.Run.CorpusID, c.Prompts); err != nil {
		return nil, err
	}
	var err error
	p.journal, err = journal.Create(journal.Path(c.Dir, p.out.Name), &journal.Header{
		Run: *c.Run, Boards: c.Boards, Sampling: c.Planned, Workers: len(c.Spans), Job: c.Job,
	}, &store.Recycler{})
	if errors.Is(err, journal.ErrExists) {
		return nil, begun(p.out)
	}
	if err != nil {
		return nil, err
	}
	if err = errors.Join(p.out.Uncommitted(), elsewhere(p.out, c.Run.ID)); err == nil { // still
		if err = p.out.Fresh(); err == nil {
			err = p.out.Reserve()
		}
	}
	if err != nil {
		return nil, errors.Join(err, p.journal.Remove())
	}
	p.derive(len(c.Spans))
	if p.journal.Unlocked {
		p.note("the filesystem of " + c.Dir + " knows no locks: no other tracer can tell that this run is being written")
	}
	return p, nil
}

// Free says whether a run's id can be claimed, before anything is spent on the run. Open alone claims it.
func Free(dir, id, host string) error {
	out := store.Run{Root: dir, Name: store.RunName(id, host)}
	if out.Committed() {
		return out.Uncommitted()
	}
	if _, err := os.Stat(journal.Path(dir, out.Name)); err == nil {
		return begun(out)
	}
	return elsewhere(out, id)
}

// ElsewhereError is a store.ErrRunExists whose run is another host's.
type ElsewhereError struct {
	Host string
	does string
}

func (e *ElsewhereError) Error() string {
	return fmt.Sprintf("%v: host %s %s; choose another --run-id", store.ErrRunExists, e.Host, e.does)
}

// Unwrap is store.ErrRunExists.
func (*ElsewhereError) Unwrap() error { return store.ErrRunExists }

// elsewhere refuses a run id that another host has used in the dataset, since request ids begin with it, and one whose files
// stand there without their manifest, as where the tables alone were copied.
func elsewhere(out store.Run, id string) error {
	catalog, err := store.ReadCatalog(out.Root)
	if err != nil {
		return err
	}
	for name, m := range catalog.Runs {
		if m.RunID == id && name != out.Name {
			return &ElsewhereError{Host: m.Host, does: "has measured it into this dataset"}
		}
	}
	journals, err := journal.Names(out.Root)
	if err != nil {
		return err
	}
	for _, name := range journals {
		if run := journal.Peek(out.Root, name).Run; run.ID == id && name != out.Name {
			return &ElsewhereError{Host: run.Host, does: "is writing it, or has broken off"}
		}
	}
	if file := out.Stray(); file != "" {
		return fmt.Errorf("%w: %s stands there without its manifest; choose another --run-id, or copy the folder _tracer as well", store.ErrRunExists, file)
	}
	return nil
}

// begun is a run of which there is a journal.
func begun(out store.Run) error {
	return fmt.Errorf("%w: %s is being written, or broke off, and tracer recover publishes what it holds; choose another --run-id", store.ErrRunExists, journal.Path(out.Root, out.Name))
}

// derive begins anew with what is made of the journal.
func (p *Pipeline) derive(workers int) {
	boards := len(p.Boards)
	p.derived = &derived{
		rows: p.journal.Rows(), open: make([]int64, workers),
		parts: map[partition]*store.Part[schema.Sample]{}, seq: map[partition]int{},
		labelled: make([]int64, boards), baseline: make([]mean, boards), counters: make([]counter, boards),
		conducts: make([]conduct, boards), spans: make([]timeline, boards), requested: make([]bool, boards), clocks: make([]clockErrors, boards),
		between: make([]int64, boards), filing: make([]filing, boards),
	}
	for i := range p.Boards {
		p.power = append(p.power, energy.NewUpdates(p.Boards[i].Power.Period))
		p.conducts[i].holes.lastNS = p.Run.Start.MonotonicNS
	}
}

func (p *Pipeline) note(what string) {
	if p.Note != nil {
		p.Note(what)
	}
}

// closed takes a finished request.
func (p *Pipeline) closed(worker int, s *schema.Span) {
	p.open[worker] = 0
	for i := range p.spans {
		p.spans[i].add(s)
	}
	p.requests = append(p.requests, p.request(s))
}

// horizon is the earliest instant that a request which is still open, or was not announced at that time, could touch.
func (p *Pipeline) horizon(looked int64) int64 {
	for _, since := range p.open {
		if since != 0 {
			looked = min(looked, since)
		}
	}
	return looked
}

// label labels every reading of the journal, up to a place there, that was taken before the horizon. Readings are read
// back when their turn comes, so that those which wait for a long request take no memory.
func (p *Pipeline) label(before, horizon int64) (err error) {
	for {
		for ; p.next < len(p.batch); p.next++ {
			r := &p.batch[p.next]
			if r.MidNS() >= horizon {
				return nil
			}
			if p.damaged.cover(r.MidNS()) {
				p.between[r.Board]++
				continue
			}
			if err := p.file(r); err != nil {
				return err
			}
		}
		p.next = 0
		if p.batch, err = p.rows.Next(before, p.batch); err != nil || len(p.batch) == 0 {
			return err
		}
	}
}

// file labels a reading and hands it to its partition's part.
func (p *Pipeline) file(r *schema.Reading) error {
	p.labelled[r.Board]++
	l := p.spans[r.Board].at(r.MidNS())
	p.clocks[r.Board].add(r, l.span)
	p.idleBaseline(r, l)
	if r.PowerInstantW.OK && p.Boards[r.Board].Power.Period > 0 {
		p.power[r.Board].Add(r.StartNS, r.EndNS, r.PowerInstantW.V)
	}
	p.counters[r.Board].add(r)
	p.conducts[r.Board].add(r, &p.Boards[r.Board], !p.requested[r.Board])
	p.conducts[r.Board].holes.until(r.MidNS(), p.Planned[r.Board].PowerPeriod, p.damaged)
	key := partition{r.Board, l.stage}
	out, err := p.part(key)
	if err != nil {
		return err
	}
	err = out.Add(&schema.Sample{
		Reading: *r, Run: p.Run, Board: &p.Boards[r.Board],
		Stage: l.stage, Span: l.span, Workload: l.workload, Warmup: l.warmup, Concurrent: l.concurrent,
	})
	if err != nil || !out.Full() {
		return err
	}
	return p.close(key)
}

// part is where a partition's rows go. Readings of a board come in stretches of one stage, so that its part is kept at hand:
// finding it by the stage's name took a twentieth of the way from the ring to Parquet.
func (p *Pipeline) part(key partition) (*store.Part[schema.Sample], error) {
	last := &p.filing[key.board]
	if last.part != nil && last.stage == key.stage {
		return last.part, nil
	}
	out := p.parts[key]
	if out == nil {
		var err error
		if out, err = store.CreatePart(schema.Samples, &p.batches, p.out.Tmp(), p.samplePath(key)); err != nil {
			return nil, err
		}
		p.parts[key] = out
	}
	*last = filing{key.stage, out}
	return out, nil
}

func (p *Pipeline) idleBaseline(r *schema.Reading, l label) {
	p.requested[r.Board] = p.requested[r.Board] || l.concurrent > 0 || len(p.requests) > 0 && p.requests[0].StartNS < r.MidNS()
	if !p.requested[r.Board] && r.PowerInstantW.OK {
		p.baseline[r.Board].sum += float64(r.PowerInstantW.V)
		p.baseline[r.Board].n++
	}
}

func (p *Pipeline) samplePath(key partition) string {
	b := &p.Boards[key.board]
	return path.Join(schema.Samples.Name, "gpu="+schema.Slug(b.Name), "llm="+schema.Slug(p.Run.Model), "stage="+string(key.stage),
		fmt.Sprintf("%s-%s-%03d.parquet", p.out.Name, schema.ShortUUID(b.UUID), p.seq[key]))
}

func (p *Pipeline) close(key partition) error {
	f, err := p.parts[key].Finish()
	if err != nil {
		return err
	}
	p.finished = append(p.finished, f)
	p.seq[key]++
	delete(p.parts, key)
	p.filing[key.board] = filing{}
	return nil
}

func (p *Pipeline) request(s *schema.Span) schema.Request {
	r := schema.Request{Span: *s, Run: p.Run}
	var names []string
	for _, b := range p.Boards {
		r.GPUUUIDs = append(r.GPUUUIDs, b.UUID)
		if !slices.Contains(names, b.Name) {
			names = append(names, b.Name)
		}
	}
	r.GPUName = strings.Join(names, "+")
	return r
}

// Commit writes down how the run ended, then the tables beside the samples, publishes every file and, last, the manifest,
// and removes the journal. sampling has one entry per board; the run's end, status and counts must stand in Run already,
// except those of its requests. A commit that fails leaves the journal for Recover.
func (p *Pipeline) Commit(sampling []schema.Sampling, tracer string) (store.Manifest, error) {
	p.record.sum(p.Run)
	err := p.persist(func() error { return p.journal.End(p.Run, sampling) })
	if err == nil {
		err = p.journal.Sync()
	}
	if err == nil && p.broken != nil { // the parts are gone, but the journal has it all
		_, err = p.replay()
	}
	var m store.Manifest
	if err == nil {
		m, err = p.publish(sampling, tracer)
	}
	if err != nil {
		return store.Manifest{}, errors.Join(err, p.Close())
	}
	return m, p.journal.Remove()
}

// Close gives the run up. Its journal stays, for Recover.
func (p *Pipeline) Close() error {
	p.discard()
	return p.journal.Close()
}

// publish makes the tables beside the samples and moves everything into place.
func (p *Pipeline) publish(sampling []schema.Sampling, tracer string) (store.Manifest, error) {
	if err := p.out.Release(); err != nil {
		return store.Manifest{}, err
	}
	for _, key := range slices.SortedFunc(maps.Keys(p.parts), func(a, b partition) int {
		return cmp.Or(cmp.Compare(a.board, b.board), cmp.Compare(a.stage, b.stage))
	}) {
		if err := p.close(key); err != nil {
			return store.Manifest{}, err
		}
	}
	p.tellHoles(sampling)
	p.judge(sampling)
	energies := p.estimate()
	p.charge(energies)
	boards := make([]schema.RunBoard, len(p.Boards))
	for i := range p.Boards {
		boards[i] = schema.RunBoard{Run: p.Run, Board: &p.Boards[i], Sampling: sampling[i], Account: p.account(energies, i)}
		if m := p.baseline[i]; m.n > 0 {
			boards[i].IdlePowerW = schema.Some(m.sum / float64(m.n))
		}
	}
	if err := p.writeTables(boards, p.folds(energies)); err != nil {
		return store.Manifest{}, err
	}
	m := store.Manifest{
		RunID: p.Run.ID, Continues: p.Run.Continues, LaunchID: p.Run.Launch, Rank: p.Run.Rank, Host: p.Run.Host, SchemaVersion: schema.Version, Tracer: tracer, Status: p.Run.Status,
		CorpusID: p.Run.CorpusID, Files: p.finished, Job: p.Job,
	}
	return m, p.out.Publish(&m)
}

func (p *Pipeline) writeTables(boards []schema.RunBoard, folds []schema.Fold) error {
	file := p.out.Name + ".parquet"
	if len(p.requests) > 0 {
		gpu := schema.ShortUUID(p.Boards[0].UUID)
		dir := path.Join(schema.Requests.Name, "gpu="+schema.Slug(p.requests[0].GPUName), "llm="+schema.Slug(p.Run.Model))
		if err := writeTable(p, schema.Requests, path.Join(dir, fmt.Sprintf("%s-%s-000.parquet", p.out.Name, gpu)), p.requests); err != nil {
			return err
		}
	}
	if len(folds) > 0 {
		if err := writeTable(p, schema.Folds, path.Join(schema.Folds.Name, file), folds); err != nil {
			return err
		}
	}
	slices.SortFunc(boards, func(a, b schema.RunBoard) int { return cmp.Compare(a.Board.UUID, b.Board.UUID) })
	return writeTable(p, schema.Runs, path.Join(schema.Runs.Name, file), boards)
}

func writeTable[R any](p *Pipeline, t schema.Table[R], path string, rows []R) error {
	f, err := store.WriteFile(p.out.Tmp(), t, path, rows)
	if err != nil {
		return err
	}
	p.finished = append(p.finished, f)
	return nil
}
