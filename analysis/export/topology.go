package export

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/llm-tracer/tracer/analysis/fit"
	"github.com/llm-tracer/tracer/analysis/query"
)

// topology is what OpenDC reads a data centre from (org.opendc.compute.topology.specs.TopologySpec).
type topology struct {
	Clusters []cluster `json:"clusters"`
}

type cluster struct {
	Name  string `json:"name"`
	Hosts []host `json:"hosts"`
}

type host struct {
	Name          string         `json:"name"`
	Count         int            `json:"count"`
	CPU           processor      `json:"cpu"`
	Memory        memory         `json:"memory"`
	CPUPowerModel fit.PowerModel `json:"cpuPowerModel"`
	GPU           processor      `json:"gpu"`
	GPUPowerModel fit.PowerModel `json:"gpuPowerModel"`
}

type processor struct {
	ModelName string  `json:"modelName"`
	CoreCount int64   `json:"coreCount"`
	CoreSpeed float64 `json:"coreSpeed"` // MHz
}

type memory struct {
	Size int64 `json:"memorySize"` // bytes
}

// topology writes hosts of one board each, as many of every kind as there are tasks for it; boards that served together are
// a kind apart. A kind whose power the data do not support is left out: OpenDC would give it a power model of its own. The
// host itself draws nothing.
func (e *export) topology(tasks []*task) error {
	all := cluster{Name: "traced"}
	each, count := kinds(tasks)
	for _, t := range each {
		boards, models := make([]query.Board, 0, count[t.kind()]), map[string][]query.Board{}
		for _, other := range tasks {
			if other.kind() == t.kind() {
				boards = append(boards, other.Board)
				models[other.LLM] = append(models[other.LLM], other.Board)
			}
		}
		power, err := fit.PowerOf(e.ctx, e.data, boards)
		if err != nil {
			return err
		}
		if power.Model == nil {
			e.notes = append(e.notes, fmt.Sprintf("Not in topology.json: %s, whose power model the data do not support (%s).", t.kind(), power.Why))
			continue
		}
		if power.Note != "" {
			e.notes = append(e.notes, fmt.Sprintf("Power of %s: %s.", t.kind(), power.Note))
		}
		if err := e.alone(t.kind(), models); err != nil {
			return err
		}
		all.Hosts = append(all.Hosts, host{
			Name: t.kind(), Count: count[t.kind()],
			CPU: processor{"none traced", 1, cpuMHz}, Memory: memory{*t.MemoryBytes}, CPUPowerModel: fit.PowerModel{Type: "linear"},
			GPU: processor{t.Name, *t.Cores, float64(*t.MaxSMMHz)}, GPUPowerModel: *power.Model,
		})
	}
	e.notes = append(e.notes, "A task is one board in one run, a fragment the time between two readings, gpu_usage its utilisation × cores × highest clock. The host and its one CPU core are made up: they do nothing and draw nothing.")
	if len(all.Hosts) == 0 {
		return nil
	}
	return e.write("topology.json", func(w io.Writer) (int64, error) {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		return int64(len(all.Hosts)), out.Encode(topology{[]cluster{all}})
	})
}

// alone says of which models' runs alone tracer fit supports no power model, though all of them together have one.
func (e *export) alone(kind string, models map[string][]query.Board) error {
	if len(models) < 2 {
		return nil
	}
	for _, llm := range slices.Sorted(maps.Keys(models)) {
		power, err := fit.PowerOf(e.ctx, e.data, models[llm])
		if err != nil {
			return err
		}
		if power.Model == nil {
			e.notes = append(e.notes, fmt.Sprintf("Power of %s is fitted to the runs of all models together: those of %s alone do not support it (%s).", kind, llm, power.Why))
		}
	}
	return nil
}
