package campaign

import (
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

var (
	named        = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)
	envName      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	sbatchOption = regexp.MustCompile(`^-[^\r\n]+$`)
)

// check looks at everything that can be judged without boards and servers.
func (f *File) check() error {
	switch {
	case !named.MatchString(f.Name):
		return f.At("$.name", "name: give the campaign a name of letters, digits, '_' and '-' that begins with a letter")
	case f.Repetitions < 1 || f.Repetitions > mostRepetitions:
		return f.At("$.repetitions", "repetitions: give a number from 1 to %d", mostRepetitions)
	case len(f.Boards) == 0:
		return f.At("$.boards", "boards: name at least one, as --gpu would: auto, 0, sim:A10, …")
	case len(f.Models) == 0:
		return f.At("$.models", "models: name at least one, with its endpoint")
	case *f.CoolDown.AtMost < 0 || *f.CoolDown.AtMost > time.Hour:
		return f.At("$.'cool-down'", "cool-down: at-most: give a time up to 1h")
	case f.CoolDown.Above < 0 || f.CoolDown.Watts < 0:
		return f.At("$.'cool-down'", "cool-down: above (°C) and watts cannot be negative")
	}
	if f.Seed < 0 || f.Seed > mostSeed {
		return f.At("$.seed", "seed: give a number from 0 to %d", int64(mostSeed))
	}
	for i, w := range f.Workloads {
		if !slices.Contains(usualWorkloads, w) || slices.Contains(f.Workloads[:i], w) {
			return f.At(fmt.Sprintf("$.workloads[%d]", i), "workloads: there are prefill and decode, each once")
		}
	}
	for i, n := range f.Sizes {
		if n < 1 || n > 1_000_000 || slices.Contains(f.Sizes[:i], n) {
			return f.At(fmt.Sprintf("$.sizes[%d]", i), "sizes: give numbers of tokens from 1 to 1000000, each once")
		}
	}
	for i := range f.Boards {
		if err := f.checkBoard(i); err != nil {
			return err
		}
	}
	for i := range f.Models {
		if err := f.checkModel(i); err != nil {
			return err
		}
	}
	for i, m := range f.Exclude {
		if err := f.checkMatch(i, m); err != nil {
			return err
		}
	}
	return f.checkCells()
}

func (f *File) checkBoard(i int) error {
	b, at := f.Boards[i], fmt.Sprintf("$.boards[%d]", i)
	if !named.MatchString(b.Name) || strings.HasPrefix(b.Name+"-", "host-") {
		return f.At(at, "boards: name %q: use letters, digits, '_' and '-', beginning with a letter and not with host", b.Name)
	}
	if slices.ContainsFunc(f.Boards[:i], func(o Board) bool { return o.Name == b.Name }) {
		return f.At(at, "boards: %q is there twice; give each a name", b.Name)
	}
	b.Name = ""
	for j, o := range f.Boards[:i] {
		if o.Name = ""; reflect.DeepEqual(o, b) {
			return f.At(at, "boards: %s is %s under another name; leave it out, and give repetitions for more runs", f.Boards[i].Name, f.Boards[j].Name)
		}
	}
	for j, option := range b.Slurm {
		if !sbatchOption.MatchString(option) {
			return f.At(fmt.Sprintf("%s.slurm[%d]", at, j), "boards: slurm: each is an option of sbatch on one line, such as --constraint=a100")
		}
	}
	return nil
}

func (f *File) checkModel(i int) error {
	m, at := f.Models[i], fmt.Sprintf("$.models[%d]", i)
	switch {
	case m.Endpoint == "":
		return f.At(at, "models: endpoint is missing: an http(s) URL, or sim")
	case m.Name == "" || slug(m.Name) != m.Name:
		return f.At(at, "models: give it a name of letters, digits, '_' and '-'")
	case slices.ContainsFunc(f.Models[:i], func(o Model) bool { return o.Name == m.Name }):
		return f.At(at, "models: %q is there twice; give each a name", m.Name)
	}
	m.Name = ""
	for j, o := range f.Models[:i] {
		if o.Name = ""; reflect.DeepEqual(o, m) {
			return f.At(at, "models: %s is %s under another name; leave it out, and give repetitions for more runs", f.Models[i].Name, f.Models[j].Name)
		}
	}
	if m.Serve == nil && strings.Contains(m.Endpoint, portMark) {
		return f.At(at+".endpoint", "models: endpoint: %s is of a server that the campaign starts; name the port, or give serve", portMark)
	}
	if m.Serve == nil {
		return nil
	}
	return f.checkServe(&m, at)
}

func (f *File) checkServe(m *Model, at string) error {
	switch {
	case len(m.Serve.Command) == 0 || m.Serve.Command[0] == "":
		return f.At(at+".serve", "serve: command is missing: a list, or a line for the shell")
	case m.Endpoint == "sim":
		return f.At(at+".serve", "serve: the endpoint sim is served by tracer itself; name the URL that the command serves")
	case m.Serve.Within < time.Second || m.Serve.Stop < time.Second:
		return f.At(at+".serve", "serve: within and stop are times of 1s or more")
	}
	if given := m.Serve.takesPort(); given != strings.Contains(m.Endpoint, portMark) {
		return f.At(at+".serve", "serve: %s stands in the endpoint or in command and env alone; give it in both, or in none", portMark)
	}
	for name := range m.Serve.Env {
		if !envName.MatchString(name) {
			return f.At(at+".serve.env", "serve: env: a name is of letters, digits and '_', and begins with no digit")
		}
	}
	for _, probe := range m.On(1).Probes() {
		if u, err := url.Parse(probe); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return f.At(at, "serve: ready, or else the model's endpoint, is no http(s) URL that could be asked whether the server is ready")
		}
	}
	return nil
}

func (f *File) checkMatch(i int, m Match) error {
	at := fmt.Sprintf("$.exclude[%d]", i)
	switch {
	case m == Match{}:
		return f.At(at, "exclude: name a board, model, workload or size; this would leave everything out")
	case m.Board != "" && !slices.ContainsFunc(f.Boards, func(b Board) bool { return b.Name == m.Board }):
		return f.At(at, "exclude: no board is called %q", m.Board)
	case m.Model != "" && !slices.ContainsFunc(f.Models, func(o Model) bool { return o.Name == m.Model }):
		return f.At(at, "exclude: no model is called %q", m.Model)
	case m.Workload != "" && !slices.Contains(f.Workloads, m.Workload):
		return f.At(at, "exclude: no workload is called %q", m.Workload)
	case m.Size != 0 && !slices.Contains(f.Sizes, m.Size):
		return f.At(at, "exclude: %d is none of the sizes", m.Size)
	}
	return nil
}

// At is what is wrong with the value at a path, under its line; of one that is not there, under the line of what should hold it.
func (f *File) At(path, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", f.path, f.line(path), fmt.Sprintf(format, args...))
}

// CollectError is what is wrong with a flag in collect, of the campaign or of a model: -1 for the campaign's own.
func (f *File) CollectError(model int, flag, format string, args ...any) error {
	path := "$.collect"
	if model >= 0 {
		path = fmt.Sprintf("$.models[%d].collect", model)
	}
	if flag != "" {
		path += ".'" + flag + "'"
	}
	return f.At(path, format, args...)
}

// BoardError is what is wrong with a board, or with a key of it.
func (f *File) BoardError(board int, key, format string, args ...any) error {
	return f.At(fmt.Sprintf("$.boards[%d].%s", board, key), format, args...)
}

// BoardNamed is what is wrong with a board of that name.
func (f *File) BoardNamed(name, format string, args ...any) error {
	i := slices.IndexFunc(f.Boards, func(b Board) bool { return b.Name == name })
	return f.BoardError(i, "gpu", "boards: "+format, args...)
}

// ModelError is what is wrong with a key of a model.
func (f *File) ModelError(model int, key, format string, args ...any) error {
	return f.At(fmt.Sprintf("$.models[%d].%s", model, key), format, args...)
}

func (f *File) line(path string) int {
	tree, err := parser.ParseBytes(f.text, 0)
	for err == nil && path != "" {
		if p, err := yaml.PathString(path); err == nil {
			if node, err := p.FilterFile(tree); err == nil && node != nil {
				return first(node)
			}
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 1
}

// first is the line that a node begins in.
func first(node ast.Node) int {
	if m, ok := node.(*ast.MappingNode); ok && len(m.Values) > 0 {
		node = m.Values[0].Key
	}
	if m, ok := node.(*ast.MappingValueNode); ok {
		node = m.Key
	}
	if s, ok := node.(*ast.SequenceNode); ok && len(s.Values) > 0 {
		return first(s.Values[0])
	}
	if t := node.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}
