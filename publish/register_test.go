package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog/hadoop"
	icetable "github.com/apache/iceberg-go/table"
)

// TestMain lets the test binary be the program: committers are processes of their own, which can be killed.
func TestMain(m *testing.M) {
	if os.Getenv("TRACER_PUBLISH_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

// sample is the listing of the committed sample dataset, as tracer publish --list prints it.
func sample(t *testing.T) *listing {
	t.Helper()
	text, err := os.ReadFile("testdata/sample.json")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../datasets/sample")
	if err != nil {
		t.Fatal(err)
	}
	l, err := readListing(bytes.NewReader(bytes.ReplaceAll(text, []byte("DATASET"), []byte("file://"+root))))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *listing) table(t *testing.T, name string) *table {
	t.Helper()
	i := slices.IndexFunc(l.Tables, func(t table) bool { return t.Name == name })
	if i < 0 {
		t.Fatalf("no table %s", name)
	}
	return &l.Tables[i]
}

// committer is the program, about to register a listing.
func committer(t *testing.T, warehouse string, l *listing) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "--warehouse", warehouse)
	cmd.Env = append(os.Environ(), "TRACER_PUBLISH_MAIN=1")
	cmd.Stdin = bytes.NewReader(text)
	return cmd
}

func register(t *testing.T, warehouse string, l *listing) string {
	t.Helper()
	out, err := committer(t, warehouse, l).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// registered are the paths of a table's files with how often each stands there, and the number of its snapshots.
func registered(t *testing.T, warehouse, name string) (map[string]int, int64, int) {
	t.Helper()
	c, err := hadoop.NewCatalog("test", warehouse, nil)
	if err != nil {
		t.Fatal(err)
	}
	tbl, err := c.LoadTable(t.Context(), icetable.Identifier{"tracer", name})
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := tbl.Scan().PlanFiles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	paths, rows := map[string]int{}, int64(0)
	for _, task := range tasks {
		paths[task.File.FilePath()]++
		rows += task.File.Count()
	}
	return paths, rows, len(tbl.Metadata().Snapshots())
}

// holds says that all tables register each file of the listing once, and no other.
func holds(t *testing.T, warehouse string, l *listing) {
	t.Helper()
	for _, want := range l.Tables {
		paths, rows, _ := registered(t, warehouse, want.Name)
		var listed int64
		for _, f := range want.Files {
			listed += f.Rows
			if n := paths[l.Dataset+"/"+f.Path]; n != 1 {
				t.Errorf("%s registers %s %d times", want.Name, f.Path, n)
			}
		}
		if len(paths) != len(want.Files) || rows != listed {
			t.Errorf("%s registers %d files with %d rows, listed are %d with %d", want.Name, len(paths), rows, len(want.Files), listed)
		}
	}
}

func TestASecondRunRegistersOnlyWhatIsNew(t *testing.T) {
	warehouse, all := t.TempDir(), sample(t)
	first := sample(t)
	for i := range first.Tables {
		first.Tables[i].Files = first.Tables[i].Files[:1]
	}
	register(t, warehouse, first)
	holds(t, warehouse, first)
	if out := register(t, warehouse, all); !strings.Contains(out, "samples: 8 files added, 0 taken out; 14110 rows in 9 files") {
		t.Errorf("it says %s", out)
	}
	holds(t, warehouse, all)
	register(t, warehouse, all)
	if _, _, snapshots := registered(t, warehouse, "samples"); snapshots != 2 {
		t.Errorf("%d snapshots after three runs, of which one had nothing to do", snapshots)
	}
}

func TestACompactionsFileTakesThePlaceOfThoseItReplaced(t *testing.T) {
	warehouse, l := t.TempDir(), sample(t)
	register(t, warehouse, l)
	samples := l.table(t, "samples")
	samples.Files = samples.Files[2:]
	if out := register(t, warehouse, l); !strings.Contains(out, "samples: 0 files added, 2 taken out") {
		t.Errorf("it says %s", out)
	}
	holds(t, warehouse, l)
}

func TestCommittersAtOnceDoubleNothing(t *testing.T) {
	warehouse, l := t.TempDir(), sample(t)
	var group sync.WaitGroup
	for range 4 {
		cmd := committer(t, warehouse, l)
		group.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	group.Wait()
	holds(t, warehouse, l)
	for _, table := range l.Tables {
		if _, _, snapshots := registered(t, warehouse, table.Name); snapshots != 1 {
			t.Errorf("%s: %d snapshots of one listing", table.Name, snapshots)
		}
	}
}

// The program is killed as soon as some number of files stand in the warehouse, and another goes on.
func TestAKilledCommitterIsGoneOnWith(t *testing.T) {
	l := sample(t)
	for n := 1; ; n += 5 {
		warehouse := t.TempDir()
		cmd := committer(t, warehouse, l)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		killed := killedAt(cmd, warehouse, n, ended)
		expire(t, warehouse)
		register(t, warehouse, l)
		holds(t, warehouse, l)
		if !killed {
			if n < 10 {
				t.Fatalf("it ended before there were %d files", n)
			}
			return
		}
	}
}

// expire lets a minute pass, after which the catalog gives a version that a dead committer has claimed to another.
func expire(t *testing.T, warehouse string) {
	t.Helper()
	before := time.Now().Add(-2 * time.Minute)
	err := filepath.WalkDir(warehouse, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".claim") {
			return err
		}
		return os.Chtimes(path, before, before)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// killedAt kills a committer that has written n files; it reports false where that ended first.
func killedAt(cmd *exec.Cmd, warehouse string, n int, ended <-chan error) bool {
	for {
		select {
		case err := <-ended:
			return err != nil
		default:
		}
		files := 0
		_ = filepath.WalkDir(warehouse, func(_ string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				files++
			}
			return nil
		})
		if files >= n {
			_ = cmd.Process.Kill()
			return <-ended != nil
		}
	}
}

func TestATableOfAnotherDatasetIsRefused(t *testing.T) {
	warehouse, l := t.TempDir(), sample(t)
	register(t, warehouse, l)
	l.Dataset += "-moved"
	out, err := committer(t, warehouse, l).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "give another --namespace, or another --warehouse") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestNewColumnsAreAdded(t *testing.T) {
	warehouse, l := t.TempDir(), sample(t)
	samples := l.table(t, "samples")
	full := samples.Columns
	samples.Columns = slices.DeleteFunc(slices.Clone(full), func(c column) bool { return c.Name == "throttle_reasons" })
	register(t, warehouse, l)
	samples.Columns = full
	register(t, warehouse, l)
	holds(t, warehouse, l)
	c, err := hadoop.NewCatalog("test", warehouse, nil)
	if err != nil {
		t.Fatal(err)
	}
	tbl, err := c.LoadTable(t.Context(), icetable.Identifier{"tracer", "samples"})
	if err != nil {
		t.Fatal(err)
	}
	field, ok := tbl.Schema().FindFieldByName("throttle_reasons")
	if !ok || field.Required || !slices.ContainsFunc(tbl.NameMapping(), func(f iceberg.MappedField) bool { return slices.Contains(f.Names, field.Name) }) {
		t.Errorf("column %v, by name %v", field, tbl.NameMapping())
	}
}
