// Package campaign is the plan of many runs: boards × models × workloads × sizes × repetitions, read from a file and put in
// an order. It runs nothing; what has been measured stands in the dataset.
package campaign

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
)

// File is a campaign as its user wrote it, with what was left out filled in.
type File struct {
	Name        string         `yaml:"name"`
	Out         string         `yaml:"out"`
	Logs        string         `yaml:"logs"`
	Seed        int64          `yaml:"seed"`
	Repetitions int            `yaml:"repetitions"`
	Boards      []Board        `yaml:"boards"`
	Models      []Model        `yaml:"models"`
	Workloads   []string       `yaml:"workloads"`
	Sizes       []int          `yaml:"sizes"`
	Collect     map[string]any `yaml:"collect"`
	CoolDown    CoolDown       `yaml:"cool-down"`
	Exclude     []Match        `yaml:"exclude"`

	path   string
	text   []byte
	placed bool // Out is not the file's own
}

// Into has the runs written into another dataset than the file names.
func (f *File) Into(out string) { f.Out, f.placed = out, true }

// Board is what --gpu names, under a name of its own.
type Board struct {
	Name         string            `yaml:"name"`
	GPU          string            `yaml:"gpu"`
	Slurm        []string          `yaml:"slurm"`         // options of sbatch
	NodeSelector map[string]string `yaml:"node-selector"` // of Kubernetes
}

// Model is a model behind an endpoint, and how it is served where that is the campaign's to do.
type Model struct {
	Name     string         `yaml:"name"`
	Endpoint string         `yaml:"endpoint"`
	Model    string         `yaml:"model"`
	Serve    *Serve         `yaml:"serve"`
	Collect  map[string]any `yaml:"collect"`
}

// Serve is a command that serves a model until it gets SIGTERM.
type Serve struct {
	Command Command           `yaml:"command"`
	Env     map[string]string `yaml:"env"`   // ${NAME} is taken from the environment, where secrets belong
	Ready   string            `yaml:"ready"` // URL that answers 200 once the model is there; empty for the usual ones
	Within  time.Duration     `yaml:"within"`
	Stop    time.Duration     `yaml:"stop"` // from SIGTERM to SIGKILL
}

// Command is a program with its arguments, or a line for the shell.
type Command []string

// CoolDown is the wait between two runs.
type CoolDown struct {
	AtMost *time.Duration `yaml:"at-most"` // 0: none
	Above  float64        `yaml:"above"`   // °C over the boards' rest
	Watts  float64        `yaml:"watts"`   // over the boards' rest
}

// Match is some of the cells: those that it does not contradict.
type Match struct {
	Board    string `yaml:"board"`
	Model    string `yaml:"model"`
	Workload string `yaml:"workload"`
	Size     int    `yaml:"size"`
}

// Workloads and sizes of a campaign that names none.
var (
	usualWorkloads = []string{"prefill", "decode"}
	usualSizes     = []int{10, 50, 100, 1000, 10000}
)

// What a file may ask for.
const (
	mostRepetitions = 1000
	mostCells       = 100_000
	mostSeed        = 1e15
)

// Read reads a campaign's file. Its errors name the line, and hold nothing of the values around it: those may be secrets.
func Read(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text)
}

// Parse reads a campaign; path is for its errors.
func Parse(path string, text []byte) (f *File, err error) {
	f = &File{Seed: 1, Repetitions: 1}
	err = unmarshal(text, f)
	f.path, f.text = path, text // a file of comments alone makes f nothing
	if err != nil {
		line, what := 1, "it is no YAML that tracer understands"
		if e, ok := errors.AsType[yaml.Error](err); ok {
			what = e.GetMessage()
			if t := e.GetToken(); t != nil && t.Position != nil {
				line = t.Position.Line
			}
			if unknown, ok := errors.AsType[*yaml.UnknownFieldError](err); ok {
				what = fmt.Sprintf("no key is called %q here", unknown.Token.Value)
			}
			if unfit, ok := errors.AsType[*yaml.TypeError](err); ok {
				what = "that does not fit here: give " + wanted(unfit.DstType)
			}
		}
		return nil, fmt.Errorf("%s:%d: %s", path, line, what)
	}
	if n := documents(text); n > 1 {
		return nil, fmt.Errorf("%s:1: there are %d documents, divided by ---; a campaign is one", path, n)
	}
	f.fill()
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

// documents counts those that hold anything.
func documents(text []byte) (n int) {
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return 0
	}
	for _, d := range tree.Docs {
		if d.Body != nil {
			n++
		}
	}
	return n
}

// wanted says what a key takes, in words of YAML's users.
func wanted(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a time such as 30s or 3m"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Map, t.Kind() == reflect.Struct:
		return "keys with values"
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	default:
		return "a number"
	}
}

// unmarshal is goccy's decoder without its panics: some broken files bring it down.
func unmarshal(text []byte, f *File) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("broken YAML")
		}
	}()
	return yaml.UnmarshalWithOptions(text, f, yaml.Strict())
}

// UnmarshalYAML takes a board, or what --gpu would be given.
func (b *Board) UnmarshalYAML(unmarshal func(any) error) error {
	if err := unmarshal(&b.GPU); err == nil {
		return nil
	}
	type plain Board
	return unmarshal((*plain)(b))
}

// UnmarshalYAML takes a list, or a line.
func (c *Command) UnmarshalYAML(unmarshal func(any) error) error {
	var line string
	if err := unmarshal(&line); err == nil {
		*c = Command{"sh", "-c", line}
		return nil
	}
	return unmarshal((*[]string)(c))
}

var unfit = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

func slug(s string) string { return strings.Trim(unfit.ReplaceAllString(s, "-"), "-") }

// fill sets what was left out.
func (f *File) fill() {
	f.Out = cmp.Or(f.Out, "datasets")
	if len(f.Workloads) == 0 {
		f.Workloads = usualWorkloads
	}
	if len(f.Sizes) == 0 {
		f.Sizes = usualSizes
	}
	for i := range f.Boards {
		b := &f.Boards[i]
		b.GPU = cmp.Or(b.GPU, "auto")
		if b.Name == "" {
			if b.Name = slug(b.GPU); !named.MatchString(b.Name) {
				b.Name = "gpu-" + b.Name
			}
		}
	}
	for i := range f.Models {
		m := &f.Models[i]
		m.Name = cmp.Or(m.Name, slug(m.Model[strings.LastIndex(m.Model, "/")+1:]))
		if s := m.Serve; s != nil {
			s.Within, s.Stop = cmp.Or(s.Within, 10*time.Minute), cmp.Or(s.Stop, 30*time.Second)
		}
	}
	if f.CoolDown.AtMost == nil {
		usual := 3 * time.Minute
		f.CoolDown.AtMost = &usual
	}
	f.CoolDown.Above, f.CoolDown.Watts = cmp.Or(f.CoolDown.Above, 3), cmp.Or(f.CoolDown.Watts, 5)
}

// Probes are the URLs to ask whether the served model is ready: the first that the server knows counts.
func (m *Model) Probes() []string {
	if m.Serve.Ready != "" {
		return []string{m.Serve.Ready}
	}
	base := strings.TrimSuffix(m.Endpoint, "/")
	return []string{strings.TrimSuffix(base, "/v1") + "/health", base + "/models"}
}
