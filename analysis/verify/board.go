package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/llm-tracer/tracer/analysis/scan"
	"github.com/llm-tracer/tracer/schema"
)

// sampleColumns are those that the second pass reads.
var sampleColumns = []string{
	"monotonic_ns", "run_id", "host", "gpu_uuid", "inference_stage", "workload", "prompt_id", "request_id", "input_tokens",
	"output_tokens_requested", "concurrent_requests", "warmup", "power_instant_w", "energy_total_j",
	"gpu_utilization_pct", "throttle_reasons",
}

// lane is a section being read: the rows of one board of one run in one file, in the order of time.
type lane struct {
	*section
	name, uuid string
	parquet    *scan.File
	batches    *scan.Batches
	rows       sampleArrays
	i          int // in the batch
	ns         int64
}

// sampleArrays are sampleColumns of one batch.
type sampleArrays struct {
	n                                                    int
	ns                                                   *array.Int64
	run, host, uuid, stage, workload, promptID, requests *array.String
	input, requested, concurrent, utilisation            *array.Int32
	throttle                                             *array.Int64
	warmup                                               *array.Boolean
	power                                                *array.Float32
	counter                                              *array.Float64
}

func (s *sampleArrays) take(r arrow.Record) {
	str := func(name string) *array.String { return column[*array.String](r, name) }
	i32 := func(name string) *array.Int32 { return column[*array.Int32](r, name) }
	*s = sampleArrays{
		n: int(r.NumRows()), ns: column[*array.Int64](r, "monotonic_ns"), run: str("run_id"), host: str("host"), uuid: str("gpu_uuid"), stage: str("inference_stage"),
		workload: str("workload"), promptID: str("prompt_id"), requests: str("request_id"), input: i32("input_tokens"), requested: i32("output_tokens_requested"),
		concurrent: i32("concurrent_requests"), warmup: column[*array.Boolean](r, "warmup"),
		power: column[*array.Float32](r, "power_instant_w"), counter: column[*array.Float64](r, "energy_total_j"),
		utilisation: i32("gpu_utilization_pct"), throttle: column[*array.Int64](r, "throttle_reasons"),
	}
}

func openLane(ctx context.Context, root, name, uuid string, s *section) (*lane, error) {
	l := &lane{section: s, name: name, uuid: uuid, i: -1}
	var err error
	if l.parquet, err = scan.Open(filepath.Join(root, s.file)); err != nil {
		return nil, fmt.Errorf("reading %s again: %w", s.file, err)
	}
	if l.batches, err = l.parquet.Read(ctx, sampleColumns, s.from, s.to, batchRows); err != nil {
		_ = l.parquet.Close()
		return nil, fmt.Errorf("reading %s again: %w", s.file, err)
	}
	return l, nil
}

// next goes to the lane's next row, or gives io.EOF.
func (l *lane) next() error {
	for {
		if l.i++; l.i >= l.rows.n {
			r, err := l.batches.Next()
			if err != nil {
				return err
			}
			l.rows.take(r)
			l.i = 0
		}
		a := &l.rows
		if l.alone || a.uuid.Value(l.i) == l.uuid && strings.HasPrefix(l.name, a.run.Value(l.i)) && a.run.Value(l.i)+"-"+schema.Slug(a.host.Value(l.i)) == l.name {
			l.ns = a.ns.Value(l.i)
			return nil
		}
	}
}

func (l *lane) close() {
	l.batches.Close()
	_ = l.parquet.Close() // read only
}

// merged gives the rows of sections in the order of time, each with the lane that stands at it. Files are opened when
// their time has come.
func merged(ctx context.Context, root, name, uuid string, sections []*section, each func(*lane)) (err error) {
	slices.SortFunc(sections, func(a, b *section) int { return cmp.Compare(a.firstNS, b.firstNS) })
	var lanes []*lane
	defer func() {
		for _, l := range lanes {
			l.close()
		}
	}()
	for rows := 0; len(sections) > 0 || len(lanes) > 0; rows++ {
		if rows%batchRows == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		at := earliest(lanes)
		if at < 0 || len(sections) > 0 && sections[0].firstNS <= lanes[at].ns {
			l, err := openLane(ctx, root, name, uuid, sections[0])
			if err != nil {
				return err
			}
			lanes, sections = append(lanes, l), sections[1:]
			at = len(lanes) - 1
		} else {
			each(lanes[at])
		}
		err := lanes[at].next()
		if errors.Is(err, io.EOF) {
			lanes[at].close()
			lanes = slices.Delete(lanes, at, at+1)
		} else if err != nil {
			return fmt.Errorf("reading %s again: %w", lanes[at].file, err)
		}
	}
	return nil
}

func earliest(lanes []*lane) int {
	at := -1
	for i, l := range lanes {
		if at < 0 || l.ns < lanes[at].ns {
			at = i
		}
	}
	return at
}

// board is one board of one run in the second pass.
type board struct {
	*file  // for its findings
	uuid   string
	labels labels
	lastNS int64
	power  power
	conduct
}

// checkBoard holds a board's rows against one another and against the requests.
func (c *check) checkBoard(ctx context.Context, r *run, uuid string, sections []*section) error {
	found := map[string]map[string]*Finding{} // by file
	b := &board{file: &file{check: c, owners: []string{r.name}}, uuid: uuid, labels: labels{requests: r.requests}, lastNS: math.MinInt64}
	b.power.baselineNS = math.MaxInt64
	if len(r.requests) > 0 {
		b.power.baselineNS = r.requests[0].start
	}
	b.held = held{requests: r.requests, reasons: make([]schema.Opt[int64], len(r.requests))}
	b.idle.untilNS, b.gaps, b.still = b.power.baselineNS, r.gapsOf(uuid), r.stillOf(uuid)
	rows := int64(0)
	err := merged(ctx, c.root, r.name, uuid, sections, func(l *lane) {
		if b.path != l.file {
			if found[l.file] == nil {
				found[l.file] = map[string]*Finding{}
			}
			b.path, b.found = l.file, found[l.file]
		}
		rows++
		b.judge(l)
	})
	if err != nil {
		return err
	}
	for _, f := range found {
		for _, f := range f {
			c.spoil(*f)
		}
	}
	b.still.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]seen{}
	}
	r.seen[uuid] = seen{rows: rows, power: b.power, held: b.held.end(), foreign: b.idle.foreign(), stuck: b.still.stuck}
	return nil
}

func (b *board) judge(l *lane) {
	if l.ns == b.lastNS {
		b.bad("twice", "the board has two rows at monotonic_ns %d", l.ns)
		return
	}
	b.lastNS = l.ns
	a, i := &l.rows, l.i
	b.power.add(l.ns, optional(a.power, i), optional(a.counter, i))
	b.held.add(l.ns, optional(a.throttle, i))
	b.idle.add(l.ns, optional(a.utilisation, i))
	b.still.add(l.ns, optional(a.power, i), optional(a.utilisation, i), optional(a.counter, i))
	switch within, silent := b.gaps.add(l.ns); {
	case within:
		b.bad("gap", "monotonic_ns %d lies within a gap of its board, by runs", l.ns)
	case silent:
		b.bad("silence", "the board has no rows for too long before monotonic_ns %d, and runs says nothing of a gap", l.ns)
	}
	want := b.labels.at(l.ns)
	if want.open {
		return
	}
	var id, promptID string
	var input, requested schema.Opt[int32]
	if r := want.request; r != nil {
		id, promptID, input, requested = r.id, r.prompt, r.input, r.requested
	}
	if have := a.stage.Value(i); have != string(want.stage) {
		b.bad("stage", "monotonic_ns %d is labelled %s, by the requests the board was in %s", l.ns, have, want.stage)
	}
	b.same(l, "request_id", text(a.requests, i), id)
	b.same(l, "prompt_id", text(a.promptID, i), promptID)
	b.same(l, "workload", text(a.workload, i), want.workload)
	if have := optional(a.input, i); have != input {
		b.bad("input_tokens", "monotonic_ns %d has other input_tokens than its request", l.ns)
	}
	if have := optional(a.requested, i); have != requested {
		b.bad("output_tokens_requested", "monotonic_ns %d has other output_tokens_requested than its request", l.ns)
	}
	if have := a.concurrent.Value(i); have != want.concurrent {
		b.bad("concurrent", "monotonic_ns %d has concurrent_requests %d, by the requests there were %d", l.ns, have, want.concurrent)
	}
	if a.warmup.Value(i) != want.warmup {
		b.bad("warmup", "monotonic_ns %d has warmup %t, its request says %t", l.ns, !want.warmup, want.warmup)
	}
}

func (b *board) same(l *lane, name, have, want string) {
	if have != want {
		b.bad(name, "monotonic_ns %d has %s %q, by the requests it is %q", l.ns, name, have, want)
	}
}
