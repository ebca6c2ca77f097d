package pipeline

import (
	"math"

	"github.com/llm-tracer/tracer/pipeline/energy"
	"github.com/llm-tracer/tracer/schema"
)

// clockErrors are the most that a board's readings may be off by, where another host's clock stamped them.
type clockErrors struct {
	most schema.Opt[float32]
	of   map[string]float32 // by request
}

func (c *clockErrors) add(r *schema.Reading, s *schema.Span) {
	if !r.ClockErrorS.OK {
		return
	}
	c.most = schema.Some(max(c.most.V, r.ClockErrorS.V))
	if s == nil {
		return
	}
	if c.of == nil {
		c.of = map[string]float32{}
	}
	c.of[s.RequestID] = max(c.of[s.RequestID], r.ClockErrorS.V)
}

// during is the error during a request; that of the run where it has no rows of its own.
func (c *clockErrors) during(s *schema.Span) schema.Opt[float32] {
	if e, ok := c.of[s.RequestID]; ok {
		return schema.Some(e)
	}
	return c.most
}

// clockError is the most over all boards.
func (p *Pipeline) clockError(s *schema.Span) (most schema.Opt[float32]) {
	for i := range p.clocks {
		if e := p.clocks[i].during(s); e.OK {
			most = schema.Some(max(most.V, e.V))
		}
	}
	return most
}

// shifted is by how much the energy of segments changes where the board's clock is off by a time: at each end of a stretch, what
// was drawn in that time counts for a neighbour.
func shifted(m *energy.Model, offS float64, segments []int) (j float64) {
	power := func(i int) float64 {
		if i < 0 || i >= m.Segments() || m.DurationS(i) == 0 {
			return math.NaN()
		}
		return m.EnergyJ(i) / m.DurationS(i)
	}
	for at := 0; at < len(segments); {
		end := at
		for end+1 < len(segments) && segments[end+1] == segments[end]+1 {
			end++
		}
		a, b := segments[at], segments[end]
		var step float64
		for _, change := range []float64{power(a-1) - power(b), power(b+1) - power(a)} {
			if !math.IsNaN(change) {
				step = max(step, math.Abs(change))
			}
		}
		j += step * offS
		at = end + 1
	}
	return j
}
