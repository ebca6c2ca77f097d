package verify

import (
	"math"
	"path"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/llm-tracer/tracer/schema"
)

// section is where a file holds rows of one board of one run.
type section struct {
	file     string
	from, to int64 // rows of the file, others' perhaps among them
	alone    bool  // no others' rows stand in the file
	firstNS  int64
	lastNS   int64
}

// offsets is how far wall clock and CLOCK_MONOTONIC are apart in some rows, ns, least and most.
type offsets struct {
	least, most int64
	known       bool
}

func (o *offsets) add(timestampUS, monotonicNS int64) {
	d := timestampUS*1000 - monotonicNS
	o.join(offsets{d, d, true})
}

func (o *offsets) join(with offsets) {
	switch {
	case !with.known:
	case !o.known:
		*o = with
	default:
		o.least, o.most = min(o.least, with.least), max(o.most, with.most)
	}
}

// apart finds clocks that do not go together. Timestamps are cut to µs, nothing else differs.
func (o *offsets) apart() bool { return o.most-o.least >= 1000 }

// samples judges the rows of a samples file by themselves.
type samples struct {
	*file
	sections map[[2]string]*section // by run and board
	last     boardOfRun             // of the row before
}

// boardOfRun is what stays the same over many rows.
type boardOfRun struct {
	run, host, uuid, gpu, llm, stage string

	name    string // of the run
	section *section
	clock   *offsets
}

func (s *samples) batch(r arrow.Record) {
	run, host, uuid := column[*array.String](r, "run_id"), column[*array.String](r, "host"), column[*array.String](r, "gpu_uuid")
	gpu, llm, stage := column[*array.String](r, "gpu_name"), column[*array.String](r, "llm_name"), column[*array.String](r, "inference_stage")
	stamp, mono := column[*array.Timestamp](r, "timestamp"), column[*array.Int64](r, "monotonic_ns")
	if s.sections == nil {
		s.sections = map[[2]string]*section{}
	}
	for i := range int(r.NumRows()) {
		l, ns := &s.last, mono.Value(i)
		if l.section == nil || l.run != run.Value(i) || l.uuid != uuid.Value(i) || l.host != host.Value(i) ||
			l.stage != stage.Value(i) || l.gpu != gpu.Value(i) || l.llm != llm.Value(i) {
			s.turn(boardOfRun{
				run: strings.Clone(run.Value(i)), host: strings.Clone(host.Value(i)), uuid: strings.Clone(uuid.Value(i)),
				gpu: strings.Clone(gpu.Value(i)), llm: strings.Clone(llm.Value(i)), stage: strings.Clone(stage.Value(i)),
			}, s.row+int64(i), ns)
		} else {
			s.rowsBy[l.name]++
		}
		if l.section.to > l.section.from && ns <= l.section.lastNS {
			s.bad("monotonic", "row %d: monotonic_ns %d does not come after %d, the board's row before", s.row+int64(i), ns, l.section.lastNS)
		}
		l.section.to, l.section.lastNS = s.row+int64(i)+1, max(ns, l.section.lastNS)
		l.clock.add(int64(stamp.Value(i)), ns)
	}
	s.plausible(r)
}

// turn begins a stretch of rows of one board of one run.
func (s *samples) turn(to boardOfRun, row, ns int64) {
	to.name = s.filed(to.run, to.host)
	key := [2]string{to.name, to.uuid}
	to.section = s.sections[key]
	if to.section == nil {
		to.section = &section{file: s.path, from: row, to: row, firstNS: ns, lastNS: math.MinInt64}
		s.sections[key] = to.section
	}
	if to.clock = s.clock[to.name]; to.clock == nil {
		to.clock = &offsets{}
		s.clock[to.name] = to.clock
	}
	for key, value := range map[string]string{"gpu": schema.Slug(to.gpu), "llm": schema.Slug(to.llm), "stage": to.stage} {
		if s.parts[key] != value {
			s.bad("partition "+key, "row %d belongs under %s=%s, not %s=%s", row, key, value, key, s.parts[key])
		}
	}
	if _, merged := s.merged[s.path]; !merged && !strings.Contains(path.Base(s.path), "-"+schema.ShortUUID(to.uuid)+"-") {
		s.bad("board", "row %d is of board %s, not of the one that the file is named after", row, to.uuid)
	}
	s.last = to
}

func (s *samples) end() {
	for key, section := range s.sections {
		section.alone = len(s.sections) == 1
		r := s.of(key[0])
		if r == nil {
			continue
		}
		r.mu.Lock()
		r.sections[key[1]] = append(r.sections[key[1]], section)
		r.mu.Unlock()
	}
}

// ranges are what readings can be. A power of 0 W is none that a board that answers ever had.
var ranges = []struct {
	column      string
	least, most float64
}{
	{"power_instant_w", math.SmallestNonzeroFloat32, 1e5},
	{"power_average_w", math.SmallestNonzeroFloat32, 1e5},
	{"power_limit_w", math.SmallestNonzeroFloat32, 1e5},
	{"memory_power_w", 0, 1e5},
	{"energy_total_j", 0, 1e15},
	{"gpu_utilization_pct", 0, 100},
	{"memory_utilization_pct", 0, 100},
	{"sm_active_ratio", 0, 1},
	{"tensor_active_ratio", 0, 1},
	{"dram_active_ratio", 0, 1},
	{"sm_clock_mhz", 0, 1e5},
	{"memory_clock_mhz", 0, 1e5},
	{"temperature_c", -100, 250},
	{"memory_temperature_c", -100, 250},
	{"pstate", 0, 15},
	{"memory_used_bytes", 0, 1e15},
	{"throttle_reasons", 0, math.MaxInt64},
	{"read_duration_us", 0, math.MaxInt32},
	{"concurrent_requests", 0, math.MaxInt32},
}

func (s *samples) plausible(r arrow.Record) {
	for _, in := range ranges {
		switch a := column[arrow.Array](r, in.column).(type) {
		case *array.Float32:
			within(s, a, in.column, a.Float32Values(), in.least, in.most)
		case *array.Float64:
			within(s, a, in.column, a.Float64Values(), in.least, in.most)
		case *array.Int32:
			within(s, a, in.column, a.Int32Values(), in.least, in.most)
		case *array.Int64:
			within(s, a, in.column, a.Int64Values(), in.least, in.most)
		}
	}
}

func within[T float32 | float64 | int32 | int64](s *samples, a arrow.Array, name string, values []T, least, most float64) {
	for i, v := range values {
		if x := float64(v); !(x >= least && x <= most) && a.IsValid(i) { // NaN too
			s.bad("range "+name, "row %d: %s is %v, which no board shows", s.row+int64(i), name, v)
		}
	}
}
