package sim

import "math"

// Sensor is one of a board's sensors.
type Sensor int

// The sensors that have a rhythm of their own.
const (
	PowerInstant      Sensor = iota // field 186
	PowerAverage                    // field 185
	EnergyCounter                   // field 83
	GPUUtilization                  // nvmlDeviceGetUtilizationRates
	MemoryUtilization               // the same call's other half
	PowerMemory                     // field 186 at the scope of the memory
	sensorCount       = 8           // room in the layout
)

// edge is the last update at or before an instant, and its number.
func (t timeline) edge(which Sensor, atNS int64) (edgeNS, update int64) {
	s := &t.facts.Sensors[which]
	since := atNS - s.PhaseNS
	update = since / s.PeriodNS
	if since%s.PeriodNS < 0 {
		update--
	}
	for update++; ; update-- { // the next one may be early, this one late
		if edgeNS = t.updateAt(which, update); edgeNS <= atNS {
			return edgeNS, update
		}
	}
}

// updateAt is when an update happens. The same update is always as early or late.
func (t timeline) updateAt(which Sensor, update int64) int64 {
	s := &t.facts.Sensors[which]
	at := s.PhaseNS + update*s.PeriodNS
	if s.JitterNS > 0 {
		at += int64(splitmix(splitmix(^t.facts.Seed-uint64(which))^uint64(update))%uint64(2*s.JitterNS+1)) - s.JitterNS
	}
	return at
}

// A board's memory draws these shares of its power limit, idle and added at full traffic: rough halves of what HBM makers
// state, enough to tell it from the board.
const (
	memoryIdleShare    = 0.03
	memoryTrafficShare = 0.15
)

// wattsOver is what a power sensor looks at: all of the board, or its memory.
func (t timeline) wattsOver(which Sensor, fromNS, toNS int64) float64 {
	if which != PowerMemory {
		return t.mean(power, fromNS, toNS)
	}
	return float64(t.facts.LimitMW) / 1000 * (memoryIdleShare + float64(memoryTrafficShare*t.mean(memActive, fromNS, toNS)))
}

// milliwatts is what a power sensor shows at an instant.
func (t timeline) milliwatts(which Sensor, atNS int64) uint32 {
	s := &t.facts.Sensors[which]
	edge, update := t.edge(which, atNS)
	watts := float64(t.wattsOver(which, edge-s.WindowNS, edge)*s.Gain) + float64(s.Noise*noise(t.facts.Seed, which, update))
	return uint32(math.Floor(max(watts, 0)*1000 + 0.5))
}

// millijoules is what the energy counter shows at an instant.
func (t timeline) millijoules(atNS int64) uint64 {
	s := &t.facts.Sensors[EnergyCounter]
	edge, _ := t.edge(EnergyCounter, atNS)
	return uint64(math.Floor(t.integral(power, edge) * s.Gain * 1000))
}

// percent is what a utilisation sensor shows at an instant.
func (t timeline) percent(which Sensor, c channel, atNS int64) int32 {
	s := &t.facts.Sensors[which]
	edge, _ := t.edge(which, atNS)
	share := t.mean(c, edge-s.WindowNS, edge)
	return int32(math.Floor(min(max(share, 0), 1)*100 + 0.5))
}

// noise is a draw from a triangular distribution over (-1, 1), the same for the same update for ever.
func noise(seed uint64, which Sensor, update int64) float64 {
	x := splitmix(splitmix(seed+uint64(which)) ^ uint64(update))
	return (float64(x>>32)+float64(x&0xffffffff))/(1<<32) - 1
}

// splitmix is the output function of SplitMix64 (Steele, Lea and Flood 2014).
func splitmix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// mark is the integrals at an instant, from which GPM computes activity between two samples.
type mark struct {
	atNS             int64
	sm, tensor, dram float64
}

func (t timeline) mark(atNS int64) mark {
	e := t.at(atNS)
	return mark{
		atNS:   atNS,
		sm:     e.integralAt(smActive, atNS),
		tensor: e.integralAt(tensorActive, atNS),
		dram:   e.integralAt(dramActive, atNS),
	}
}
