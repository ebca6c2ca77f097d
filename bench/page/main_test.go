package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// programs lays out a bench folder: templates, and what their programs said; an empty document is one that was never run.
func programs(t *testing.T, templates, documents map[string]string) (bench, said string) {
	t.Helper()
	bench, said = t.TempDir(), t.TempDir()
	write := func(path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range templates {
		write(filepath.Join(bench, name, "page.md.tmpl"), text)
	}
	for name, text := range documents {
		write(filepath.Join(said, name+".json"), text)
	}
	return bench, said
}

func TestAPartThatFailedOrWasNotRunIsNamedAndTheOthersStand(t *testing.T) {
	bench, said := programs(t,
		map[string]string{"late": "never", "calls": "{{table .t}}", "broken": "never"},
		map[string]string{
			"calls":  `{"section": "What calls cost", "order": 2, "rows": [], "t": {"head": ["call", "ns"], "rows": [["a", 12]]}}`,
			"broken": `{"section": "broken", "order": 3, "failed": "no zstd here."}`,
		})
	out := filepath.Join(t.TempDir(), "page.md")
	if err := run(bench, said, "v1", out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, want := range []string{"## What calls cost\n\n| call | ns |\n|---|---:|\n| a | 12 |\n", "**Not measured**: `bench/broken`: no zstd here.\n", "**Not measured**: `bench/late`: it was not run"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page:\n%s", want, page)
		}
	}
	if strings.Index(page, "## What calls cost") > strings.Index(page, "## broken") {
		t.Error("parts do not stand in their order")
	}
}

func TestAnUnfitDocumentIsNamed(t *testing.T) {
	for name, document := range map[string]string{
		"cut short":        `{"section": "x", `,
		"a ragged table":   `{"section": "x", "t": {"head": ["a", "b"], "rows": [["1"]]}}`,
		"no table":         `{"section": "x", "t": {}}`,
		"nothing to print": `{"section": "x"}`,
	} {
		bench, said := programs(t, map[string]string{"calls": "{{table .t}}"}, map[string]string{"calls": document})
		err := run(bench, said, "v1", filepath.Join(t.TempDir(), "page.md"))
		if err == nil || !strings.Contains(err.Error(), "calls") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
