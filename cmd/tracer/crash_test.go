package main

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

var (
	crashKills = flag.Int("crash.kills", 200, "kills of the crash harness")
	crashSeed  = flag.Uint64("crash.seed", 0, "seed of the crash harness; 0: by the clock")
)

// crashDatasets are driven side by side: most of a run is waiting.
const crashDatasets = 4

// crashRun is what is killed: twelve requests in about a second and a half.
var crashRun = []string{
	"collect", "--gpu", "sim:H200", "--endpoint", "sim", "--sizes", "10,20", "--prompts", "3", "--idle", "0s", "--pause", "0s", "--warmup", "0",
	"--calibrate", "off", "--period", "10ms",
}

// A run may be killed at any instant, and so may its recovery: gone on with until it is complete, it has every request of
// an undisturbed run exactly once, no row twice, and no reader beside it ever sees a file that is not whole.
func killedAtAnyInstant(t *testing.T) {
	seed := cmp.Or(*crashSeed, uint64(time.Now().UnixNano()))
	t.Logf("%d kills, -crash.seed %d", *crashKills, seed)
	undisturbed := inMemory(t)
	collectOrFail(t, nil, append(slices.Clone(crashRun), "--out", undisturbed, "--run-id", "whole")...)
	want := sendings(t, undisturbed, "whole")
	var left atomic.Int64
	left.Store(int64(*crashKills))
	var all sync.WaitGroup
	for i := range crashDatasets {
		c := &crashed{T: t, dir: inMemory(t), rng: rand.New(rand.NewPCG(seed, uint64(i))), left: &left, killed: map[string]int{}}
		all.Go(func() { c.drive(want) })
	}
	all.Wait()
}

// crashed is a dataset whose runs are killed.
type crashed struct {
	*testing.T
	dir    string
	rng    *rand.Rand
	left   *atomic.Int64 // kills to come
	killed map[string]int
}

// drive kills runs until there were enough kills, and compares each with an undisturbed one.
func (c *crashed) drive(want map[string]int) {
	judge := c.readBeside()
	runs := 0
	for ; c.left.Load() > 0 && !c.Failed(); runs++ {
		run := fmt.Sprint("run-", runs)
		c.untilComplete(run)
		if got := sendings(c.T, c.dir, run); !maps.Equal(got, want) {
			c.Errorf("%s: %v, undisturbed %v", run, got, want)
		}
	}
	c.Logf("%d runs, killed %v", runs, c.killed)
	judge()
	c.checkFiles()
	c.verify()
}

// verify has tracer verify what came of it all: some were killed before they had begun, and what they left is set aside.
func (c *crashed) verify() {
	for _, flag := range []string{"--json", "--repair", "--strict"} {
		out, err := exec.Command(program(c.T), "verify", flag, c.dir).CombinedOutput()
		if err != nil || strings.Contains(string(out), "error: ") {
			c.Errorf("tracer verify %s: %v\n%s", flag, err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "set aside: ") && !strings.HasPrefix(line, "set aside: _tracer/tmp/corpus-") && !strings.HasSuffix(line, ".new\n") {
				c.Errorf("tracer verify %s: %s", flag, line)
			}
		}
	}
}

// untilComplete starts a run, kills it and goes on with it, over and over, until it is complete.
func (c *crashed) untilComplete(run string) {
	for life := 0; ; life++ {
		if life > 100 {
			c.Fatalf("%s gets nowhere", run)
		}
		if c.rng.IntN(4) == 0 {
			c.live("recovery", time.Duration(c.rng.IntN(150))*time.Millisecond, "recover", "--out", c.dir)
		}
		args := append(slices.Clone(crashRun), "--out", c.dir, "--run-id", run)
		if c.begun(run) {
			args = []string{"collect", "--out", c.dir, "--resume", run}
		}
		what, after := "run", time.Duration(c.rng.IntN(1600))*time.Millisecond
		if c.rng.IntN(3) == 0 {
			what, after = "commit", time.Duration(c.rng.IntN(120))*time.Millisecond
		}
		if c.live(what, after, args...) {
			return
		}
	}
}

// begun says whether anything is known of a run: it may have been killed before its journal stood there.
func (c *crashed) begun(run string) bool {
	runs := manifests(c.T, c.dir)
	journals, err := journal.Names(c.dir)
	if err != nil {
		c.Fatal(err)
	}
	return slices.ContainsFunc(runs, func(m store.Manifest) bool { return m.RunID == run }) ||
		slices.Contains(journals, store.RunName(run, hostname()))
}

// live runs tracer and kills it so long after its start or, for a commit, after its last request; it reports whether
// tracer came to its end before that.
func (c *crashed) live(what string, after time.Duration, args ...string) (ended bool) {
	cmd := exec.Command(program(c.T), args...)
	cmd.Env = environ()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		c.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	said, sent := make(chan string, 1), make(chan struct{})
	go func() {
		var all strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&all, lines.Text())
			if strings.HasPrefix(lines.Text(), "sent ") {
				close(sent)
			}
		}
		said <- all.String()
	}()
	if what == "commit" {
		select {
		case <-sent:
		case text := <-said: // it had nothing to send
			said <- text
		case <-time.After(time.Minute):
			c.Errorf("tracer %s does not come to its end", strings.Join(args, " "))
		}
	}
	kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	text := <-said
	err = cmd.Wait()
	kill.Stop()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		c.killed[what]++
		c.left.Add(-1)
		return false
	}
	if err != nil {
		c.Fatalf("tracer %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return true
}

// readBeside has DuckDB read the dataset all the while; the function that it returns ends that and judges it.
func (c *crashed) readBeside() (end func()) {
	python, err := filepath.Abs("../../.venv/bin/python")
	if err == nil {
		err = exec.Command(python, "-c", "import duckdb").Run()
	}
	if err != nil {
		c.Logf("no DuckDB reads beside the runs, since .venv has none (make .venv/ready): %v", err)
		return func() {}
	}
	cmd := exec.Command(python, "testdata/reader.py", c.dir)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := cmp.Or(err1, err2, cmd.Start()); err != nil {
		c.Fatal(err)
	}
	said := bufio.NewReader(stdout)
	if line, err := said.ReadString('\n'); err != nil || line != "ready\n" {
		c.Fatalf("%q, %v\n%s", line, err, complaints.String())
	}
	return func() {
		stdin.Close()
		line, _ := io.ReadAll(said)
		if err := cmd.Wait(); err != nil {
			c.Fatalf("DuckDB: %v\n%s", err, complaints.String())
		}
		var polls, samples, requests, twice int
		if _, err := fmt.Sscan(string(line), &polls, &samples, &requests, &twice); err != nil || polls < 20 || samples == 0 || requests == 0 || twice > 0 {
			c.Errorf("DuckDB read %d times, at last %d samples (%d of them twice) and %d requests: %v", polls, samples, twice, requests, err)
		}
		c.Logf("DuckDB read %d times, at last %d samples and %d requests", polls, samples, requests)
	}
}

// manifests are those of the runs in a dataset.
func manifests(t *testing.T, dir string) (all []store.Manifest) {
	t.Helper()
	catalog, err := store.ReadCatalog(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range catalog.Runs {
		all = append(all, *m)
	}
	return all
}

// checkFiles holds every file against a manifest, and reads it.
func (c *crashed) checkFiles() {
	runs := manifests(c.T, c.dir)
	rows := map[string]int64{}
	for _, m := range runs {
		for _, f := range m.Files {
			rows[f.Path] = f.Rows
		}
	}
	err := filepath.WalkDir(c.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".parquet" {
			return err
		}
		name, _ := filepath.Rel(c.dir, path)
		want, known := rows[name]
		if !known && !strings.HasPrefix(name, schema.Prompts.Name+"/") {
			c.Errorf("%s is in no manifest", name)
		}
		if got := rowsIn(c.T, path); known && got != want {
			c.Errorf("%s has %d rows, its manifest says %d", name, got, want)
		}
		delete(rows, name)
		return nil
	})
	if err != nil || len(rows) > 0 {
		c.Errorf("in manifests, and not there: %v, %v", rows, err)
	}
	if left, err := journal.Names(c.dir); err != nil || len(left) > 0 {
		c.Errorf("journals are left: %v, %v", left, err)
	}
}

// sendings are the requests of a run and those that went on with it: how often each was answered.
func sendings(t *testing.T, dir, run string) map[string]int {
	t.Helper()
	runs := manifests(t, dir)
	answered, ids := map[string]int{}, map[string]bool{}
	for i := range runs {
		if runs[i].RunID != run && runs[i].Continues != run {
			continue
		}
		sent, err := analysis.Dataset{Dir: dir}.Sent(&runs[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sent {
			if ids[s.RequestID] {
				t.Errorf("request %s is there twice", s.RequestID)
			}
			ids[s.RequestID] = true
			if s.ErrorType == "" {
				answered[fmt.Sprintf("%s %s of %d, %d", s.Prompt.Workload, s.Prompt.ID, s.Prompt.TargetTokens, s.Prompt.Repetition)]++
			}
		}
	}
	return answered
}

// inMemory is a folder that costs no disk's fsync, where there is one.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tracer-") //nolint:usetesting // t.TempDir knows no other filesystem
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
