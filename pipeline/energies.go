package pipeline

import (
	"cmp"
	"math"
	"runtime"
	"slices"

	"github.com/sourcegraph/conc/pool"

	"github.com/llm-tracer/tracer/pipeline/energy"
	"github.com/llm-tracer/tracer/schema"
)

// energyMethod names how energies are estimated; docs/accuracy.md says how well.
const energyMethod = "levels fitted to sensor windows"

// confidence is the number of standard deviations in half of a 95 % interval.
const confidence = 1.96

// stretch is a stretch of time with one label.
type stretch struct {
	from, to int64
	label    label
}

// stretches divides a stretch of time by what the requests, sorted by start, say of it.
func stretches(requests []schema.Request, from, to int64) (all []stretch) {
	cuts := []int64{from, to}
	for i := range requests {
		s := &requests[i].Span
		cuts = append(cuts, s.StartNS, end(s))
		for _, o := range []schema.Opt[int64]{s.PrefillStartNS, s.FirstTokenNS, s.LastTokenNS} {
			if o.OK {
				cuts = append(cuts, o.V)
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var t timeline // of the requests that have begun: it forgets those that have ended
	begun := 0
	for i := 1; i < len(cuts); i++ {
		for ; begun < len(requests) && requests[begun].StartNS <= cuts[i-1]; begun++ {
			t.add(&requests[begun].Span)
		}
		a, b := max(cuts[i-1], from), min(cuts[i], to)
		if a >= b {
			continue
		}
		l := t.at(a)
		if n := len(all); n > 0 && all[n-1].label.stage == l.stage && all[n-1].label.span == l.span {
			all[n-1].to = b
			continue
		}
		all = append(all, stretch{a, b, l})
	}
	return all
}

// work tells apart the kinds of work that are expected to draw different power.
type work struct {
	stage    schema.Stage
	workload schema.Workload
	size     int32
}

func (s *stretch) work() work {
	w := work{stage: s.label.stage}
	if p := s.label.span; p != nil {
		w.workload, w.size = p.Prompt.Workload, p.Prompt.TargetTokens
	}
	return w
}

// told says whether a prefill's beginning was reckoned back from its first token by what the server told of its length.
func (s *stretch) told() bool {
	p := s.label.span
	return s.label.stage == schema.StagePrefill && p != nil && p.PrefillStartNS == schema.Some(s.from) && s.from > p.StartNS
}

// tokens is how many the request has that begins with a stretch, which its server reads first.
func (s *stretch) tokens() int {
	p := s.label.span
	switch {
	case p == nil || p.StartNS != s.from:
		return 0
	case p.InputTokens.OK:
		return int(p.InputTokens.V)
	default:
		return int(p.TextTokens)
	}
}

// stages are the positions of a request's stretches.
type stages struct{ prefill, decode []int }

// estimates are the energies of a run's boards.
type estimates struct {
	stretches []stretch
	of        map[*schema.Span]*stages
	models    []*energy.Model // per board; nil where none could be fitted
}

// estimate fits each board's power, once all readings and requests are in.
func (p *Pipeline) estimate() *estimates {
	e := &estimates{of: map[*schema.Span]*stages{}, models: make([]*energy.Model, len(p.Boards))}
	from, to := p.sampled()
	if from >= to {
		return e
	}
	e.stretches = stretches(p.requests, from, to)
	segments, kinds := make([]energy.Segment, len(e.stretches)), map[work]int{}
	for i := range e.stretches {
		s := &e.stretches[i]
		w := s.work()
		if _, ok := kinds[w]; !ok {
			kinds[w] = len(kinds)
		}
		segments[i] = energy.Segment{FromNS: s.from, ToNS: s.to, Idle: w.stage == schema.StageIdle, Kind: kinds[w], Told: s.told(), Tokens: s.tokens()}
		e.note(i)
	}
	fits := pool.New().WithMaxGoroutines(runtime.GOMAXPROCS(0))
	for b := range p.Boards {
		fits.Go(func() {
			if m, ok := energy.Fit(p.Boards[b].Power, p.Boards[b].PowerLimitW, p.moving(b), segments); ok {
				e.models[b] = m
			}
		})
	}
	fits.Wait()
	return e
}

// moving are a board's updates without those of a sensor that was stuck.
func (p *Pipeline) moving(b int) []energy.Update {
	return slices.DeleteFunc(p.power[b].Located(), func(u energy.Update) bool {
		return slices.ContainsFunc(p.conducts[b].stuck, func(g schema.Gap) bool { return g.FromNS <= u.EdgeNS && u.EdgeNS <= g.ToNS })
	})
}

// stuck says whether a board's power sensor was stuck during a request.
func (p *Pipeline) stuck(s *schema.Span) bool {
	return slices.ContainsFunc(p.conducts, func(c conduct) bool { return s.Missed(c.stuck) })
}

func (e *estimates) note(i int) {
	l := &e.stretches[i].label
	if l.span == nil {
		return
	}
	of := e.of[l.span]
	if of == nil {
		of = &stages{}
		e.of[l.span] = of
	}
	switch l.stage {
	case schema.StagePrefill:
		of.prefill = append(of.prefill, i)
	case schema.StageDecode:
		of.decode = append(of.decode, i)
	case schema.StageIdle, schema.StageMixed:
	}
}

// sampled is the stretch of time that every board was read in, gaps included.
func (p *Pipeline) sampled() (from, to int64) {
	from, to = math.MaxInt64, 0
	for i := range p.power {
		if first, last, ok := p.power[i].Span(); ok {
			from, to = min(from, first), max(to, last)
		}
	}
	return from, to
}

// charge fills in the energies of the requests that had the boards to themselves.
func (p *Pipeline) charge(e *estimates) {
	for i := range p.requests {
		r := &p.requests[i]
		r.ClockErrorS = p.clockError(&r.Span)
		of := e.of[&r.Span]
		if of == nil || r.ErrorType != "" || slices.Contains(r.Invalid, schema.ReasonOverlap) || p.stuck(&r.Span) {
			continue
		}
		if r.PrefillEnergy = p.energyOf(e, of.prefill); r.PrefillEnergy.J.OK {
			r.EnergyMethod = energyMethod
		}
		r.DecodeEnergy = p.energyOf(e, of.decode)
		r.Energy = p.energyOf(e, slices.Concat(of.prefill, of.decode))
	}
}

// energyOf is the energy of some stretches together, over all boards.
func (p *Pipeline) energyOf(e *estimates, segments []int) schema.Energy {
	var sum sumOfBoards
	for b, m := range e.models {
		if m == nil || len(segments) == 0 || slices.ContainsFunc(segments, m.Blind) {
			return schema.Energy{}
		}
		sum.add(m, p.Boards[b].Power.GainError, segments)
		sum.clock += shifted(m, float64(p.clocks[b].during(e.stretches[segments[0]].label.span).V), segments)
	}
	return sum.energy(1)
}

// sumOfBoards adds up energies. Boards err on their own but for their sensors' gains, which may all be off to one side.
type sumOfBoards struct {
	j, variance, gain float64
	clock             float64 // all may be off to one side
	updates           schema.Opt[int32]
	coverage          schema.Opt[float64]
	resolved          schema.Opt[bool]
}

func (s *sumOfBoards) add(m *energy.Model, gain float64, segments []int) {
	e := m.Energy(segments...)
	s.j += e.J
	s.variance += e.SD * e.SD
	s.gain += gain * e.J
	var updates int32
	var seen, length float64
	resolved := true
	for _, i := range segments {
		updates += m.Updates(i)
		seen, length = seen+m.SeenS(i), length+m.DurationS(i)
		resolved = resolved && m.Resolved(i)
	}
	if coverage := seen / length; !s.coverage.OK || coverage < s.coverage.V {
		s.coverage = schema.Some(coverage)
	}
	if !s.updates.OK || updates < s.updates.V {
		s.updates = schema.Some(updates)
	}
	s.resolved = schema.Some(resolved && (!s.resolved.OK || s.resolved.V))
}

// energy is a share of the sum, with its 95 % interval.
func (s *sumOfBoards) energy(share float64) schema.Energy {
	half := math.Hypot(math.Hypot(confidence*math.Sqrt(s.variance), s.gain), s.clock)
	return schema.Energy{
		J:  schema.Some(share * s.j),
		Lo: schema.Some(share * max(0, s.j-half)), Hi: schema.Some(share * (s.j + half)),
		Updates: s.updates, Coverage: s.coverage, Resolved: s.resolved,
	}
}

// folds are the valid requests of each size together.
func (p *Pipeline) folds(e *estimates) []schema.Fold {
	groups := map[work][]int{}
	for i := range p.requests {
		r := &p.requests[i]
		of := e.of[&r.Span]
		if of == nil || r.Warmup || !r.Valid() {
			continue
		}
		w := work{workload: r.Prompt.Workload, size: r.Prompt.TargetTokens}
		for stage, segments := range map[schema.Stage][]int{schema.StagePrefill: of.prefill, schema.StageDecode: of.decode} {
			if w.stage = stage; len(segments) == 1 {
				groups[w] = append(groups[w], segments[0])
			}
		}
	}
	var folds []schema.Fold
	for b, m := range e.models {
		if m == nil {
			continue
		}
		for w, segments := range groups {
			if seen := slices.DeleteFunc(slices.Clone(segments), m.Blind); len(seen) > 0 {
				folds = append(folds, p.fold(m, &p.Boards[b], float64(p.clocks[b].most.V), w, seen))
			}
		}
	}
	slices.SortFunc(folds, func(a, b schema.Fold) int {
		return cmp.Or(cmp.Compare(a.Board.UUID, b.Board.UUID), cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.TargetTokens, b.TargetTokens), cmp.Compare(a.Stage, b.Stage))
	})
	return folds
}

func (p *Pipeline) fold(m *energy.Model, board *schema.Board, clockErrorS float64, w work, segments []int) schema.Fold {
	n := float64(len(segments))
	f := schema.Fold{Run: p.Run, Board: board, Workload: w.workload, TargetTokens: w.size, Stage: w.stage, Requests: int32(len(segments))}
	for _, i := range segments {
		f.DurationS += m.DurationS(i) / n
		f.Updates += m.Updates(i)
		if m.Resolved(i) {
			f.Resolved++
		}
	}
	var sum sumOfBoards
	sum.add(m, board.Power.GainError, segments)
	sum.clock = shifted(m, clockErrorS, segments)
	f.Energy = sum.energy(1 / n)
	f.CurveStepS, f.CurveW = m.Curve(segments)
	return f
}

// Bounds of a closure that means something.
const (
	shortestClosure = 5.0 // s: under it, the counter's steps of 100 ms and its own lag count
	widestClosure   = 5.0 // %: sensor gains are off by up to 6 % against a meter, but the counter is the same sensor's
)

// account says where a board's energy went.
func (p *Pipeline) account(e *estimates, board int) (a schema.Account) {
	m, c := e.models[board], &p.counters[board]
	a.CounterResets = c.resets
	if len(p.conducts[board].stuck) > 0 {
		a.Reasons = append(a.Reasons, schema.ReasonStuck)
	}
	if m == nil {
		a.Reasons = append(a.Reasons, schema.ReasonNoEnergy)
		return a
	}
	a.Misfit = schema.Some(m.Misfit())
	if a.Misfit.V > worstMisfit {
		a.Reasons = append(a.Reasons, schema.ReasonMisfit)
	}
	if p.unseen(m, e) {
		return a
	}
	a.Stages = map[schema.Stage]float64{}
	for i, s := range e.stretches {
		a.Stages[s.label.stage] += m.EnergyJ(i)
	}
	a.LagS, a.LateS = schema.Some(m.LagS()), schema.Some(m.LateS())
	if d, ok := m.DelayS(); ok {
		a.DelayS = schema.Some(d)
		a.PerTokenS.V, a.PerTokenS.OK = m.PerTokenS()
	}
	a.SensorS, a.NoiseW = schema.Some(m.WindowS()), schema.Some(m.NoiseW())
	if c.fromNS == c.toNS {
		return a
	}
	a.WindowS, a.EstimateJ = schema.Some(float64(c.toNS-c.fromNS)/1e9), schema.Some(m.BetweenJ(c.fromNS, c.toNS))
	if c.resets > 0 || p.Boards[board].PowerScope == schema.PowerScopeModule { // the counter is the GPU's alone
		return a
	}
	a.CounterJ = schema.Some(c.toJ - c.fromJ)
	if a.WindowS.V < shortestClosure || a.CounterJ.V <= 0 {
		return a
	}
	a.ClosurePct = schema.Some(100 * (a.EstimateJ.V/a.CounterJ.V - 1))
	if math.Abs(a.ClosurePct.V) > widestClosure {
		a.Reasons = append(a.Reasons, schema.ReasonClosure)
	}
	return a
}

// worstMisfit is from where on a board does not do what the model takes boards to do.
const worstMisfit = 3.0

// unseen says whether a board was not read for a good part of the run: what it drew meanwhile is anybody's guess.
func (p *Pipeline) unseen(m *energy.Model, e *estimates) bool {
	var blind, all float64
	for i := range e.stretches {
		all += m.DurationS(i)
		if m.Blind(i) {
			blind += m.DurationS(i)
		}
	}
	return blind > all/50
}

// CounterResets is how often a board's energy counter went back.
func (p *Pipeline) CounterResets(board int) int64 { return p.counters[board].resets }

// counter follows a board's energy counter.
type counter struct {
	fromNS, toNS int64
	fromJ, toJ   float64
	resets       int64 // times that it went back: the driver was loaded anew
}

func (c *counter) add(r *schema.Reading) {
	if !r.EnergyTotalJ.OK {
		return
	}
	j := r.EnergyTotalJ.V
	if c.fromNS == 0 {
		c.fromNS, c.fromJ, c.toJ = r.MidNS(), j, j
	}
	if j < c.toJ {
		c.resets++
	}
	c.toNS, c.toJ = r.MidNS(), j
}
