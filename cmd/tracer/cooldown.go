package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/internal/campaign"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/remote"
	"github.com/llm-tracer/tracer/schema"
)

const (
	lookEvery = time.Second
	// steady is how many looks must agree before a board is taken to be at rest: 10 s, in which a thermometer of whole
	// degrees sees any cooling that matters.
	steady = 10
	// driverPatience is with one look.
	driverPatience = 10 * time.Second
)

// resting is what boards show when nothing works on them, the model in their memory: where they have to come back to.
type resting struct{ watts, degrees []float64 }

// coolDown waits until the boards are near their rest, or the time for that is over, which is told. The first wait of a
// block finds out what their rest is. Boards that are simulated within a run are new with each; those of other hosts are not looked at.
func (r *campaigning) coolDown(ctx context.Context, b *campaign.Board, rest *resting) (*resting, error) {
	most := *r.file.CoolDown.AtMost
	here, _ := remote.Split(b.GPU)
	if here == "" || strings.Contains(here, simPrefix) || most == 0 {
		return rest, nil
	}
	boards, err := openBoards(here, driverPatience)
	if err != nil {
		return rest, err
	}
	defer boards.close()
	deadline, seen := time.Now().Add(most), [][]schema.Reading(nil)
	for {
		look, err := sampler.Within(driverPatience, func() ([]schema.Reading, error) { return boards.look() })
		if err != nil {
			return rest, fmt.Errorf("cooling down: %w", err)
		}
		seen = append(seen, look)
		if rest == nil && len(seen) >= steady {
			last := seen[len(seen)-steady:]
			if at, ok := r.atRest(last); ok || time.Now().After(deadline) {
				return at, nil
			}
		}
		if rest != nil && r.near(look, rest) {
			return rest, nil
		}
		if time.Now().After(deadline) {
			if rest != nil {
				r.table.aside("%s: not back at rest after %v: %s", b.Name, most, r.distance(look, rest))
			}
			return rest, nil
		}
		if err := wait(ctx, lookEvery); err != nil {
			return rest, err
		}
	}
}

// look reads each board once.
func (b *boards) look() ([]schema.Reading, error) {
	all := make([]schema.Reading, len(b.devices))
	for i, d := range b.devices {
		if err := d.Read(sampler.LanePower|sampler.LaneSlow, &all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// atRest is what the boards show on the mean; false where that still moves.
func (r *campaigning) atRest(looks [][]schema.Reading) (*resting, bool) {
	rest, still := &resting{}, true
	for board := range looks[0] {
		var watts, degrees []float64
		for _, l := range looks {
			if v := l[board].PowerInstantW; v.OK {
				watts = append(watts, float64(v.V))
			}
			if v := l[board].TemperatureC; v.OK {
				degrees = append(degrees, float64(v.V))
			}
		}
		rest.watts, rest.degrees = append(rest.watts, mean64(watts)), append(rest.degrees, mean64(degrees))
		still = still && spread(watts) <= 2*r.file.CoolDown.Watts && spread(degrees) <= 1
	}
	return rest, still
}

// near says whether every board is back at its rest. What a board does not show keeps nobody waiting.
func (r *campaigning) near(look []schema.Reading, rest *resting) bool {
	for i := range look {
		if v := look[i].PowerInstantW; v.OK && float64(v.V) > rest.watts[i]+r.file.CoolDown.Watts {
			return false
		}
		if v := look[i].TemperatureC; v.OK && float64(v.V) > rest.degrees[i]+r.file.CoolDown.Above {
			return false
		}
	}
	return true
}

func (r *campaigning) distance(look []schema.Reading, rest *resting) string {
	var all []string
	for i := range look {
		all = append(all, fmt.Sprintf("%.0f W and %d °C, where rest is %.0f W and %.0f °C", look[i].PowerInstantW.V, look[i].TemperatureC.V, rest.watts[i], rest.degrees[i]))
	}
	return strings.Join(all, "; ")
}

// mean64 is infinite where there is nothing, so that nothing waits for it.
func mean64(v []float64) float64 {
	if len(v) == 0 {
		return math.Inf(1)
	}
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

func spread(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	return slices.Max(v) - slices.Min(v)
}
