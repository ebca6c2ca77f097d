package verify

import (
	"math"
	"slices"

	"github.com/llm-tracer/tracer/schema"
)

// still follows whether a power sensor stood still while other sensors saw the work change: for 2 s and ten of its updates
// it showed one value, and meanwhile, half a second from either end, utilisation changed by half or the energy counter told,
// over 2 s, of a power that is a quarter and 15 W off.
type still struct {
	periodS float64 // of the sensor
	counter bool    // the energy counter is of what the sensor's power is of

	watts        float32
	fromNS, toNS int64
	seen         []sighting
	stuck        bool
}

// sighting is what other sensors showed meanwhile.
type sighting struct {
	ns          int64
	utilisation schema.Opt[int32]
	joules      schema.Opt[float64]
}

func (s *still) add(ns int64, watts schema.Opt[float32], utilisation schema.Opt[int32], joules schema.Opt[float64]) {
	if watts.OK {
		if s.fromNS == 0 || watts.V != s.watts {
			s.end()
			s.watts, s.fromNS, s.seen = watts.V, ns, s.seen[:0]
		}
		s.toNS = ns
	}
	if utilisation.OK || joules.OK {
		s.seen = append(s.seen, sighting{ns, utilisation, joules})
	}
}

// end judges the time of one value that is over.
func (s *still) end() {
	if float64(s.toNS-s.fromNS)/1e9 < max(2, 10*s.periodS) {
		return
	}
	const ends = 500_000_000 // ns
	within := slices.DeleteFunc(s.seen, func(at sighting) bool { return at.ns < s.fromNS+ends || at.ns > s.toNS-ends })
	var utilisation []int32
	var counter []sighting
	for _, at := range within {
		if at.utilisation.OK {
			utilisation = append(utilisation, at.utilisation.V)
		}
		if at.joules.OK {
			counter = append(counter, at)
		}
	}
	if len(utilisation) > 0 && slices.Max(utilisation)-slices.Min(utilisation) >= 50 {
		s.stuck = true
	}
	if len(counter) < 2 || !s.counter {
		return
	}
	first, last := counter[0], counter[len(counter)-1]
	seconds, joules := float64(last.ns-first.ns)/1e9, last.joules.V-first.joules.V
	if seconds >= 2 && joules > 0 && math.Abs(joules/seconds-float64(s.watts)) > max(0.25*float64(s.watts), 15) {
		s.stuck = true
	}
}
