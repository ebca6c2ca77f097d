// Page assembles docs/benchmarks.md from what the programs of bench/ measured:
//
//	go run ./bench/page -version v1.2.3
//
// Each program bench/NAME has a template page.md.tmpl beside it, which is given its JSON document, build/bench/NAME.json.
// The document's "section" is the title. A document with "failed" instead of rows has that said in its place. The page begins
// with the template of this folder, and sections follow by the "order" of their documents, then by name. Pictures that documents
// hold come to stand beside the page, in images/.
//
//	go run ./bench/page -stamp build/bench/NAME.json -version v1.2.3 -seconds 60 -others 0.1
//
// adds to a document when, where and of what it was measured; a part of another version than the page's has that said above it.
package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/llm-tracer/tracer/bench/machine"
)

//go:embed head.md.tmpl
var head string

// section is one program's part of the page.
type section struct {
	name     string
	title    string
	order    float64
	failed   string
	measured *measured // nil where nobody stamped it
	document map[string]any
}

func main() {
	dir := flag.String("bench", "bench", "folder of the programs")
	documents := flag.String("documents", filepath.Join("build", "bench"), "folder of what they said")
	version := flag.String("version", "dev", "of tracer")
	out := flag.String("out", filepath.Join("docs", "benchmarks.md"), "the page to write")
	document := flag.String("stamp", "", "a document to stamp, instead of writing the page")
	seconds := flag.Float64("seconds", 0, "that measuring it took")
	others := flag.Float64("others", 0, "cores that other work had meanwhile")
	flag.Parse()
	var err error
	if *document != "" {
		err = stamp(*document, *version, *seconds, *others)
	} else {
		err = run(*dir, *documents, *version, *out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/page:", err)
		os.Exit(1)
	}
}

func run(dir, documents, version, out string) error {
	sections, err := read(dir, documents)
	if err != nil {
		return err
	}
	page, err := render(dir, version, filepath.Join(filepath.Dir(out), "images"), sections)
	if err != nil {
		return err
	}
	return os.WriteFile(out, page, 0o644)
}

// read finds the programs and what they said; one that never ran is missing, and said to be.
func read(dir, documents string) ([]section, error) {
	templates, err := filepath.Glob(filepath.Join(dir, "*", "page.md.tmpl"))
	if err != nil {
		return nil, err
	}
	var sections []section
	for _, path := range templates {
		s := section{name: filepath.Base(filepath.Dir(path))}
		text, err := os.ReadFile(filepath.Join(documents, s.name+".json"))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			s.failed = "it was not run; bench/all.sh " + s.name + " runs it"
		case err != nil:
			return nil, err
		default:
			if err := json.Unmarshal(text, &s.document); err != nil {
				return nil, fmt.Errorf("%s.json of bench/%s is no JSON document: %w", s.name, s.name, err)
			}
			s.order, _ = s.document["order"].(float64)
			s.title, _ = s.document["section"].(string)
			if failed, ok := s.document["failed"].(string); ok {
				s.failed = failed
			}
			if s.measured, err = stamped(text); err != nil {
				return nil, fmt.Errorf("%s.json of bench/%s: %w", s.name, s.name, err)
			}
		}
		s.title = cmp.Or(s.title, s.name)
		sections = append(sections, s)
	}
	slices.SortFunc(sections, func(a, b section) int { return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.name, b.name)) })
	return sections, nil
}

func render(dir, version, images string, sections []section) ([]byte, error) {
	m, err := machine.This()
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	if err := execute(&page, "head", head, map[string]any{"Machine": m, "Version": version, "Parts": parts(sections)}, images); err != nil {
		return nil, err
	}
	for _, s := range sections {
		fmt.Fprintf(&page, "\n## %s\n\n", s.title)
		if s.failed != "" {
			fmt.Fprintf(&page, "**Not measured**: `bench/%s`: %s.\n", s.name, strings.TrimSuffix(s.failed, "."))
			continue
		}
		if other := s.measured.differs(version, m); other != "" {
			fmt.Fprintf(&page, "**%s** `bench/all.sh %s` measures it anew.\n\n", other, s.name)
		}
		text, err := os.ReadFile(filepath.Join(dir, s.name, "page.md.tmpl"))
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if err := execute(&b, s.name, string(text), s.document, images); err != nil {
			return nil, fmt.Errorf("bench/%s/page.md.tmpl: %w", s.name, err)
		}
		page.WriteString(strings.TrimSpace(b.String()) + "\n")
	}
	return page.Bytes(), nil
}

func execute(into *bytes.Buffer, name, text string, data any, images string) error {
	image := func(file, about, svg string) (string, error) { return image(images, file, about, svg) }
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{"table": table, "image": image}).Parse(text)
	if err != nil {
		return err
	}
	return t.Execute(into, data)
}

// image puts a picture into the folder that the page has for them, and gives the Markdown that shows it.
func image(folder, file, about, svg string) (string, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(folder, file), []byte(svg), 0o644); err != nil {
		return "", err
	}
	return fmt.Sprintf("![%s](images/%s)", about, file), nil
}

// table lays rows out as Markdown: {"head": ["", …], "rows": [["", …], …]}. All columns but the first are numbers, unless
// "text": true.
func table(t map[string]any) (string, error) {
	heads, ok := t["head"].([]any)
	rows, ok2 := t["rows"].([]any)
	if !ok || !ok2 {
		return "", errors.New(`a table is {"head": […], "rows": [[…], …]}`)
	}
	var b strings.Builder
	line := func(cells []any) {
		for _, c := range cells {
			fmt.Fprintf(&b, "| %v ", c)
		}
		b.WriteString("|\n")
	}
	line(heads)
	align := "---:|"
	if t["text"] == true {
		align = "---|"
	}
	b.WriteString("|---|" + strings.Repeat(align, len(heads)-1) + "\n")
	for _, r := range rows {
		cells, ok := r.([]any)
		if !ok || len(cells) != len(heads) {
			return "", fmt.Errorf("a table of %d columns has the row %v", len(heads), r)
		}
		line(cells)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
