// Flame draws the stacks of a CPU profile as one SVG, without Graphviz:
//
//	go test -run '^$' -bench RingToParquet/journal -cpu 1 -benchtime 8388608x -cpuprofile cpu.prof -o pipeline.test ./pipeline
//	go tool pprof -sample_index=samples -traces pipeline.test cpu.prof | go run ./bench/flame -root '\(\*Pipeline\)\.(step|Commit)$'
//
// It prints {"svg": "…", "samples": N}; bench/rows puts it into its document.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"html"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// frame is a function in one place of the stacks.
type frame struct {
	name    string
	samples int
	called  map[string]*frame
}

func (f *frame) call(name string) *frame {
	if f.called == nil {
		f.called = map[string]*frame{}
	}
	if f.called[name] == nil {
		f.called[name] = &frame{name: name}
	}
	return f.called[name]
}

func main() {
	root := flag.String("root", ".", "functions that stacks are drawn from, a regular expression")
	flag.Parse()
	if err := draw(os.Stdin, os.Stdout, *root); err != nil {
		fmt.Fprintln(os.Stderr, "bench/flame:", err)
		os.Exit(1)
	}
}

func draw(from io.Reader, to io.Writer, root string) error {
	begins, err := regexp.Compile(root)
	if err != nil {
		return err
	}
	all := &frame{name: "all"}
	var stack []string
	samples := 0
	end := func() {
		slices.Reverse(stack)
		if i := slices.IndexFunc(stack, begins.MatchString); i >= 0 {
			at := all
			at.samples += samples
			for _, name := range stack[i:] {
				at = at.call(name)
				at.samples += samples
			}
		}
		stack, samples = nil, 0
	}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "-----") {
			end()
			continue
		}
		value, name, both := strings.Cut(line, " ")
		if n, err := strconv.Atoi(value); both && err == nil && len(stack) == 0 {
			samples, line = n, strings.TrimSpace(name)
		}
		if samples > 0 {
			stack = append(stack, strings.TrimSuffix(line, " (inline)"))
		}
	}
	end()
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading stacks: %w", err)
	}
	if all.samples == 0 {
		return fmt.Errorf("no stack has a function like %s", root)
	}
	return json.NewEncoder(to).Encode(graph{svg(all), all.samples})
}

// graph is what bench/rows takes.
type graph struct {
	SVG     string `json:"svg"`
	Samples int    `json:"samples"`
}

const (
	width  = 1200.0
	height = 17.0
	least  = 0.002 // of all: less is not drawn
)

func svg(all *frame) string {
	var b strings.Builder
	deepest := depth(all, all.samples)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="11">`+"\n", width, height*float64(deepest))
	box(&b, all, all.samples, 0, 0, deepest)
	b.WriteString("</svg>\n")
	return b.String()
}

func depth(f *frame, all int) (n int) {
	for _, c := range f.called {
		if share(c, all) >= least {
			n = max(n, depth(c, all))
		}
	}
	return n + 1
}

func share(f *frame, all int) float64 { return float64(f.samples) / float64(all) }

// box draws a function and, above it, what it called.
func box(b *strings.Builder, f *frame, all int, x float64, level, deepest int) {
	w, y := width*share(f, all), height*float64(deepest-level-1)
	name := shorten(f.name)
	fmt.Fprintf(b, `<g><title>%s: %.1f %%</title><rect x="%.1f" y="%.0f" width="%.1f" height="%.0f" fill="hsl(%d,60%%,70%%)" stroke="#fff" stroke-width=".4"/>`,
		html.EscapeString(name), 100*share(f, all), x, y, w, height, hue(name))
	if fits := int(w / 6.2); fits > 3 {
		fmt.Fprintf(b, `<text x="%.1f" y="%.0f">%s</text>`, x+2, y+12, html.EscapeString(name[:min(len(name), fits)]))
	}
	b.WriteString("</g>\n")
	for _, key := range slices.Sorted(maps.Keys(f.called)) {
		if c := f.called[key]; share(c, all) >= least {
			box(b, c, all, x, level+1, deepest)
			x += width * share(c, all)
		}
	}
}

var (
	parameters = regexp.MustCompile(`\[go\.shape.*\]`)
	folders    = regexp.MustCompile(`^.*/`)
)

// shorten leaves package and function.
func shorten(name string) string {
	return folders.ReplaceAllString(parameters.ReplaceAllString(name, ""), "")
}

// hue is a package's own.
func hue(name string) int {
	pkg, _, _ := strings.Cut(name, ".")
	h := fnv.New32a()
	h.Write([]byte(pkg))
	return int(h.Sum32() % 360)
}
