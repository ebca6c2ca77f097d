package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/remote/clocks"
	"github.com/llm-tracer/tracer/schema"
)

// Result is how a host's sampling went, by this host's clock.
type Result struct {
	Stats sampler.Stats
	Clock schema.HostClock
}

// Live is one board as it stands: see sampler.LiveBoard.
type Live = sampler.LiveBoard

// run is one sampling as the user sees it. But for ending and done it belongs to the goroutine that speaks with the agent.
type run struct {
	plan   sampler.Plan
	budget float64
	first  int32 // position of the host's first board in the run
	sink   sampler.Sink
	ending atomic.Bool
	done   chan struct{}

	parts   []*part
	waiting []schema.Reading // for the clock, or for room in the ring
	boards  []seen
	worst   time.Duration // that a reading's time may be off by
	beganNS int64
	result  Result
	err     error
}

// part is what one agent has sampled of a run: all of it, unless the agent is killed or the host booted.
type part struct {
	number   int
	have     int64 // readings
	finished *finished
	lost     bool // with its agent
	told     bool // that all of it is here
	boards   []int64
}

// seen is what came of one board.
type seen struct {
	readings, absent, losses int64
	lastNS                   int64        // of the last row, here
	sparse                   []schema.Gap // silences that no agent has explained yet
	why                      error
}

// Run samples all boards of the host until the context ends, or the host is lost, which is an error. Rows have the host's
// boards counted from first, and this host's time. It returns when all readings that there are have been taken by the sink.
func (h *Host) Run(ctx context.Context, plan sampler.Plan, budget float64, first int, sink sampler.Sink) (Result, error) {
	r := &run{
		plan: plan, budget: budget, first: int32(first), sink: sink, done: make(chan struct{}),
		boards: make([]seen, len(h.facts.Boards)), beganNS: clock.Now(),
	}
	for i := range r.boards {
		r.boards[i].lastNS = r.beganNS
	}
	h.mu.Lock()
	if err := h.closed; err != nil {
		h.mu.Unlock()
		h.at = r
		h.giveUp(r, err) // nobody else does any more
		return r.result, r.err
	}
	h.run = r
	h.mu.Unlock()
	h.nudge()
	select {
	case <-ctx.Done():
	case <-r.done:
	}
	r.ending.Store(true)
	h.nudge()
	<-r.done
	return r.result, r.err
}

// Live is how the boards stand, from any goroutine.
func (h *Host) Live() []Live {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Live(nil), h.live...)
}

func (r *run) last() *part {
	if len(r.parts) == 0 {
		return nil
	}
	return r.parts[len(r.parts)-1]
}

func (r *run) begin(number int) *part {
	p := &part{number: number, boards: make([]int64, len(r.boards))}
	r.parts = append(r.parts, p)
	return p
}

// arrived says that nothing more is to come.
func (r *run) arrived() bool {
	p := r.last()
	return p != nil && p.complete() && (r.ending.Load() || p.finished.Lost != "")
}

func (h *Host) part(number int) *part {
	if h.at != nil {
		for _, p := range h.at.parts {
			if p.number == number {
				return p
			}
		}
	}
	return nil // of a sampling that was given up
}

func (p *part) complete() bool { return p.finished != nil && p.have >= p.finished.Readings }

func (p *part) finish(f *finished) {
	if p.finished == nil {
		p.finished, p.lost = f, f.Dead
	}
}

func (p *part) loseRest() { p.finish(&finished{Run: p.number, Readings: p.have, Dead: true}) }

// take takes readings that are not here yet.
func (h *Host) take(a *attached, m message) error {
	var number, first int64
	payload, err := m.numbers(&number, &first)
	if err != nil {
		return err
	}
	rows, err := a.decoder.Decode(payload, nil)
	if err != nil {
		return fmt.Errorf("readings that cannot be read: %w", err)
	}
	p := h.part(int(number))
	if p == nil {
		return nil
	}
	if first > p.have {
		return fmt.Errorf("readings %d to %d are missing", p.have, first)
	}
	rows = rows[min(p.have-first, int64(len(rows))):]
	for i := range rows {
		if b := rows[i].Board; b < 0 || int(b) >= len(h.facts.Boards) {
			return fmt.Errorf("a reading is of board %d, which the host does not have", b)
		}
		p.boards[rows[i].Board]++
	}
	p.have += int64(len(rows))
	h.at.waiting = append(h.at.waiting, rows...)
	h.show(rows)
	return nil
}

// show keeps what a display wants.
func (h *Host) show(rows []schema.Reading) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range rows {
		l := &h.live[rows[i].Board]
		l.UUID = h.facts.Boards[rows[i].Board].UUID
		l.Readings++
		if rows[i].PowerInstantW.OK {
			l.PowerW = rows[i].PowerInstantW
		}
		if rows[i].GPUUtilPct.OK {
			l.GPUUtilPct = rows[i].GPUUtilPct
		}
	}
}

// push hands over the readings whose time is known, and ends the run with the last. Where no mark of the clock will come any
// more, the rate of the last must do.
func (h *Host) push(last bool) {
	r := h.at
	if r == nil {
		return
	}
	until, ok := h.clock.Ready()
	n := 0
	for n < len(r.waiting) && (ok && r.waiting[n].EndNS <= until || last) && h.hand(r, &r.waiting[n]) {
		n++
	}
	r.waiting = append(r.waiting[:0], r.waiting[n:]...)
	if r.arrived() && len(r.waiting) == 0 && !last {
		p := r.last()
		var err error
		if p.finished.Lost != "" {
			err = errors.New(h.Name + ": " + p.finished.Lost)
		}
		h.settle(r, err)
	}
}

// errorStep is what errors are rounded up to: files of values that repeat are small.
const errorStep = 10 * time.Microsecond

// hand translates a reading's time and hands it to the ring, where there is room.
func (h *Host) hand(r *run, there *schema.Reading) bool {
	x := *there
	mid := x.MidNS()
	here, off := h.clock.Here(mid)
	off = (off + errorStep - 1) / errorStep * errorStep
	x.StartNS, x.EndNS, x.Board = x.StartNS+here-mid, x.EndNS+here-mid, x.Board+r.first
	x.ClockErrorS = schema.Some(float32(off.Seconds()))
	if !r.sink.Push(&x) {
		return false
	}
	r.worst = max(r.worst, off)
	b := &r.boards[there.Board]
	if here-b.lastNS > int64(schema.LongestSilence(r.plan.Power)) {
		b.sparse = append(b.sparse, schema.Gap{FromNS: b.lastNS, ToNS: here, Why: schema.GapHost})
	}
	b.lastNS = here
	b.readings++
	if !x.PowerInstantW.OK {
		b.absent++
	}
	return true
}

// settle ends a run.
func (h *Host) settle(r *run, err error) {
	r.sum(&h.clock, h.Name)
	s := h.clock.Summary()
	r.result.Clock = schema.HostClock{Offset: s.Offset, DriftPPM: 1e6 * s.Drift, Error: r.worst, RoundTrip: s.RoundTrip}
	r.err = err
	h.at = nil
	h.mu.Lock()
	h.run = nil
	h.mu.Unlock()
	close(r.done)
}

// giveUp ends the run of a host that is lost.
func (h *Host) giveUp(r *run, err error) {
	if p := r.last(); p != nil {
		p.loseRest()
	}
	if h.clock.Summary() != (clocks.Summary{}) {
		tick := time.NewTicker(pushEvery)
		for tries := 0; len(r.waiting) > 0 && tries < 250; tries++ {
			h.push(true)
			<-tick.C
		}
		tick.Stop()
	}
	now := clock.Now()
	for i := range r.boards {
		b := &r.boards[i]
		b.losses++
		b.why = fmt.Errorf("%s: %w", h.Name, err)
		b.sparse = append(b.sparse, schema.Gap{FromNS: b.lastNS, ToNS: now, Why: schema.GapHost})
	}
	h.settle(r, fmt.Errorf("%s: %w", h.Name, err))
}

// rebooted begins with another clock: readings that wait for the old one have no more marks to wait for.
func (h *Host) rebooted(boot string) {
	h.push(true)
	h.clock = clocks.Estimate{}
	h.boot = boot
}

// sum adds up what the agents told at their ends.
func (r *run) sum(c *clocks.Estimate, name string) {
	st := sampler.Stats{Plan: r.plan, Elapsed: time.Duration(max(clock.Now()-r.beganNS, 1)), Boards: make([]sampler.BoardStats, len(r.boards))}
	explained := true
	for _, p := range r.parts {
		f := p.finished
		if f == nil || f.Dead {
			explained = false
			for i, n := range p.boards {
				st.Boards[i].Planned += n
				r.boards[i].losses++
			}
			continue
		}
		r.add(&st, f, c)
	}
	for i := range r.boards {
		b, out := &r.boards[i], &st.Boards[i]
		out.Readings, out.PowerAbsent = b.readings, b.absent
		out.Losses += b.losses
		if !explained {
			out.Gaps = merged(out.Gaps, b.sparse)
			if out.LastError = b.why; b.why == nil {
				out.LastError = fmt.Errorf("%s: tracer's agent there was gone, and another took its place", name)
			}
			for _, g := range b.sparse {
				out.LostFor += time.Duration(g.ToNS - g.FromNS)
			}
		}
		st.Readings += b.readings
	}
	if len(st.Boards) > 0 {
		st.Hz = float64(st.Readings) / float64(len(st.Boards)) / st.Elapsed.Seconds()
	}
	r.result.Stats = st
}

// merged adds to the gaps that an agent explained the silences that none did.
func merged(explained, silences []schema.Gap) []schema.Gap {
	all := slices.Clone(explained)
	for _, s := range silences {
		if !slices.ContainsFunc(explained, func(g schema.Gap) bool { return g.FromNS < s.ToNS && s.FromNS < g.ToNS }) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b schema.Gap) int { return cmp.Compare(a.FromNS, b.FromNS) })
	return all
}

// add takes an agent's statistics over, in this host's time.
func (r *run) add(st *sampler.Stats, f *finished, c *clocks.Estimate) {
	here := func(ns int64) int64 { ns, _ = c.Here(ns); return ns }
	from := &f.Stats
	st.Ticks, st.Missed = st.Ticks+from.Ticks, st.Missed+from.Missed
	st.RealTime, st.CPU = from.RealTime, st.CPU+from.CPU
	if from.Lateness.Count > st.Lateness.Count {
		st.Lateness, st.Cost = from.Lateness, from.Cost
	}
	for _, s := range from.Steps {
		s.FromNS, s.ToNS = here(s.FromNS), here(s.ToNS)
		st.Steps = append(st.Steps, s)
	}
	for i := range min(len(from.Boards), len(st.Boards)) {
		b, out := &from.Boards[i], &st.Boards[i]
		out.UUID, out.LostNow = b.UUID, b.LostNow
		out.Planned, out.Dropped, out.Losses, out.LostFor = out.Planned+b.Planned, out.Dropped+b.Dropped, out.Losses+b.Losses, out.LostFor+b.LostFor
		out.BusyShare, out.BusiestShare = b.BusyShare, math.Max(out.BusiestShare, b.BusiestShare)
		if i < len(f.Errors) && f.Errors[i] != "" {
			out.LastError = errors.New(f.Errors[i])
		}
		for _, g := range b.Gaps {
			g.FromNS, g.ToNS = here(g.FromNS), here(g.ToNS)
			out.Gaps = append(out.Gaps, g)
		}
		for _, ch := range b.Changes {
			ch.AtNS = here(ch.AtNS)
			out.Changes = append(out.Changes, ch)
		}
	}
}
