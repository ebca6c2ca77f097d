// Package report draws a dataset: one page for a browser that needs nothing else, and the figures of a paper. What both show
// is a Model, read by the queries under sql; it is bounded whatever the dataset's size.
package report

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/schema"
)

//go:embed sql/*.sql
var queries embed.FS

// ErrNoRuns says that there is nothing to draw.
var ErrNoRuns = errors.New("the dataset has no runs")

// builder fills a model from a dataset.
type builder struct {
	*Model
	from *query.Dataset
}

// Build reads what a page shows. Dir is the dataset's folder, for its name.
func Build(ctx context.Context, from *query.Dataset, dir, version string, c query.Choice) (*Model, error) {
	b := &builder{Model: &Model{Dataset: folderName(dir), Tracer: version, Choice: c}, from: from}
	if err := from.Choose(ctx, c); err != nil {
		return nil, err
	}
	steps := []func(context.Context) error{b.readRuns, b.sumUp, b.readPowers, b.readSizes, b.readTimelines, b.readCloseUps}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("reading %s: %w", dir, err)
		}
	}
	return b.Model, nil
}

func folderName(dir string) string {
	if absolute, err := filepath.Abs(dir); err == nil {
		return filepath.Base(absolute)
	}
	return dir
}

// ask runs one of the queries.
func (b *builder) ask(ctx context.Context, rows any, name string, args ...any) error {
	text, err := queries.ReadFile("sql/" + name + ".sql")
	if err != nil {
		return err
	}
	if err := b.from.Select(ctx, rows, string(text), args...); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (b *builder) readRuns(ctx context.Context) error {
	if err := b.ask(ctx, &b.Runs, "runs"); err != nil {
		return err
	}
	b.Runs = slices.DeleteFunc(b.Runs, func(r Run) bool { return !b.Choice.Takes(r.RunID, r.GPU, r.UUID, r.LLM) }) // others served with them
	if len(b.Runs) == 0 {
		return ErrNoRuns
	}
	var reasons []Reason
	if err := b.ask(ctx, &reasons, "reasons"); err != nil {
		return err
	}
	for i := range b.Runs {
		r := &b.Runs[i]
		b.Simulated = b.Simulated || r.Simulated
		for _, reason := range reasons {
			if reason.RunID == r.RunID && reason.Host == r.Host {
				r.RequestsAgainst = append(r.RequestsAgainst, reason)
			}
		}
		r.Label = b.boardLabel(r.UUID)
		r.Served = query.Served(r.Served, r.ServingBoards)
		r.Serving = b.serving(r.Served, r.LLM)
	}
	return nil
}

// boardLabel is a board's name, with the first digits of its UUID where another board bears the name.
func (b *builder) boardLabel(uuid string) string {
	name := uuid
	for _, r := range b.Runs {
		if r.UUID == uuid {
			name = r.GPU
		}
	}
	for _, r := range b.Runs {
		if r.GPU == name && r.UUID != uuid {
			digits := strings.TrimPrefix(uuid, "GPU-")
			return name + " " + digits[:min(8, len(digits))]
		}
	}
	return name
}

// serving is the index of the boards and model, which it adds where they are new.
func (b *builder) serving(boards, llm string) int {
	colour, next := -1, 0
	for i, s := range b.Servings {
		switch {
		case s.Label != boards:
		case s.LLM == llm:
			return i
		default:
			colour = s.Colour
		}
		next = max(next, s.Colour+1)
	}
	if colour < 0 {
		colour = next
	}
	b.Servings = append(b.Servings, Serving{boards, llm, colour})
	return len(b.Servings) - 1
}

// sumUp reads the tables that tracer summary prints, and leaves what was not chosen out of them.
func (b *builder) sumUp(ctx context.Context) (err error) {
	b.Summary, err = analysis.Summarize(ctx, b.from, []analysis.Key{analysis.KeyGPU, analysis.KeyLLM, analysis.KeyWorkload, analysis.KeySize})
	if err != nil {
		return err
	}
	b.Summary.Stages = slices.DeleteFunc(b.Summary.Stages, func(l analysis.StageLine) bool {
		return !slices.ContainsFunc(b.Runs, func(r Run) bool { return r.GPU == l.GPU && r.LLM == l.LLM })
	})
	b.Summary.Sizes = slices.DeleteFunc(b.Summary.Sizes, func(l analysis.SizeLine) bool {
		return !slices.ContainsFunc(b.Runs, func(r Run) bool { return r.Served == query.Served(l.GPU, l.Boards) && r.LLM == l.LLM })
	})
	return nil
}

// bins is about how many bins of the distribution of power are drawn, over the range of the strongest board.
const bins = 100

func (b *builder) readPowers(ctx context.Context) error {
	most := 0
	var all []Power
	if err := b.ask(ctx, &all, "distribution"); err != nil {
		return err
	}
	for _, p := range all {
		if slices.ContainsFunc(b.Runs, func(r Run) bool { return r.GPU == p.GPU && r.LLM == p.LLM }) {
			b.Powers = append(b.Powers, p)
			most = max(most, p.W)
		}
	}
	b.BinW = int(RoundStep(float64(most) / bins))
	return nil
}

// RoundStep is 1, 2 or 5 times a power of ten, not below v.
func RoundStep(v float64) float64 {
	if !(v > 0) || math.IsInf(v, 0) {
		return 1
	}
	ten := math.Pow(10, math.Floor(math.Log10(v)))
	for _, by := range []float64{1, 2, 5} {
		if v <= by*ten {
			return by * ten
		}
	}
	return 10 * ten
}

// oftenAlone says that the sensor saw a stage alone in half of its requests or more: the rule of every mark on page and paper.
func oftenAlone(e *analysis.StageEnergy) bool { return e.Alone > 0 && 2*e.Alone >= e.Requests }

func (b *builder) readSizes(ctx context.Context) error {
	var all []Size
	if err := b.ask(ctx, &all, "sizes"); err != nil {
		return err
	}
	serving := func(gpu, llm string) int {
		return slices.IndexFunc(b.Servings, func(s Serving) bool { return s.Label == gpu && s.LLM == llm })
	}
	for _, s := range all {
		if s.Serving = serving(query.Served(s.GPU, s.Boards), s.LLM); s.Serving >= 0 {
			b.Sizes = append(b.Sizes, s)
		}
	}
	for _, l := range b.Summary.Sizes {
		stages, most := map[schema.Stage]*analysis.StageEnergy{schema.StagePrefill: l.Prefill, schema.StageDecode: l.Decode}, 0
		for _, e := range stages {
			if e != nil {
				most = max(most, e.Requests)
			}
		}
		for stage, e := range stages {
			if e != nil {
				b.Energies = append(b.Energies, Energy{
					Serving: serving(query.Served(l.GPU, l.Boards), l.LLM), Workload: string(l.Workload), Target: l.Size, Stage: string(stage),
					Requests: e.Requests, Resolved: e.Alone, Seen: oftenAlone(e), J: e.J, Half: e.PlusOr, OfAllJ: e.J * float64(e.Requests) / float64(most), InputTokens: l.InputTokens, OutputTokens: l.OutputTokens,
				})
			}
		}
	}
	slices.SortStableFunc(b.Energies, func(x, y Energy) int { // a map has no order
		return cmp.Or(cmp.Compare(x.Serving, y.Serving), -cmp.Compare(x.Workload, y.Workload), cmp.Compare(x.Target, y.Target), -cmp.Compare(x.Stage, y.Stage))
	})
	return nil
}
