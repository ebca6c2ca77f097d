package verify

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	parquetfile "github.com/apache/arrow/go/v17/parquet/file"

	"github.com/llm-tracer/tracer/analysis/compact"
)

// rowsIn are all rows of a table, as text, in an order of their own.
func rowsIn(t *testing.T, dir, table string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, table), func(at string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			for _, r := range read(t, at) {
				text, _ := json.Marshal(r)
				all = append(all, string(text))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func everyRow(t *testing.T, dir string) (all []string) {
	for _, table := range tables {
		all = append(all, rowsIn(t, dir, table)...)
	}
	return all
}

func compacted(t *testing.T, dir string) (folders []compact.Folder) {
	t.Helper()
	if err := compact.Dataset(t.Context(), dir, "test", func(f compact.Folder) { folders = append(folders, f) }); err != nil {
		t.Fatal(err)
	}
	return folders
}

// clean says that there is nothing to find.
func clean(t *testing.T, dir string) {
	t.Helper()
	r, err := Dataset(t.Context(), dir)
	if err != nil || len(r.Findings) > 0 {
		t.Fatalf("%v\n%s", err, lines(r))
	}
}

func TestACompactedDatasetIsSoundAndHoldsTheSameRows(t *testing.T) {
	dir := soundCopy(t)
	before := everyRow(t, dir)
	folders := compacted(t, dir)
	if len(folders) != 6 {
		t.Errorf("%d folders compacted", len(folders))
	}
	for _, f := range folders {
		if len(f.After) != 1 || len(globbed(dir, f.Path+"/*.parquet")) != 1 {
			t.Errorf("%s: %v", f.Path, f.After)
		}
	}
	if after := everyRow(t, dir); !slices.Equal(before, after) {
		t.Errorf("%d rows before, %d after, or others", len(before), len(after))
	}
	clean(t, dir)
	if again := compacted(t, dir); len(again) > 0 {
		t.Errorf("a second compaction found %v", again)
	}
}

// Files are written as the pipeline writes them.
func TestAFolderThatWasOpenedBeforeTheExchangeIsReadWhole(t *testing.T) {
	dir := soundCopy(t)
	folder := filepath.Join(dir, "requests")
	for len(globbed(folder, "*.parquet")) == 0 {
		folder = globbed(folder, "*")[0]
	}
	want := globbed(folder, "*.parquet")
	opened, err := os.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	var names []string
	err = compact.Dataset(t.Context(), dir, "test", func(f compact.Folder) {
		if filepath.Join(dir, f.Path) == folder {
			names, _ = opened.Readdirnames(-1)
		}
	})
	if err != nil || len(names) != len(want) || len(want) < 2 {
		t.Errorf("%v; %v, of %v", err, names, want)
	}
}

func TestCompactedFilesKeepTheirEncodings(t *testing.T) {
	dir := soundCopy(t)
	was := layout(t, one(t, dir, decodes+"beta-*.parquet"))
	compacted(t, dir)
	if is := layout(t, one(t, dir, decodes+"compact-*.parquet")); is != was {
		t.Errorf("was %s\nis %s", was, is)
	}
}

// layout is a file's metadata and how its columns are stored.
func layout(t *testing.T, path string) string {
	t.Helper()
	r, err := parquetfile.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text := []string{r.MetaData().Schema.String(), strings.Join(r.MetaData().KeyValueMetadata().Keys(), " ")}
	text = append(text, r.MetaData().KeyValueMetadata().Values()...)
	for i := range r.MetaData().Schema.NumColumns() {
		c, err := r.MetaData().RowGroup(0).ColumnChunk(i)
		if err != nil {
			t.Fatal(err)
		}
		encodings, _ := json.Marshal(c.Encodings())
		text = append(text, c.Compression().String()+string(encodings))
	}
	return strings.Join(text, "\n")
}

func TestDamageInACompactedDatasetIsFoundAndTheOtherRunsStay(t *testing.T) {
	for _, d := range []struct {
		name string
		do   damage
		says string
		left string
	}{
		{"a flipped byte", flip("requests/*/*/compact-*.parquet"), "contents are not those that were committed", ""},
		{"a file that is gone", remove(leaf + "stage=mixed/*.parquet"), "it is missing, but a manifest names it", "alpha beta failing"},
		{"a compacted file that is gone", remove("folds/compact-*.parquet"), "it is missing, but a manifest names it", "overlapping"},
		{"a row of one run", rows(decodes+"compact-*.parquet", func(all []row) []row {
			at := slices.IndexFunc(all, func(r row) bool { return r["run_id"] == "beta" })
			all[at]["request_id"] = "x"
			return all
		}), `has request_id "x"`, "alpha failing overlapping"},
		{"a row that went", rows(decodes+"compact-*.parquet", func(all []row) []row {
			at := slices.IndexFunc(all, func(r row) bool { return r["run_id"] == "beta" })
			return slices.Delete(all, at, at+1)
		}), "the compaction's manifest says", "alpha failing overlapping"},
		{"a replaced file that came back", func(t *testing.T, dir string) {
			made, _ := sound()
			body, _ := os.ReadFile(one(t, made, decodes+"beta-*.parquet"))
			put(t, filepath.Join(dir, decodes, "beta-rehearsal-00000007-000.parquet"), body)
		}, "its rows are there twice", "alpha beta failing overlapping"},
	} {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			dir := soundCopy(t)
			compacted(t, dir)
			d.do(t, dir)
			before := contents(t, dir)
			r, err := Dataset(t.Context(), dir)
			if err != nil || !strings.Contains(lines(r), d.says) {
				t.Errorf("nothing says %q: %v\n%s", d.says, err, lines(r))
			}
			repaired, _, err := Repair(t.Context(), dir, "test")
			if err != nil || len(repaired.Findings) > 0 {
				t.Fatalf("repaired: %v\n%s", err, lines(repaired))
			}
			after := contents(t, dir)
			for _, sum := range before {
				if !slices.Contains(after, sum) {
					t.Errorf("a file was lost: %s", sum)
				}
			}
			var left []string
			for _, m := range globbed(dir, "_tracer/commits/*-rehearsal.json") {
				left = append(left, strings.TrimSuffix(filepath.Base(m), "-rehearsal.json"))
			}
			if got := strings.Join(left, " "); got != d.left {
				t.Errorf("runs left: %q, want %q", got, d.left)
			}
		})
	}
}

// A compaction may be killed at any instant; these are the states that it can leave. In each, every row stands once where
// readers look, verify says so, and compact as well as repair bring the folder to one end or the other.
func TestACompactionThatBrokeOffIsFinishedOrUndone(t *testing.T) {
	for _, state := range []struct {
		name                         string
		manifest, swapped, committed bool
		drained                      bool
		says                         string
	}{
		{"while it wrote", false, false, false, false, "before its files had taken their place"},
		{"before the exchange", true, false, false, false, "before its files had taken their place"},
		{"after the exchange", true, true, false, false, "after its files had taken their place"},
		{"after the manifest", true, true, true, false, "after its files had taken their place"},
		{"after the old files", true, true, true, true, "after its files had taken their place"},
	} {
		for _, mend := range []string{"compact", "repair"} {
			t.Run(state.name+", then "+mend, func(t *testing.T) {
				t.Parallel()
				dir := soundCopy(t)
				before := everyRow(t, dir)
				compacted(t, dir)
				made, _ := sound()
				merged := one(t, dir, decodes+"compact-*.parquet")
				id := strings.TrimSuffix(filepath.Base(merged), "-000.parquet")
				tmp, commit := filepath.Join(dir, "_tracer", "tmp", id), filepath.Join(dir, "_tracer", "commits", id+".json")
				old := filepath.Join(tmp, "folder")
				if err := os.CopyFS(old, os.DirFS(filepath.Join(made, decodes))); err != nil { // as the exchange leaves it
					t.Fatal(err)
				}
				if !state.swapped {
					must(t, os.Rename(old, old+"-old"))
					must(t, os.Rename(filepath.Join(dir, decodes), old))
					must(t, os.Rename(old+"-old", filepath.Join(dir, decodes)))
				}
				if !state.committed {
					must(t, os.Rename(commit, filepath.Join(tmp, "manifest")))
				}
				if !state.manifest {
					must(t, os.Remove(filepath.Join(tmp, "manifest")))
				}
				if state.drained {
					must(t, os.RemoveAll(old))
				}
				r, err := Dataset(t.Context(), dir)
				if err != nil || len(r.Findings) != 1 || r.Findings[0].Severity != Warning || !strings.Contains(lines(r), state.says) {
					t.Errorf("%v\n%s", err, lines(r))
				}
				if mend == "repair" {
					if r, _, err := Repair(t.Context(), dir, "test"); err != nil || len(r.Findings) > 0 {
						t.Errorf("%v\n%s", err, lines(r))
					}
				} else {
					compacted(t, dir)
				}
				clean(t, dir)
				if after := everyRow(t, dir); !slices.Equal(before, after) {
					t.Errorf("%d rows before, %d after, or others", len(before), len(after))
				}
			})
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
