package sampler

import (
	"math"
	"slices"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// Stats sums up a run.
type Stats struct {
	Plan     Plan
	Elapsed  time.Duration
	Ticks    int64 // slots taken
	Missed   int64 // slots that passed before the sampler was ready for them
	Readings int64
	Dropped  int64         // readings that the sink had no room for
	Hz       float64       // ticks per second as achieved
	RealTime bool          // whether the kernel granted real-time priority
	CPU      time.Duration // of the sampler's thread, but not of one that hangs
	Lateness Quantiles
	Cost     []LaneCost // of the lanes that were read
	Boards   []BoardStats
	Steps    []schema.ClockStep // of the wall clock
}

// LaneCost is the time that one board's reading took, start to end, when Lane was the slowest lane in it.
type LaneCost struct {
	Lane Lane
	Quantiles
}

// BoardStats sums up one board's part of a run.
type BoardStats struct {
	UUID         string
	Planned      int64 // slots in which the board was to be read, as governed
	Readings     int64
	Dropped      int64
	PowerAbsent  int64 // readings in which the instant power failed or is not supported
	Losses       int64 // times that the board stopped answering
	LostFor      time.Duration
	LostNow      bool
	LastError    error                 // of the last loss
	BusyShare    float64               // share of the run spent in this board's calls
	BusiestShare float64               // of 5 s, or of a run of at least 1 s, as the governor saw it
	Changes      []schema.PeriodChange // by the governor
	Gaps         []schema.Gap          // up to the end of the run
}

func (s *Sampler) stats() Stats {
	now := s.now()
	elapsed := max(now-s.startNS, 1)
	st := Stats{
		Plan:     s.plan,
		Elapsed:  time.Duration(elapsed),
		Ticks:    s.ticks.Load(),
		Missed:   s.missed.Load(),
		Hz:       float64(s.ticks.Load()) / time.Duration(elapsed).Seconds(),
		RealTime: s.realTime,
		CPU:      s.cpu,
		Lateness: s.lateness.quantiles(),
		Steps:    s.host.steps,
	}
	for i := range s.cost {
		if q := s.cost[i].quantiles(); q.Count > 0 {
			st.Cost = append(st.Cost, LaneCost{Lane: 1 << i, Quantiles: q})
		}
	}
	for _, b := range s.boards {
		bs := b.stats(now, elapsed)
		st.Readings += bs.Readings
		st.Dropped += bs.Dropped
		st.Boards = append(st.Boards, bs)
	}
	return st
}

func (b *boardState) stats(nowNS, elapsedNS int64) BoardStats {
	lostNS := b.lostNS
	if b.lost.Load() {
		lostNS += nowNS - b.sinceNS
	}
	gaps := b.gaps
	if last, ok := b.gapUntil(nowNS); ok {
		gaps = append(slices.Clone(gaps), last)
	}
	return BoardStats{
		Gaps:         gaps,
		UUID:         b.uuid,
		Planned:      b.planned,
		BusiestShare: b.governor.highest,
		Changes:      b.governor.changes,
		Readings:     b.readings.Load(),
		Dropped:      b.dropped.Load(),
		PowerAbsent:  b.absent,
		Losses:       b.losses.Load(),
		LostFor:      time.Duration(lostNS),
		LostNow:      b.lost.Load(),
		LastError:    b.loss,
		BusyShare:    float64(b.busyNS) / float64(elapsedNS),
	}
}

// Live is a run as it stands, for a progress display.
type Live struct {
	Ticks, Missed, Readings, Dropped int64
	Boards                           []LiveBoard
}

// LiveBoard is one board as it stands: the last power and utilisation that were read successfully.
type LiveBoard struct {
	UUID              string
	PowerW            schema.Opt[float32]
	GPUUtilPct        schema.Opt[int32]
	Readings, Dropped int64
	Period            time.Duration // between readings, as governed; 0 before the run
	Lost              bool
}

// Live looks at a run from any goroutine, before, while and after it runs. Its numbers are each right but not of one
// instant.
func (s *Sampler) Live() Live {
	live := Live{Ticks: s.ticks.Load(), Missed: s.missed.Load(), Boards: make([]LiveBoard, len(s.boards))}
	for i, b := range s.boards {
		l := LiveBoard{UUID: b.uuid, Readings: b.readings.Load(), Dropped: b.dropped.Load(), Lost: b.lost.Load(), Period: time.Duration(b.periodNS.Load())}
		if w := b.powerW.Load(); w&present != 0 {
			l.PowerW = schema.Some(math.Float32frombits(uint32(w)))
		}
		if u := b.gpuUtil.Load(); u&present != 0 {
			l.GPUUtilPct = schema.Some(int32(u))
		}
		live.Readings += l.Readings
		live.Dropped += l.Dropped
		live.Boards[i] = l
	}
	return live
}
