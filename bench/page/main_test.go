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
	if err := stamp(filepath.Join(said, "calls.json"), "v1", 1, 0); err != nil {
		t.Fatal(err)
	}
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

func TestAPartOfAnotherVersionSaysSo(t *testing.T) {
	bench, said := programs(t,
		map[string]string{"now": "new", "before": "old", "unknown": "?"},
		map[string]string{"now": `{"section": "now"}`, "before": `{"section": "before"}`, "unknown": `{"section": "unknown"}`})
	for name, version := range map[string]string{"now": "v2", "before": "v1"} {
		if err := stamp(filepath.Join(said, name+".json"), version, 60, 0.5); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "page.md")
	if err := run(bench, said, "v2", out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## now\n\n**The machine had other work meanwhile, 0.5 of its", "## before\n\n**This part is of tracer v1, of 2", "## unknown\n\n**Nobody wrote down",
		"| now | `bench/all.sh now` | v2 |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in the page:\n%s", want, text)
		}
	}
}

func TestADocumentsPictureStandsBesideThePage(t *testing.T) {
	bench, said := programs(t, map[string]string{"calls": `{{image "calls.svg" "costs" .svg}}`}, map[string]string{"calls": `{"section": "x", "svg": "<svg/>"}`})
	dir := t.TempDir()
	if err := run(bench, said, "v1", filepath.Join(dir, "page.md")); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "page.md"))
	if err != nil {
		t.Fatal(err)
	}
	if picture, err := os.ReadFile(filepath.Join(dir, "images", "calls.svg")); err != nil || string(picture) != "<svg/>" || !strings.Contains(string(page), "![costs](images/calls.svg)") {
		t.Errorf("the picture is %q (%v), of the page\n%s", picture, err, page)
	}
}
