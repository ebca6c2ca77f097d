package verify

import (
	"math"
	"slices"

	"github.com/llm-tracer/tracer/schema"
)

// power follows what a board's rows say of its power and energy, without any model: the values joined by straight lines.
type power struct {
	firstNS, lastNS int64 // of power values
	lastW           float64
	joules          float64
	peakW           float64
	unreadS         float64 // in gaps too long to be bridged

	baselineNS int64 // what was read before is the idle baseline
	baseline   float64
	baselineN  int

	counters     int
	fromNS, toNS int64 // of counter values
	fromJ, toJ   float64
	fromOwn, own float64 // joules at those instants
	wentBack     bool
}

// longestGap is the longest time between two values that a straight line bridges, ns: no lane but the slowest is read so
// rarely.
const longestGap = 1_000_000_000

func (p *power) add(ns int64, watts schema.Opt[float32], counter schema.Opt[float64]) {
	if watts.OK {
		w := float64(watts.V)
		if p.firstNS == 0 {
			p.firstNS = ns
		} else if gap := ns - p.lastNS; gap > longestGap {
			p.unreadS += float64(gap) / 1e9
		} else {
			p.joules += (w + p.lastW) / 2 * float64(gap) / 1e9
		}
		if ns < p.baselineNS {
			p.baseline, p.baselineN = p.baseline+w, p.baselineN+1
		}
		p.lastNS, p.lastW, p.peakW = ns, w, max(p.peakW, w)
	}
	if !counter.OK {
		return
	}
	if p.counters++; p.counters == 1 {
		p.fromNS, p.fromJ, p.toJ, p.fromOwn = ns, counter.V, counter.V, p.joules
	}
	p.wentBack = p.wentBack || counter.V < p.toJ
	p.toNS, p.toJ, p.own = ns, counter.V, p.joules
}

// Bounds within which two ways to an energy agree.
const (
	exact       = 1e-6 // of the same numbers, added up twice
	ofRequests  = 1e-3 // of all requests against their stages
	closes      = 5.0  // %: past it a run is marked energy_closure
	misfits     = 3.0  // past it a run is marked energy_misfit
	shortWindow = 5.0  // s: no window shorter than this closes
	// The model's integral against straight lines through the readings: these know nothing of the sensor's lag and window,
	// which misplace power by up to a second at either end, nor of what happens between two values.
	straightShare = 0.15
	straightEnds  = 1.0 // s of the highest power
)

// closes holds the energies of a board's row against its readings, and against one another.
func (r *run) closes(b *boardRow) {
	p := r.seen[b.uuid].power
	if p.baselineN > 0 && b.idleW.OK && !near(b.idleW.V, p.baseline/float64(p.baselineN), exact) {
		r.bad(b.file, "idle_power_w is %g, the readings before the first request give %g", b.idleW.V, p.baseline/float64(p.baselineN))
	}
	if b.windowS.OK && !near(b.windowS.V, float64(p.toNS-p.fromNS)/1e9, exact) {
		r.bad(b.file, "energy_window_s is %g, the readings of the counter are %g s apart", b.windowS.V, float64(p.toNS-p.fromNS)/1e9)
	}
	switch {
	case b.countedJ.OK && p.wentBack:
		r.bad(b.file, "energy_counted_j is %g, though the board's counter went back", b.countedJ.V)
	case b.countedJ.OK && !near(b.countedJ.V, p.toJ-p.fromJ, exact):
		r.bad(b.file, "energy_counted_j is %g, the board's counter went from %g to %g", b.countedJ.V, p.fromJ, p.toJ)
	}
	r.codes(b)
	sum := 0.0
	for stage, j := range b.stages {
		if j.OK && j.V < 0 {
			r.bad(b.file, "%s_energy_j is %g", stage, j.V)
		}
		sum += j.V
	}
	if !b.estimatedJ.OK || b.windowS.V < shortWindow {
		return
	}
	outside := max(0, float64(p.lastNS-p.firstNS)/1e9-b.windowS.V+straightEnds) * p.peakW * (1 + straightShare)
	if est := b.estimatedJ.V; sum < est*(1-ofRequests) || sum > est+outside {
		r.bad(b.file, "the stages' energies add up to %g J, energy_estimated_j is %g", sum, est)
	}
	straight := p.own - p.fromOwn
	if p.unreadS > b.windowS.V/50 || slices.Contains(b.codes, schema.ReasonMisfit) {
		return
	}
	if math.Abs(b.estimatedJ.V-straight) > straightShare*straight+straightEnds*p.peakW {
		r.bad(b.file, "energy_estimated_j is %g, the power that was read gives %g", b.estimatedJ.V, straight)
	}
}

// codes recomputes a board's reason codes.
func (r *run) codes(b *boardRow) {
	if b.closure.OK && math.Abs(b.closure.V-100*(b.estimatedJ.V/b.countedJ.V-1)) > exact*100 {
		r.bad(b.file, "energy_closure_pct is %g, energy_estimated_j over energy_counted_j gives %g", b.closure.V, 100*(b.estimatedJ.V/b.countedJ.V-1))
	}
	for code, holds := range map[string]bool{
		schema.ReasonClosure:  b.closure.OK && math.Abs(b.closure.V) > closes,
		schema.ReasonMisfit:   b.misfit.OK && b.misfit.V > misfits,
		schema.ReasonNoEnergy: !b.misfit.OK,
		schema.ReasonStuck:    r.seen[b.uuid].stuck,
	} {
		if code == schema.ReasonStuck && !b.gapsTold || code == schema.ReasonNoEnergy && !b.misfitTold {
			continue // an older tracer did not look for that
		}
		if holds != slices.Contains(b.codes, code) {
			r.bad(b.file, "board %s: its columns, its readings and its reason codes disagree about %s", b.uuid, code)
		}
	}
}

// charged holds the energies of the requests against those of the stages and of the folds.
func (r *run) charged() {
	for stage, of := range map[schema.Stage]func(*request) schema.Opt[float64]{
		schema.StagePrefill: func(q *request) schema.Opt[float64] { return q.prefillJ },
		schema.StageDecode:  func(q *request) schema.Opt[float64] { return q.decodeJ },
	} {
		sum, all := 0.0, true
		for i := range r.requests {
			q := &r.requests[i]
			sum += of(q).V
			all = all && (of(q).OK || stage == schema.StageDecode && q.prefillJ.OK && q.first == q.last)
		}
		whole := 0.0
		for i := range r.boards {
			j := r.boards[i].stages[stage]
			if !j.OK {
				whole = math.Inf(1)
				all = false
			}
			whole += j.V
		}
		if sum > whole*(1+ofRequests) || all && sum < whole*(1-ofRequests) {
			r.bad(r.at(), "the requests' %s_energy_j add up to %g J, the boards' to %g", stage, sum, whole)
		}
	}
	for _, f := range r.folds {
		n := int32(0)
		for i := range r.requests {
			if q := &r.requests[i]; q.valid && !q.warmup && q.workload == f.workload && q.size == f.size {
				n++
			}
		}
		if f.requests < 1 || f.requests > n {
			r.bad(f.file, "%s %d %s: %d requests folded, there are %d valid ones", f.workload, f.size, f.stage, f.requests, n)
		}
	}
	r.folded()
}

// folded holds the folds' means against the requests that they are of, where all of these have energies.
func (r *run) folded() {
	type group struct {
		workload, stage string
		size            int32
	}
	of := map[group][]fold{}
	for _, f := range r.folds {
		g := group{f.workload, f.stage, f.size}
		of[g] = append(of[g], f)
	}
	for g, folds := range of {
		requests, boards, n := 0.0, 0.0, int32(0)
		for i := range r.requests {
			q := &r.requests[i]
			if !q.valid || q.warmup || q.workload != g.workload || q.size != g.size {
				continue
			}
			j := q.prefillJ
			if g.stage == string(schema.StageDecode) {
				j = q.decodeJ
			}
			if j.OK {
				requests, n = requests+j.V, n+1
			}
		}
		for _, f := range folds {
			boards += f.energyJ.V * float64(f.requests)
		}
		whole := len(folds) == len(r.boards) && !slices.ContainsFunc(folds, func(f fold) bool { return f.requests != n })
		if whole && !near(requests, boards, ofRequests) {
			r.bad(folds[0].file, "%s %d %s: the folds' energies are those of %g J, the requests' add up to %g", g.workload, g.size, g.stage, boards, requests)
		}
	}
}
