package analysis

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/llm-tracer/tracer/analysis/query"
)

func newCard(t *testing.T, dir string) *Card {
	t.Helper()
	d, err := query.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c, err := NewCard(t.Context(), d, dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func render(t *testing.T, c *Card) string {
	t.Helper()
	text, err := c.Render()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTheCardSaysWhatIsThereAndWhatIsNot(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir)
	text := render(t, newCard(t, dir))
	_, front, _ := strings.Cut(text, "---\n")
	front, _, _ = strings.Cut(front, "\n---\n")
	var head struct {
		Configs []struct {
			Name  string `yaml:"config_name"`
			Files string `yaml:"data_files"`
		}
		Sizes []string `yaml:"size_categories"`
	}
	if err := yaml.Unmarshal([]byte(front), &head); err != nil {
		t.Fatalf("%v in\n%s", err, front)
	}
	if len(head.Configs) != 4 || head.Configs[0].Files != "samples/**/*.parquet" || head.Sizes[0] != "n<1K" { // no folds: no energies
		t.Errorf("front matter: %+v", head)
	}
	for _, want := range []string{"| `samples` | 600 | 6 |", "All of it was measured on real boards", "1 requests are not valid for `failed`", "golden-host.json\n", "what sampling cost the requests was not measured in 1 of 1 runs"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "_tracer")); err != nil {
		t.Fatal(err)
	}
	if text := render(t, newCard(t, dir)); !strings.Contains(text, "Of all files") || strings.Count(text, ".parquet\n") != 9 {
		t.Errorf("without manifests:\n%s", text)
	}
}

func TestTheOwnersWordsAreKept(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir)
	first, err := os.ReadFile(filepath.Join(dir, "README.md")) // as collect wrote it
	if err != nil {
		t.Fatal(err)
	}
	c := newCard(t, dir)
	if err := c.Keep(string(first)); err != nil {
		t.Fatalf("collect's own card: %v", err)
	}
	c.Title, c.Licence = `Our "boards": a | b`, "cc-by-4.0"
	edited := strings.Replace(render(t, c), yours, "Ask Ada.\n\n## Thanks", 1)
	again := newCard(t, dir)
	if err := again.Keep(edited); err != nil {
		t.Fatal(err)
	}
	if got := render(t, again); got != edited {
		t.Errorf("made anew it is\n%s\nnot\n%s", got, edited)
	}
	if err := newCard(t, dir).Keep("# My dataset\n"); !errors.Is(err, ErrHandWritten) {
		t.Errorf("a README by hand: %v", err)
	}
}
