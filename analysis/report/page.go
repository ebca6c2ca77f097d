package report

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/schema"
)

//go:embed web
var web embed.FS

// The page's parts, in their order.
var (
	styles   = []string{"vendor/uPlot.min.css", "page.css"}
	scripts  = []string{"vendor/uPlot.iife.min.js", "vendor/d3.min.js", "vendor/plot.umd.min.js", "data.js", "track.js", "timeline.js", "figures.js", "split.js", "window.js", "download.js", "page.js"}
	licences = []string{"uPlot", "plot", "d3"}
)

// plotStyle is the hash of the style element that Observable Plot puts into each of its figures.
const plotStyle = "sha256-jSYQUrW7J0b3jPqhZP9C2Xh1PyJKHKXd4s0fpGGKrww="

// document is what the template is given.
type document struct {
	*Model
	Policy   string
	Styles   []template.CSS
	Scripts  []template.JS
	Licences []licence
}

type licence struct{ Name, Text string }

// WriteHTML writes the model as one page that asks for nothing else: everything is in it, and its policy forbids the rest.
func (m *Model) WriteHTML(w io.Writer) error {
	p := document{Model: m}
	m.Labels = nil
	for _, r := range m.Runs {
		m.Labels = append(m.Labels, RunLabel{r.RunID, r.GPU, r.LLM, r.Label, r.Serving, r.Duration})
	}
	allowed := map[string][]string{}
	hash := func(kind, text string) {
		sum := sha256.Sum256([]byte(text))
		allowed[kind] = append(allowed[kind], "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	for _, name := range styles {
		text := read(name)
		hash("style", text)
		p.Styles = append(p.Styles, template.CSS(text)) //nolint:gosec // ours
	}
	for _, name := range scripts {
		text := read(name)
		hash("script", text)
		p.Scripts = append(p.Scripts, template.JS(text)) //nolint:gosec // ours
	}
	for _, name := range licences {
		p.Licences = append(p.Licences, licence{name, read("vendor/LICENSE." + name)})
	}
	p.Policy = fmt.Sprintf("default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src %s '%s'; script-src %s",
		strings.Join(allowed["style"], " "), plotStyle, strings.Join(allowed["script"], " "))
	t, err := template.New("page.html").Funcs(formats).ParseFS(web, "web/page.html")
	if err != nil {
		return err
	}
	return t.Execute(w, p)
}

// read is an embedded file, which is there: the program would not have been built without.
func read(name string) string {
	text, err := web.ReadFile("web/" + name)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// formats are how the template writes numbers.
var formats = template.FuncMap{
	"figure": func(draw, file, caption string) map[string]string {
		return map[string]string{"Draw": draw, "File": file, "Caption": caption}
	},
	"colour": func(p document, serving int) int { return p.Servings[serving].Colour % markCount },
	"key":    document.key,
	"count": func(n int, one, many string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprint(n, " ", many)
	},
	"duration": func(s float64) string { return time.Duration(s * 1e9).Round(time.Second).String() },
	"number":   number,
	"milli": func(digits int, v *float64) string {
		if v == nil {
			return number(digits, nil)
		}
		return number(digits, new(*v*1e3))
	},
	"percent": func(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) },
	"signed": func(v *float64) string {
		if v == nil {
			return "–"
		}
		return fmt.Sprintf("%+.2f", *v)
	},
	"interval": func(v, lo, hi *float64) string {
		if v == nil || lo == nil || hi == nil {
			return "–"
		}
		return fmt.Sprintf("%+.2f (%+.2f to %+.2f)", *v, *lo, *hi)
	},
	"energy": func(e *analysis.StageEnergy) string {
		said := strings.TrimRight(e.String(), " *")
		if e != nil && !oftenAlone(e) {
			said += "*"
		}
		return said
	},
	"ptr": func(v float64) *float64 { return &v },
}

// markCount is how many colours and symbols page.css and data.js have.
const markCount = 8

func number(digits int, v *float64) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, *v)
}

// listed is how many runs and boards the tables name.
const listed = 300

// Listed are the runs that the tables name: the first.
func (m *Model) Listed() []Run { return m.Runs[:min(listed, len(m.Runs))] }

// Unlisted is how many they do not.
func (m *Model) Unlisted() int { return len(m.Runs) - len(m.Listed()) }

// AllSimulated says that no run was real.
func (m *Model) AllSimulated() bool {
	return !slices.ContainsFunc(m.Runs, func(r Run) bool { return !r.Simulated })
}

// HasMixed says that requests overlapped in different stages.
func (m *Model) HasMixed() bool {
	return slices.ContainsFunc(m.Summary.Stages, func(l analysis.StageLine) bool { return l.Stage == schema.StageMixed })
}

// key is the class of a name's colour: of a board, or of boards that served together; none where several bear the name.
func (p document) key(name string) string {
	found := -1
	for _, r := range p.Runs {
		if name != r.GPU && name != r.Served {
			continue
		}
		if colour := p.Servings[r.Serving].Colour; found < 0 || found == colour {
			found = colour
			continue
		}
		return ""
	}
	if found < 0 {
		return ""
	}
	return fmt.Sprint("key c", found%markCount)
}
