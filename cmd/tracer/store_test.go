package main

import (
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/versitygw"
	"github.com/llm-tracer/tracer/pipeline/store"
)

var storeWriters = flag.Int("store.writers", 8, "processes that write into one store at once")

// bucketURL is where the tests' datasets go.
const bucketURL = "s3://" + versitygw.Bucket + "/"

// storeUser is somebody who works with a store: an environment and a place for spool and cache.
type storeUser struct {
	*testing.T
	env  []string
	home string
}

func userOf(t *testing.T, endpoint string) *storeUser {
	t.Helper()
	home := t.TempDir()
	return &storeUser{t, append(versitygw.Environ(endpoint), "XDG_STATE_HOME="+filepath.Join(home, "state"), "TRACER_CACHE="+filepath.Join(home, "cache")), home}
}

func (u *storeUser) command(args ...string) *exec.Cmd {
	cmd := exec.Command(program(u.T), args...)
	cmd.Env = environ(u.env...)
	return cmd
}

// does runs tracer, which must end with a code, and gives both its outputs.
func (u *storeUser) does(code int, args ...string) string {
	u.Helper()
	cmd := u.command(args...)
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		u.Fatalf("tracer %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	if strings.Contains(string(out), versitygw.Secret) {
		u.Errorf("tracer %s tells the secret:\n%s", strings.Join(args, " "), out)
	}
	return string(out)
}

// says runs tracer, which must succeed, and gives its standard output.
func (u *storeUser) says(args ...string) string {
	u.Helper()
	cmd := u.command(args...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		u.Fatalf("tracer %s: %v\n%s", strings.Join(args, " "), err, complaint.String())
	}
	return string(out)
}

// sampleDataset is a copy of the sample.
func sampleDataset(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sample")
	if err := os.CopyFS(dir, os.DirFS("../../datasets/sample")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestEveryReaderFindsInAStoreWhatALocalCopyHolds(t *testing.T) {
	t.Parallel()
	server := versitygw.Start(t)
	u, dir, url := userOf(t, server.Endpoint), sampleDataset(t), bucketURL+"sample"
	u.does(exitOK, "push", dir, url)
	for _, args := range [][]string{
		{"summary", "DIR"},
		{"summary", "DIR", "--json"},
		{"summary", "DIR", "--run", "sample-a10"},
		{"summary", "DIR", "--csv", "energies"},
		{"query", "DIR", "SELECT stage, count(*), avg(power_instant_w) FROM samples GROUP BY ALL ORDER BY ALL", "--csv"},
		{"query", "DIR", "SELECT * FROM requests ORDER BY request_id", "--json"},
		{"query", "DIR", "SELECT * FROM prompts ORDER BY prompt_id", "--json"},
		{"compare", "DIR", "--a", "run=sample-a10", "--b", "run=sample-h100-sxm"},
		{"fit", "DIR"},
		{"card", "DIR", "--print"},
	} {
		local, remote := slices.Clone(args), slices.Clone(args)
		local[1], remote[1] = dir, url
		if want, got := strings.ReplaceAll(u.says(local...), dir, url), u.says(remote...); got != want {
			t.Errorf("tracer %s: of the store\n%s\nof the copy\n%s", strings.Join(args, " "), got, want)
		}
	}
	for _, args := range [][]string{{"report", "DIR", "-o"}, {"plot", "DIR", "--format", "svg", "-o"}, {"export", "DIR", "--format", "csv", "-o"}} {
		var made [2]map[string]string
		for i, from := range []string{dir, url} {
			args[1] = from
			out := filepath.Join(t.TempDir(), "out")
			u.says(append(args, out)...)
			made[i] = contents(t, out)
		}
		same := maps.EqualFunc(made[0], made[1], func(a, b string) bool { return a == b || args[0] == "plot" && len(a) == len(b) }) // plot draws bars in no order
		if !same {
			t.Errorf("tracer %s makes %v of the store, and %v of the copy", args[0], slices.Sorted(maps.Keys(made[1])), slices.Sorted(maps.Keys(made[0])))
		}
	}
	counts := func(root string) string {
		said := strings.TrimPrefix(u.says("verify", root), root)
		held, _, _ := strings.Cut(said, " in ") // the time it took
		return held
	}
	if want, got := counts(dir), counts(url); got != want || !strings.HasSuffix(got, " 3 runs") {
		t.Errorf("verify counts%s in the store, and%s in the copy", got, want)
	}
	if left, err := os.ReadDir(filepath.Join(u.home, "cache", "views")); err != nil || len(left) > 0 {
		t.Errorf("the readers left %v, %v", left, err)
	}
	u.does(exitUsage, "compact", url)
	u.does(exitUsage, "verify", "--repair", url)
	u.does(exitOK, "card", url, "--license", "mit")
	if card, err := os.ReadFile(filepath.Join(server.Folder, "sample", "README.md")); err != nil || !strings.Contains(string(card), "license: \"mit\"") {
		t.Errorf("the card in the store: %v\n%s", err, card)
	}
}

// contents are the files under a path, or of it.
func contents(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, root)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDuckDBReadsTheSameRowsFromAStoreAsFromALocalCopy(t *testing.T) {
	t.Parallel()
	python, err := filepath.Abs("../../.venv/bin/python")
	if err != nil || exec.Command(python, "-c", "import duckdb, fsspec, pyarrow.fs").Run() != nil {
		t.Skip("no DuckDB: make .venv/ready installs it")
	}
	server := versitygw.Start(t)
	u, dir := userOf(t, server.Endpoint), sampleDataset(t)
	u.does(exitOK, "push", dir, bucketURL+"sample")
	cmd := exec.Command(python, "testdata/duckdb_store.py", server.Endpoint, versitygw.Bucket+"/sample", dir)
	cmd.Env = environ(u.env...)
	out, err := cmd.Output()
	if want := "samples 14110 0\nrequests 114 0\nfolds 36 0\nruns 3 0\nprompts 36 0\n"; err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}

// storeRun is twelve requests in about two seconds.
var storeRun = append(slices.Clone(crashRun), "--out", bucketURL+"runs")

func TestOfWritersThatAreKilledNothingIsLostOrDoubledInTheStore(t *testing.T) {
	t.Parallel()
	server := versitygw.Start(t)
	u := userOf(t, server.Endpoint)
	undisturbed := t.TempDir()
	collectOrFail(t, nil, append(slices.Clone(crashRun), "--out", undisturbed, "--run-id", "whole")...)
	want := sendings(t, undisturbed, "whole")
	var all sync.WaitGroup
	for i := range *storeWriters {
		cmd := u.command(append(slices.Clone(storeRun), "--run-id", fmt.Sprint("run-", i))...)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		killed := i%2 == 1
		if killed { // from the start on to beyond the push
			time.AfterFunc(time.Duration(500+rand.IntN(4000))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		}
		all.Go(func() {
			if err := cmd.Wait(); err != nil && !killed {
				t.Errorf("run-%d: %v\n%s", i, err, out.String())
			}
		})
	}
	all.Wait()
	local := filepath.Join(server.Folder, "runs") // versitygw's objects are files
	t.Logf("the killed left %d runs of %d in the store", len(manifests(t, local)), *storeWriters)
	if said := u.does(exitOK, "push", bucketURL+"runs"); strings.Contains(said, "nothing to push") {
		t.Logf("none was killed between its beginning and its push")
	}
	u.does(exitOK, "verify", "--strict", bucketURL+"runs")
	for i := range *storeWriters {
		run := fmt.Sprint("run-", i)
		if killed := i%2 == 1; killed && slices.ContainsFunc(manifestsOf(t, local), func(id string) bool { return id == run }) {
			u.does(exitOK, "collect", "--resume", run, "--out", bucketURL+"runs")
		} else if killed {
			u.does(exitOK, append(slices.Clone(storeRun), "--run-id", run)...) // it had not begun
		}
		if got := sendings(t, local, run); !maps.Equal(got, want) {
			t.Errorf("%s: %v, undisturbed %v", run, got, want)
		}
	}
	u.does(exitOK, "verify", "--strict", bucketURL+"runs")
	if said := u.says("push", bucketURL+"runs"); !strings.Contains(said, "nothing to push") {
		t.Errorf("the spool is not empty: %s", said)
	}
	for name, text := range contents(t, server.Folder) {
		if strings.Contains(text, versitygw.Secret) {
			t.Errorf("%s holds the secret", name)
		}
	}
}

func manifestsOf(t *testing.T, dir string) (ids []string) {
	t.Helper()
	for _, m := range manifests(t, dir) {
		ids = append(ids, m.RunID)
	}
	return ids
}

// Who asks for some runs of a store waits for their objects alone, compacted or not, and hears of no others.
func TestReadingOneRunOfAStoreFetchesNoOthers(t *testing.T) {
	t.Parallel()
	server := versitygw.Start(t)
	dir := sampleDataset(t)
	for _, name := range []string{"whole", "compacted"} {
		u, url := userOf(t, server.Endpoint), bucketURL+name
		if name == "compacted" {
			u.does(exitOK, "compact", dir)
		}
		u.does(exitOK, "push", dir, url)
		catalog, err := store.ReadCatalog(dir)
		if err != nil {
			t.Fatal(err)
		}
		of := func(run string) (sums []string) {
			for file, owners := range catalog.Owners() {
				if f, live := catalog.Live()[file]; live && slices.ContainsFunc(owners, func(o string) bool { return strings.HasPrefix(o, run+"-") }) {
					sums = append(sums, f.SHA256+".parquet")
				}
			}
			slices.Sort(sums)
			return slices.Compact(sums)
		}
		for _, args := range [][]string{
			{"summary", "DIR", "--run", "sample-a10"},
			{"query", "DIR", "--run", "sample-a10", "SELECT count(*), sum(power_instant_w) FROM samples", "--csv"},
			{"fit", "DIR", "--run", "sample-a10"},
			{"export", "DIR", "--run", "sample-a10", "--format", "csv", "--force", "-o", filepath.Join(u.home, "export")},
			{"report", "DIR", "--run", "sample-a10", "-o", filepath.Join(u.home, "report.html")},
		} {
			local, remote := slices.Clone(args), slices.Clone(args)
			local[1], remote[1] = dir, url
			said := u.does(exitOK, remote...)
			if want := strings.ReplaceAll(u.does(exitOK, local...), dir, url); strings.Contains(said, "gone") || !strings.HasSuffix(said, want) {
				t.Errorf("tracer %s: of the store\n%s\nof the copy\n%s", strings.Join(remote, " "), said, want)
			}
			if got := namesIn(t, filepath.Join(u.home, "cache", "objects")); !slices.Equal(got, of("sample-a10")) {
				t.Errorf("tracer %s has fetched %q, and the run is in %q", strings.Join(remote, " "), got, of("sample-a10"))
			}
		}
		if said := u.does(exitUsage, "summary", url, "--run", "none"); !strings.Contains(said, "there is no run none; there are ") || !strings.Contains(said, "(sample-h100-sxm)") {
			t.Error(said)
		}
	}
}

// namesIn are the files of a folder, in order.
func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
