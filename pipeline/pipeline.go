// Package pipeline turns readings and spans into a dataset: it drains the rings that they arrive through, labels each
// reading with its stage and request once every request that could touch it has closed, builds record batches, and
// writes Parquet parts by gpu, llm and stage, published whole with a manifest last.
//
// One goroutine, the one that calls Collect, does all of this; the rings are what it shares with others. Commit fits the
// boards' energies side by side.
package pipeline

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline/energy"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// drainRows is the most readings that are taken from the ring at a time.
const drainRows = 4096

// drainEvery is how often the rings are emptied. A ring must hold what arrives in between, and in a slow fsync.
const drainEvery = 20 * time.Millisecond

// Config is what one run writes, and where its rows come from.
type Config struct {
	Dir      string // the dataset
	Run      *schema.Run
	Boards   []schema.Board
	Prompts  []schema.Prompt
	Readings *ring.SPSC[schema.Reading]
	Spans    []*ring.SPSC[schema.SpanEvent] // one per worker
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
	batches store.Recycler // of samples only: statistics of plain string columns keep pointing into their batch

	spans     timeline
	open      []int64          // per worker: when its open request was announced; 0 when it has none
	waiting   []schema.Reading // not labelled yet, oldest first
	batch     []schema.Reading // scratch for one look at the ring
	parts     map[partition]*store.Part[schema.Sample]
	seq       map[partition]int
	finished  []store.File
	requests  []schema.Request
	baseline  []mean // per board, until the first request
	power     []*energy.Updates
	counters  []counter
	conducts  []conduct // per board
	requested bool
}

type mean struct {
	sum float64
	n   int
}

// Open claims the run's id in the dataset.
func Open(c Config) (*Pipeline, error) {
	if err := store.CheckRunID(c.Run.ID); err != nil {
		return nil, err
	}
	p := &Pipeline{
		Config:   c,
		out:      store.Run{Root: c.Dir, Name: store.RunName(c.Run.ID, c.Run.Host)},
		open:     make([]int64, len(c.Spans)),
		batch:    make([]schema.Reading, drainRows),
		parts:    map[partition]*store.Part[schema.Sample]{},
		seq:      map[partition]int{},
		baseline: make([]mean, len(c.Boards)),
		counters: make([]counter, len(c.Boards)),
		conducts: make([]conduct, len(c.Boards)),
	}
	for i := range c.Boards {
		p.power = append(p.power, energy.NewUpdates(c.Boards[i].Power.Period))
	}
	if err := p.out.Claim(); err != nil {
		return nil, err
	}
	return p, nil
}

// Collect drains the rings until done is closed, which is to happen after every producer has stopped, and then labels
// what is left. It returns early when a part cannot be written.
func (p *Pipeline) Collect(done <-chan struct{}) error {
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := p.step(clock.Now()); err != nil {
				return err
			}
		case <-done:
			return p.step(math.MaxInt64)
		}
	}
}

// step takes what the rings hold and labels every reading from before the horizon: the earliest instant that a request
// still open, or not yet announced, could touch. now must be read before the rings are.
func (p *Pipeline) step(now int64) error {
	for {
		n := p.Readings.Pop(p.batch)
		if n == 0 {
			break
		}
		p.waiting = append(p.waiting, p.batch[:n]...)
	}
	p.takeSpans()
	horizon := now
	for _, since := range p.open {
		if since != 0 {
			horizon = min(horizon, since)
		}
	}
	i := 0
	for ; i < len(p.waiting) && p.waiting[i].MidNS() < horizon; i++ {
		if err := p.file(&p.waiting[i]); err != nil {
			return err
		}
	}
	p.waiting = slices.Delete(p.waiting, 0, i)
	return nil
}

// takeSpans follows which workers have a request open and keeps what closed.
func (p *Pipeline) takeSpans() {
	events := make([]schema.SpanEvent, 16)
	for worker, spans := range p.Spans {
		for {
			n := spans.Pop(events)
			for _, e := range events[:n] {
				if e.Span == nil {
					p.open[worker] = e.OpenNS
					continue
				}
				p.open[worker] = 0
				p.spans.add(e.Span)
				p.requests = append(p.requests, p.request(e.Span))
			}
			if n == 0 {
				break
			}
		}
	}
}

// file labels a reading and hands it to its partition's part.
func (p *Pipeline) file(r *schema.Reading) error {
	l := p.spans.at(r.MidNS())
	p.idleBaseline(r, l)
	if r.PowerInstantW.OK && p.Boards[r.Board].Power.Period > 0 {
		p.power[r.Board].Add(r.StartNS, r.EndNS, r.PowerInstantW.V)
	}
	p.counters[r.Board].add(r)
	p.conducts[r.Board].add(r, &p.Boards[r.Board], !p.requested)
	key := partition{r.Board, l.stage}
	out := p.parts[key]
	if out == nil {
		var err error
		if out, err = store.CreatePart(schema.Samples, &p.batches, p.out.Tmp(), p.samplePath(key)); err != nil {
			return err
		}
		p.parts[key] = out
	}
	err := out.Add(&schema.Sample{
		Reading: *r, Run: p.Run, Board: &p.Boards[r.Board],
		Stage: l.stage, Span: l.span, Workload: l.workload, Warmup: l.warmup, Concurrent: l.concurrent,
	})
	if err != nil || !out.Full() {
		return err
	}
	return p.close(key)
}

func (p *Pipeline) idleBaseline(r *schema.Reading, l label) {
	p.requested = p.requested || l.concurrent > 0 || len(p.requests) > 0 && p.requests[0].StartNS < r.MidNS()
	if !p.requested && r.PowerInstantW.OK {
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

// Commit writes the tables beside the samples, publishes every file and, last, the manifest. sampling has one entry per
// board; the run's end, status and counts must stand in Run already, except those of its requests.
func (p *Pipeline) Commit(sampling []schema.Sampling, tracer string) (store.Manifest, error) {
	for _, key := range slices.SortedFunc(maps.Keys(p.parts), func(a, b partition) int {
		return cmp.Or(cmp.Compare(a.board, b.board), cmp.Compare(a.stage, b.stage))
	}) {
		if err := p.close(key); err != nil {
			return store.Manifest{}, err
		}
	}
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
	m := store.Manifest{RunID: p.Run.ID, Host: p.Run.Host, SchemaVersion: schema.Version, Tracer: tracer, Status: p.Run.Status, Files: p.finished}
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
	// A corpus is the same file for every run that sends it.
	if corpus := path.Join(schema.Prompts.Name, p.Run.CorpusID+".parquet"); !p.out.Has(corpus) {
		f, err := store.WriteCorpus(p.out.Tmp(), corpus, p.Prompts)
		if err != nil {
			return err
		}
		p.finished = append(p.finished, f)
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

// Abandon removes what was written and publishes nothing.
func (p *Pipeline) Abandon() error { return p.out.Abandon() }
