package analysis

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/schema"
)

//go:embed card.md.tmpl
var cardText string

// What stands between these lines of a card is its owner's, and is kept.
const (
	keepFrom = "<!-- keep -->"
	keepTo   = "<!-- /keep -->"
	yours    = "What this dataset is for, and whom to ask: write it here, it is kept when the card is made anew."
)

// Card is what a dataset's README says.
type Card struct {
	Title   string
	Licence string // as Hugging Face abbreviates it
	Kept    string // the owner's words, with their marks

	Tables  []CardTable
	Models  []cardModel
	Sensors []cardSensor
	Sums    []Sum
	SumsOf  string

	summary    *Summary
	unresolved int
}

// CardTable is one of the dataset's tables.
type CardTable struct {
	Name, Glob, Doc string
	Rows            int64
	Files           int
	MB              float64
}

// Sum is a file's digest.
type Sum struct{ SHA256, Path string }

type cardModel struct {
	GPU       string    `json:"gpu_name"`
	LLM       string    `json:"llm_name"`
	Server    string    `json:"server"`
	Engine    *string   `json:"engine_version"`
	Simulated bool      `json:"simulated"`
	Runs      int       `json:"runs"`
	First     time.Time `json:"first_start"`
	Last      time.Time `json:"last_end"`
	Requests  *int64    `json:"requests"`
	Valid     *int64    `json:"valid"`
	Failed    *int64    `json:"failed"`
}

type cardSensor struct {
	GPU           string   `json:"gpu_name"`
	Architecture  string   `json:"gpu_architecture"`
	Driver        *string  `json:"driver_version"`
	Provenance    string   `json:"sensor_provenance"`
	Average       bool     `json:"sensor_is_average"`
	GainError     float64  `json:"sensor_gain_error"`
	Scope         *string  `json:"power_scope"`
	Runs          int      `json:"runs"`
	Boards        int      `json:"boards"`
	PeriodS       *float64 `json:"sensor_period_s"`
	WindowS       *float64 `json:"sensor_window_s"`
	PlannedS      *float64 `json:"period_planned_s"`
	ReadingsPerS  *float64 `json:"readings_per_s"`
	Readings      int64    `json:"readings"`
	Dropped       *int64   `json:"readings_dropped"` // nil where all runs were recovered
	Missed        *int64   `json:"ticks_missed"`
	Lost          int      `json:"boards_lost"`
	MIG           int      `json:"boards_mig"`
	Shared        int      `json:"boards_shared"`
	MedianClosure *float64 `json:"median_closure_pct"`
	WorstClosure  *float64 `json:"worst_closure_pct"`
	Invalid       int      `json:"runs_invalid"`
	Overhead      int      `json:"runs_with_overhead"`
}

// NewCard reads a dataset for its card.
func NewCard(ctx context.Context, d *query.Dataset, dir string) (*Card, error) {
	c := &Card{Title: "LLM inference on GPUs, traced by stage", Licence: "unknown", Kept: keepFrom + "\n" + yours + "\n" + keepTo}
	var unresolved []struct {
		Requests int64 `json:"requests"`
	}
	for _, q := range []struct {
		rows any
		name string
	}{{&c.Models, "models"}, {&c.Sensors, "sensors"}} {
		if err := d.Select(ctx, q.rows, query.File(q.name)); err != nil {
			return nil, err
		}
	}
	if err := d.Select(ctx, &unresolved, "SELECT requests FROM ("+query.Bare("unresolved")+")"); err != nil {
		return nil, err
	}
	c.unresolved = len(unresolved)
	var files []string
	var err error
	if c.summary, err = Summarize(ctx, d, []Key{KeyGPU, KeyLLM}); err != nil {
		return nil, err
	}
	for _, t := range d.Tables() {
		files = append(files, t.Files...)
		var megabytes float64
		for _, f := range t.Files {
			info, err := os.Stat(filepath.Join(dir, f))
			if err != nil {
				return nil, err
			}
			megabytes += float64(info.Size()) / 1e6
		}
		var rows []struct {
			N int64 `json:"n"`
		}
		if err := d.Select(ctx, &rows, "SELECT count(*) AS n FROM "+t.Name); err != nil {
			return nil, err
		}
		c.Tables = append(c.Tables, CardTable{Name: t.Name, Glob: t.Glob, Doc: t.Doc, Rows: rows[0].N, Files: len(t.Files), MB: megabytes})
	}
	return c, c.sum(dir, files)
}

// sum digests the manifests, which have the digests of all other files; or all files where there are none.
func (c *Card) sum(dir string, files []string) error {
	manifests, err := query.Manifests(dir)
	if err != nil {
		return err
	}
	c.SumsOf = "Of all files (`sha256sum --check`):"
	if len(manifests) > 0 {
		files = manifests
		c.SumsOf = "Of the manifests, which hold those of all other files; `sha256sum --check` takes these lines:"
	}
	for _, path := range files {
		digest, err := digest(filepath.Join(dir, path))
		if err != nil {
			return fmt.Errorf("summing %s: %w", path, err)
		}
		c.Sums = append(c.Sums, Sum{digest, path})
	}
	return nil
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // read only
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// Simulated says that some of the runs are.
func (c *Card) Simulated() bool { return c.summary.Simulated() > 0 }

// SimulatedLine says so at the head of the card.
func (c *Card) SimulatedLine() string {
	switch n := c.summary.Simulated(); {
	case n == 0:
		return "All of it was measured on real boards and servers."
	case n == len(c.summary.Runs):
		return "**All of it is simulated**: boards and servers, whose names begin with sim. It describes no real hardware."
	default:
		return fmt.Sprintf("**%d of its %d runs are simulated**: those of boards whose names begin with sim-. They describe no real hardware.", n, len(c.summary.Runs))
	}
}

// SizeCategory is Hugging Face's word for how many samples there are.
func (c *Card) SizeCategory() string {
	bounds := []struct {
		most int64
		name string
	}{{1e3, "n<1K"}, {1e4, "1K<n<10K"}, {1e5, "10K<n<100K"}, {1e6, "100K<n<1M"}, {1e7, "1M<n<10M"}, {1e8, "10M<n<100M"}, {1e9, "100M<n<1B"}}
	for _, b := range bounds {
		if c.Tables[0].Rows < b.most {
			return b.name
		}
	}
	return "n>1B"
}

// Limits are what a reader must know before trusting a number.
func (c *Card) Limits() (limits []string) {
	say := func(n int, format string, args ...any) {
		if n > 0 {
			limits = append(limits, fmt.Sprintf(format, args...))
		}
	}
	say(c.summary.Simulated(), "Simulated boards: timing follows published latencies of one A10, power is assumed.")
	for _, s := range c.Sensors {
		gpu := markdown(s.GPU)
		if s.GainError > 0 {
			say(1, "No external meter was there: joules and watts of %s may be off by ±%.0f %% together.", gpu, 100*s.GainError)
		}
		if s.Average {
			say(1, "The power sensor of %s is a running mean: it resolves no stage, and there are no energies.", gpu)
		}
		say(s.Lost, "%s stopped answering in %d of its runs.", gpu, s.Lost)
		say(s.MIG, "%s was cut into MIG instances in %d of its runs: power and energy are the whole board's.", gpu, s.MIG)
		say(s.Shared, "%s was shared with other machines in %d of its runs.", gpu, s.Shared)
		if s.Dropped != nil && s.Missed != nil {
			say(int(*s.Dropped+*s.Missed), "%s: %d readings dropped and %d slots missed, of %d readings.", gpu, *s.Dropped, *s.Missed, s.Readings)
		}
		say(s.Invalid, "%s: energies of %d runs are not to be trusted; `invalid_reasons` in `runs` says why.", gpu, s.Invalid)
		say(s.Runs-s.Overhead, "%s: what sampling cost the requests was not measured in %d of %d runs.", gpu, s.Runs-s.Overhead, s.Runs)
	}
	say(c.unresolved, "In %d kinds of stages (board, model, workload, size) the power sensor never saw one alone: their energies are known from repetitions together.", c.unresolved)
	reasons := c.summary.Counts.Reasons
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		say(reasons[reason], "%d requests are not valid for `%s`.", reasons[reason], markdown(reason))
	}
	for _, r := range c.summary.Runs {
		if r.Status != schema.StatusComplete {
			say(1, "Run `%s` is %s.", r.RunID, r.Status)
		}
	}
	if len(limits) == 0 {
		limits = []string{"None that tracer knows of."}
	}
	return limits
}

// Render writes the card as Markdown.
func (c *Card) Render() (string, error) {
	milliseconds := func(v *float64) string { return number(scaled(v, 1e3), 0) + " ms" }
	t, err := template.New("card").Funcs(template.FuncMap{
		"md": markdown, "ms": milliseconds, "two": func(v float64) string { return fmt.Sprintf("%.2f", v) }, "percent": func(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) },
		"yaml": func(s string) (string, error) { quoted, err := json.Marshal(s); return string(quoted), err },
	}).Parse(cardText)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = t.Execute(&out, c)
	return out.String(), err
}

// markdown is a text, perhaps a server's, that means nothing to Markdown.
func markdown(v any) string {
	text := fmt.Sprint(v)
	if p, ok := v.(*string); ok {
		if text = ""; p != nil {
			text = *p
		}
	}
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "`", "'", "[", `\[`).Replace(query.Printable(text))
}

// ErrHandWritten says that a README is not tracer's.
var ErrHandWritten = errors.New("README.md was not written by tracer")

// Keep takes over what the owner wrote into the card that stands there: the text between the marks, title and licence.
func (c *Card) Keep(old string) error {
	if strings.TrimSpace(old) == "" {
		return nil
	}
	from, to := strings.Index(old, keepFrom), strings.Index(old, keepTo)
	switch {
	case from >= 0 && to > from:
		c.Kept = old[from : to+len(keepTo)]
	case !strings.Contains(old, "\nWritten by tracer."):
		return fmt.Errorf("%w: put what is to stay between lines %s and %s, or move the file", ErrHandWritten, keepFrom, keepTo)
	}
	var front struct {
		Title   string `yaml:"pretty_name"`
		Licence string `yaml:"license"`
	}
	if head, _, ok := strings.Cut(strings.TrimPrefix(old, "---\n"), "\n---\n"); ok && strings.HasPrefix(old, "---\n") {
		if err := yaml.Unmarshal([]byte(head), &front); err != nil {
			return fmt.Errorf("the front matter of README.md is not YAML: %w", err)
		}
	}
	c.Title, c.Licence = cmp.Or(front.Title, c.Title), cmp.Or(front.Licence, c.Licence)
	return nil
}
