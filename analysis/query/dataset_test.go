package query

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/schema"
)

const ms = 1_000_000

// writeRun publishes a run of one board that is read 100 times while it idles.
func writeRun(t *testing.T, dir, id string) {
	t.Helper()
	readings := ring.New[schema.Reading](256)
	p, err := pipeline.Open(pipeline.Config{
		Dir: dir, Run: &schema.Run{ID: id, Host: "host", Model: "org/model", CorpusID: "corpus"}, Readings: readings,
		Prompts: []schema.Prompt{{ID: "prefill-00010-0000", Workload: schema.WorkloadPrefill, TargetTokens: 10, Text: "it's"}},
		Boards:  []schema.Board{{UUID: "GPU-a", Name: "NVIDIA A10"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(100) {
		readings.Push(&schema.Reading{StartNS: i * 10 * ms, EndNS: i * 10 * ms, PowerInstantW: schema.Some(float32(i))})
	}
	done := make(chan struct{})
	close(done)
	if err := p.Collect(done, func(error) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Commit(make([]schema.Sampling, 1), "test"); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) *Dataset {
	t.Helper()
	d, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func csvOf(t *testing.T, d *Dataset, query string) string {
	t.Helper()
	var out strings.Builder
	if err := d.WriteCSV(t.Context(), &out, query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out.String()
}

func TestTablesAreViewsWithTheirPartitionKeys(t *testing.T) {
	for _, name := range []string{"plain", "it's a [strange] folder, 100 %*?", "ключ=значение"} {
		dir := filepath.Join(t.TempDir(), name)
		writeRun(t, dir, "one")
		writeRun(t, dir, "two")
		d := open(t, dir)
		got := csvOf(t, d, "SELECT gpu, llm, stage, count(*) AS n, count(DISTINCT run_id) AS runs, max(power_instant_w) AS w FROM samples GROUP BY ALL")
		if want := "gpu,llm,stage,n,runs,w\nNVIDIA-A10,org--model,idle,200,2,99.0\n"; got != want {
			t.Errorf("in %q: got %s, want %s", name, got, want)
		}
		if got := csvOf(t, d, "SELECT (SELECT count(*) FROM runs), (SELECT text FROM prompts), (SELECT count(*) FROM requests)"); !strings.HasSuffix(got, "\n2,it's,0\n") {
			t.Errorf("in %q: runs, prompts and requests are %s", name, got)
		}
	}
}

func TestEveryColumnIsThereWhateverTheFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "runs"), 0o755); err != nil {
		t.Fatal(err)
	}
	empty := open(t, dir)
	whole := t.TempDir()
	writeRun(t, whole, "one")
	d := open(t, whole)
	for _, table := range []string{"samples", "requests", "folds", "runs", "prompts"} {
		if got, want := csvOf(t, empty, "DESCRIBE "+table), csvOf(t, d, "DESCRIBE "+table); got != want {
			t.Errorf("%s: without files\n%s, with files\n%s", table, got, want)
		}
	}
	// A file from before energies were: its own columns, and NULL for the rest.
	older := filepath.Join(whole, "old.parquet")
	if _, err := duckdbDirect(t).ExecContext(t.Context(), "COPY (SELECT 'old' AS run_id, 'host' AS host, 7::BIGINT AS later FROM range(1)) TO "+quote(older)+" (FORMAT parquet)"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(whole, "_tracer", "commits", "one-host.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(older, filepath.Join(whole, "runs", "old-host.parquet")); err != nil {
		t.Fatal(err)
	}
	if got := csvOf(t, open(t, whole), "SELECT run_id, prefill_energy_j, later FROM runs ORDER BY run_id"); got != "run_id,prefill_energy_j,later\nold,,7\none,,\n" {
		t.Errorf("with an older file: %s", got)
	}
}

func TestFilesThatNoManifestListsAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, "one")
	writeRun(t, dir, "two")
	if err := os.Remove(filepath.Join(dir, "_tracer", "commits", "two-host.json")); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir)
	if got := csvOf(t, d, "SELECT count(*) AS n, any_value(run_id) AS run FROM samples"); got != "n,run\n100,one\n" {
		t.Errorf("samples: %s", got)
	}
	if got := d.Uncommitted(); len(got) != 2 || len(d.Missing()) != 0 || !strings.Contains(got[0], "two-host") {
		t.Errorf("uncommitted: %q", got)
	}
}

func TestWhatManifestsListAndIsGoneIsTold(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, "one")
	writeRun(t, dir, "two")
	if err := os.Remove(filepath.Join(dir, "runs", "one-host.parquet")); err != nil {
		t.Fatal(err)
	}
	if got := open(t, dir).Missing(); len(got) != 1 || got[0] != "runs/one-host.parquet" {
		t.Errorf("missing: %q", got)
	}
	// A compaction's manifest says what took the place of which files.
	merged, replaces := "runs/compact-1-000.parquet", `{"compaction": "1", "folder": "runs", "replaces": [{"path": "runs/one-host.parquet"}, {"path": "runs/two-host.parquet"}], "files": [{"path": "runs/compact-1-000.parquet"}]}`
	if err := os.Link(filepath.Join(dir, "runs", "two-host.parquet"), filepath.Join(dir, merged)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "_tracer", "commits", "compact-1.json"), []byte(replaces), 0o644); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir)
	if got := csvOf(t, d, "SELECT run_id FROM runs"); got != "run_id\ntwo\n" || len(d.Missing()) != 0 || len(d.Uncommitted()) != 1 {
		t.Errorf("after a compaction: runs %q, missing %q, left out %q", got, d.Missing(), d.Uncommitted())
	}
}

func TestAFileThatIsNoParquetIsNamed(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, "one")
	if err := os.Truncate(filepath.Join(dir, "runs", "one-host.parquet"), 100); err != nil {
		t.Fatal(err)
	}
	if d, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "runs/one-host.parquet'") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v, %v", d, err)
	}
}

func TestAFolderWithoutTablesIsNoDataset(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "/nowhere"} {
		if _, err := Open(t.Context(), dir); !errors.Is(err, ErrNoDataset) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestEveryKindOfReadingIsAnswered(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, "one")
	d := open(t, dir)
	for _, query := range []string{
		"SELECT 1;", " WITH a AS (SELECT 1) FROM a -- all of it", "VALUES (1)", "(SELECT 1) UNION ALL (SELECT 2)", "DESCRIBE samples", "SUMMARIZE samples", "SHOW TABLES",
		"FROM read_parquet(" + quote(dir+"/runs/*.parquet") + ")",
	} {
		if got := csvOf(t, d, query); strings.Count(got, "\n") < 2 {
			t.Errorf("%s: %q", query, got)
		}
	}
	if got := csvOf(t, d, "SELECT i FROM range(30000) t(i) ORDER BY hash(i) LIMIT 3 OFFSET 20000"); got != csvOf(t, d, "SELECT i FROM (SELECT i, row_number() OVER (ORDER BY hash(i)) AS n FROM range(30000) t(i)) WHERE n > 20000 AND n <= 20003 ORDER BY n") {
		t.Errorf("an order is not kept: %s", got)
	}
}

func TestAnswersForPeopleAndPrograms(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, "one")
	d := open(t, dir)
	query := `SELECT * FROM (VALUES (1.5, 'plain', NULL, [1, 2]), (-10, 'a' || chr(27) || '[2J', 'nan'::DOUBLE, [])) AS t("n", "te""xt", d, l)`
	var table, lines strings.Builder
	if _, err := d.WriteTable(t.Context(), &table, query); err != nil {
		t.Fatal(err)
	}
	if want := "    n  te\"xt        d  l\n  1.5  plain     NULL  [1, 2]\n-10.0  a\\x1b[2J   nan  []\n"; table.String() != want {
		t.Errorf("table:\n%swant\n%s", &table, want)
	}
	if err := d.WriteJSON(t.Context(), &lines, query); err != nil {
		t.Fatal(err)
	}
	if want := `{"n":1.5,"te\"xt":"plain","d":null,"l":[1,2]}` + "\n" + `{"n":-10.0,"te\"xt":"a\u001B[2J","d":null,"l":[]}` + "\n"; lines.String() != want {
		t.Errorf("JSON:\n%swant\n%s", &lines, want)
	}
	if cut, err := d.WriteTable(t.Context(), &table, "FROM range(1001)"); err != nil || !cut {
		t.Errorf("1001 rows: cut %v, %v", cut, err)
	}
	if cut, err := d.WriteTable(t.Context(), &table, "FROM range(1000)"); err != nil || cut {
		t.Errorf("1000 rows: cut %v, %v", cut, err)
	}
}

// The user's SQL reads the dataset: it writes nothing, looks at nothing else, and changes no limit.
func TestQueriesOnlyReadTheDataset(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, "one")
	secret := filepath.Join(t.TempDir(), "secret.csv")
	if err := os.WriteFile(secret, []byte("a\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir)
	target := filepath.Join(dir, "out.csv")
	for _, query := range []string{
		"COPY samples TO " + quote(target),
		"COPY samples TO " + quote(target) + "; SELECT 1",
		"SELECT 1; COPY samples TO " + quote(target),
		"EXPLAIN ANALYZE COPY samples TO " + quote(target),
		"EXPORT DATABASE " + quote(filepath.Join(dir, "export")),
		"ATTACH " + quote(filepath.Join(dir, "new.db")),
		"CREATE TABLE t AS SELECT 1",
		"DROP VIEW samples",
		"SET memory_limit = '100GB'",
		"PRAGMA threads = 64",
		"INSTALL httpfs",
		"LOAD httpfs",
		"FROM read_csv(" + quote(secret) + ")",
		"FROM " + quote(secret),
		"FROM glob('/etc/*')",
		"FROM read_text('/proc/self/environ')",
		"FROM read_parquet('https://example.org/a.parquet')",
		"SELECT * FROM sample", "SELEKT 1", "", ";", "-- nothing",
	} {
		var out strings.Builder
		err := d.WriteCSV(t.Context(), &out, query)
		if _, ok := errors.AsType[*SQLError](err); !ok {
			t.Errorf("%s: %v, output %q", query, err, &out)
		}
	}
	for _, path := range []string{target, filepath.Join(dir, "export"), filepath.Join(dir, "new.db")} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s was written", path)
		}
	}
}

// duckdbDirect is a DuckDB without a dataset, and free.
func duckdbDirect(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// A compaction may take files away that a dataset was opened with; whoever reads is told, and may open it anew.
func TestAFileThatIsGoneIsToldApart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ds")
	writeRun(t, dir, "one")
	d := open(t, dir)
	files, err := filepath.Glob(filepath.Join(dir, "samples/*/*/*/one-*.parquet"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if err := os.Rename(files[0], files[0]+".away"); err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		N int `json:"n"`
	}
	if err := d.Select(t.Context(), &rows, "SELECT count(power_instant_w) AS n FROM samples"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, which is no fs.ErrNotExist", err)
	}
	if err := d.Select(t.Context(), &rows, "SELECT nothing AS n FROM runs"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v for a column that there is not", err)
	}
}

// DuckDB would keep the footers of all files that it looks into for a plan: at 12,000 files, gigabytes.
func TestAQueryIsPlannedWithoutLookingIntoEveryFile(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, "one")
	writeRun(t, dir, "two")
	d := open(t, dir)
	files, err := filepath.Glob(filepath.Join(dir, "samples/*/*/*/two-*.parquet"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte("no Parquet"), 0o644); err != nil {
		t.Fatal(err)
	}
	var plan []struct {
		Key   string `json:"explain_key"`
		Value string `json:"explain_value"`
	}
	if err := d.Select(t.Context(), &plan, "EXPLAIN SELECT count(power_instant_w) FROM samples"); err != nil || len(plan) == 0 || !strings.Contains(plan[0].Value, "READ_PARQUET") {
		t.Errorf("the plan is %v, %v", plan, err)
	}
	var rows []struct {
		N int `json:"n"`
	}
	if err := d.Select(t.Context(), &rows, "SELECT count(power_instant_w) AS n FROM samples"); err == nil {
		t.Error("a file that is no Parquet was read")
	}
}

func TestWhatIsAskedOfARunReadsItsFilesAlone(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, "one")
	writeRun(t, dir, "two")
	d := open(t, dir)
	files, err := filepath.Glob(filepath.Join(dir, "samples/*/*/*/one-*.parquet"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if err := os.Rename(files[0], files[0]+".away"); err != nil {
		t.Fatal(err)
	}
	const query = "SELECT any_value(run_id) AS run, count(*) AS n FROM samples"
	if err := d.Within(t.Context(), "two", func() error {
		if got := csvOf(t, d, query); got != "run,n\ntwo,100\n" {
			t.Errorf("within run two: %s", got)
		}
		return nil
	}); err == nil {
		t.Error("all runs are shown again, though a file of theirs is gone")
	}
	if err := os.Rename(files[0]+".away", files[0]); err != nil {
		t.Fatal(err)
	}
	if err := d.Within(t.Context(), "two", func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got := csvOf(t, d, "SELECT count(DISTINCT run_id) AS runs, count(*) AS n FROM samples"); got != "runs,n\n2,200\n" {
		t.Errorf("after run two: %s", got)
	}
}
