package campaign

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Cell is one run of the campaign.
type Cell struct {
	Board      *Board
	Model      *Model
	Workload   string
	Size       int
	Repetition int // from 1
}

// Name is what the cell is called in its campaign, whatever else stands in the file: the run is <campaign>.<name>.
func (c *Cell) Name() string {
	return fmt.Sprintf("%s-%s-%s-%d-%d", c.Board.Name, c.Model.Name, c.Workload, c.Size, c.Repetition)
}

// RunID is the cell's run.
func (f *File) RunID(c *Cell) string { return f.Name + "." + c.Name() }

// Block is the cells of one repetition on one board with one model, for which the model's server is started once.
type Block struct {
	Board      *Board
	Model      *Model
	Repetition int
	Cells      []Cell
}

// longestRunID leaves room for the number of a continuation.
const longestRunID = 95

// Blocks is the plan in the order of its runs. Repetitions follow one another, so that a campaign that is stopped early has
// the earlier ones whole; within each the blocks are in random order, and within each block the workloads and sizes: what
// drifts lines up with none of them. The order follows from the seed and the file.
func (f *File) Blocks() []Block {
	var all []Block
	for r := 1; r <= f.Repetitions; r++ {
		rng := rand.New(rand.NewPCG(uint64(f.Seed), uint64(r)))
		var blocks []Block
		for i := range f.Boards {
			for j := range f.Models {
				b := Block{Board: &f.Boards[i], Model: &f.Models[j], Repetition: r}
				b.Cells = f.cells(&b)
				rng.Shuffle(len(b.Cells), func(x, y int) { b.Cells[x], b.Cells[y] = b.Cells[y], b.Cells[x] })
				if len(b.Cells) > 0 {
					blocks = append(blocks, b)
				}
			}
		}
		rng.Shuffle(len(blocks), func(x, y int) { blocks[x], blocks[y] = blocks[y], blocks[x] })
		all = append(all, blocks...)
	}
	return all
}

func (f *File) cells(b *Block) (cells []Cell) {
	for _, w := range f.Workloads {
		for _, size := range f.Sizes {
			c := Cell{Board: b.Board, Model: b.Model, Workload: w, Size: size, Repetition: b.Repetition}
			if !slices.ContainsFunc(f.Exclude, func(m Match) bool { return m.takes(&c) }) {
				cells = append(cells, c)
			}
		}
	}
	return cells
}

func (m Match) takes(c *Cell) bool {
	return (m.Board == "" || m.Board == c.Board.Name) && (m.Model == "" || m.Model == c.Model.Name) &&
		(m.Workload == "" || m.Workload == c.Workload) && (m.Size == 0 || m.Size == c.Size)
}

// checkCells refuses plans that are empty, beyond all measure, or whose runs cannot be told apart by name.
func (f *File) checkCells() error {
	if n := len(f.Boards) * len(f.Models) * len(f.Workloads) * len(f.Sizes) * f.Repetitions; n > mostCells {
		return f.At("$.repetitions", "the campaign has %d runs, more than %d; divide it", n, mostCells)
	}
	names, total := map[string]bool{}, 0
	for _, b := range f.Blocks() {
		for i := range b.Cells {
			id := f.RunID(&b.Cells[i])
			switch {
			case len(id) > longestRunID:
				return f.At("$.name", "run %s would have a name of %d characters, more than %d; give campaign, boards and models shorter names", id, len(id), longestRunID)
			case names[id]:
				return f.At("$.boards", "two runs would be called %s; give boards and models other names", id)
			}
			names[id] = true
			total++
		}
	}
	if total == 0 {
		return f.At("$.exclude", "exclude: nothing is left to run")
	}
	return nil
}

// OfOneInvocation are the flags of collect that a campaign sets for each run, and none of its files may.
var OfOneInvocation = []string{"out", "gpu", "endpoint", "model", "workload", "sizes", "seed", "run-id", "rank", "go-on", "resume", "dry-run", "json"}

// Arguments are tracer's for the cell's run.
func (f *File) Arguments(c *Cell) []string {
	args := []string{
		"collect", "--go-on", "--run-id", f.Name, "--rank", c.Name(), "--out", f.Out, "--gpu", c.Board.GPU, "--endpoint", c.Model.Endpoint,
		"--workload", c.Workload, "--sizes", strconv.Itoa(c.Size), "--seed", strconv.FormatInt(f.Seed+int64(c.Repetition)-1, 10),
	}
	if c.Model.Model != "" {
		args = append(args, "--model", c.Model.Model)
	}
	for _, flag := range f.Flags(c.Model) {
		args = append(args, flag.Argument())
	}
	return args
}

// Flag is one of collect's as it stands in the file.
type Flag struct {
	Name  string
	Value any
	Model int // whose collect it stands in; -1 for the campaign's own
}

// Argument is the flag for the command line.
func (f Flag) Argument() string {
	if f.Value == true {
		return "--" + f.Name
	}
	if f.Value == false {
		return "--no-" + f.Name
	}
	if list, ok := f.Value.([]any); ok {
		words := make([]string, len(list))
		for i, v := range list {
			words[i] = fmt.Sprint(v)
		}
		return "--" + f.Name + "=" + strings.Join(words, ",")
	}
	return fmt.Sprintf("--%s=%v", f.Name, f.Value)
}

// Flags are those that the runs with a model get beside their cell's, the model's before the campaign's, by name.
func (f *File) Flags(m *Model) (flags []Flag) {
	index := slices.IndexFunc(f.Models, func(o Model) bool { return o.Name == m.Name })
	for name, v := range m.Collect {
		flags = append(flags, Flag{name, v, index})
	}
	for name, v := range f.Collect {
		if _, own := m.Collect[name]; !own {
			flags = append(flags, Flag{name, v, -1})
		}
	}
	slices.SortFunc(flags, func(a, b Flag) int { return strings.Compare(a.Name, b.Name) })
	return flags
}
