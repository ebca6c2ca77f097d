package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// What drives the faults of hosts.
const (
	byTmpfs  = "a tmpfs of 12 MiB"
	byKernel = "the kernel"
	byStrace = "strace, which answers in the kernel's place"
)

var hostFaults = []fault{
	{"SIGKILL at any instant", "the crash harness: 200 kills of runs, commits and recoveries", "collect --resume comes to the requests of an undisturbed run, each once; DuckDB, which reads all the while, never sees a torn file", killedAtAnyInstant},
	{"killed, then resumed", byKernel, "the run is recovered, says what is lost, and goes on under the options it was started with", killedThenResumed},
	{"killed with several requests in flight", byKernel, "these are rows, `interrupted`, and are sent again by --resume; the readings since the oldest of them began are left out, which a gap says; verify --strict is clean", killedInFlight},
	{"a byte flipped in the journal of a run that broke off", byKill + ", then " + byHand, "all but the time around that byte's frame is published, which is a gap, `damaged`; recover ends with 3 and keeps the journal; verify finds the dataset sound, and --resume goes on", journalFlipped},
	{"killed while its files are published", byStrace, "verify warns, and --repair leaves everything where it is; tracer recover goes on with the publication", killedWhilePublishing},
	{"SIGINT or SIGTERM", byKernel, "the run is committed; exit 130; it can be resumed", stoppedBySignal},
	{"the screen is gone (tee dies of the same Ctrl-C; head has read enough)", byKernel, "the run is committed, with the exit code that it would have had", screenGone},
	{"SIGINT, SIGTERM or SIGHUP before the run has begun", byKernel, "nothing of the run is written; exit 1", stoppedBefore},
	{"SIGINT twice", byKernel, "exit 1; nothing is published until tracer recover, which loses half a second at most, and the requests in flight with the readings since the oldest of them began", abortedBySignal},
	{"disk full while collecting", byTmpfs, "the run stops and is committed with the room that was set aside; exit 3", diskFull},
	{"disk full, and still so at the commit", byTmpfs, "exit 4; once there is room tracer recover publishes everything", diskFullToTheEnd},
	{"disk full before the start", byTmpfs, "exit 4, names the folder and how much room is needed", diskFullAtFirst},
	{"read-only folder", "a read-only tmpfs", "exit 4, names the folder and the mend", readOnly},
	{"the journal cannot be written any more (EIO)", byStrace, "the run stops; what was journalled is committed as recovered; exit 3", brokenDisk},
	{"slow disk", byStrace, "told early; nothing is dropped; journal_sync_max_s in runs", slowDisk},
	{"too few open files allowed", byKernel, "exit 4, names the limit and the mend", fewFiles},
	{"two tracers in one folder", byKernel, "both are committed; the same run id is refused with exit 5", twoTracers},
	{"a filesystem without locks (NFS)", byStrace, "told; the run is committed; a recovery asks for --assume-dead", noLocks},
	{"a filesystem without RENAME_NOREPLACE (NFS)", byStrace, "files are linked into place instead; the run is committed", noRename},
}

// shortRun is a run of a second and a half.
func shortRun(dir, run string, more ...string) []string {
	return append(collectArgs(dir, run, "--gpu", "sim:H200", "--endpoint", "sim", "--sizes", "10,20", "--prompts", "3", "--idle", "0s", "--pause", "0s", "--warmup", "0", "--period", "10ms"), more...)
}

// longRun goes on for minutes, unless it is stopped.
func longRun(dir, run string) []string { return shortRun(dir, run, "--repeat", "100") }

// started is a tracer at work.
type started struct {
	*exec.Cmd
	said *strings.Builder
}

// start runs tracer until the run that it is named for has journalled something, at least for that long. What it says is
// kept, or goes to a screen.
func start(t *testing.T, dir, run string, args []string, screen ...*os.File) *started {
	t.Helper()
	return startUntil(t, dir, run, 20_000, args, screen...) // two seconds or so
}

// startUntil runs tracer until the run's journal has so many bytes.
func startUntil(t *testing.T, dir, run string, bytes int64, args []string, screen ...*os.File) *started {
	t.Helper()
	s := &started{exec.Command(args[0], args[1:]...), &strings.Builder{}}
	s.Env, s.Stdout, s.Stderr = environ(), s.said, s.said
	for _, f := range screen {
		s.Stdout, s.Stderr = f, f
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Process.Kill() })
	grown := func() bool {
		info, err := os.Stat(journal.Path(dir, store.RunName(run, hostname())))
		return err == nil && info.Size() > bytes
	}
	for deadline := time.Now().Add(time.Minute); !grown(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing is journalled\n%s", s.said)
		}
	}
	return s
}

// ends waits for the exit code and for words on the screen.
func (s *started) ends(t *testing.T, code int, words ...string) {
	t.Helper()
	_ = s.Wait() // the code tells
	holds(t, s.ProcessState.ExitCode(), s.said.String(), code, words...)
}

func holds(t *testing.T, got int, said string, code int, words ...string) {
	t.Helper()
	if got != code {
		t.Fatalf("exit code %d, want %d\n%s", got, code, said)
	}
	for _, w := range words {
		if !regexp.MustCompile(w).MatchString(said) {
			t.Errorf("it does not say %q:\n%s", w, said)
		}
	}
}

// ends runs tracer, which is to end with a code and to say some words.
func ends(t *testing.T, code int, args []string, words ...string) {
	t.Helper()
	holds(t, code, tracer(t, code, args...), code, words...)
}

func of(t *testing.T, args []string) []string { return append([]string{program(t)}, args...) }

// committed is the manifest of a run.
func committed(t *testing.T, dir, run string) store.Manifest {
	t.Helper()
	runs := manifests(t, dir)
	i := slices.IndexFunc(runs, func(m store.Manifest) bool { return m.RunID == run })
	if i < 0 {
		t.Fatalf("run %s is not committed", run)
	}
	for _, f := range runs[i].Files {
		if rows := rowsIn(t, filepath.Join(dir, f.Path)); rows != f.Rows {
			t.Errorf("%s has %d rows, its manifest says %d", f.Path, rows, f.Rows)
		}
	}
	return runs[i]
}

func killedThenResumed(t *testing.T) {
	dir := inMemory(t)
	s := start(t, dir, "one", of(t, shortRun(dir, "one", "--repeat", "4")))
	_ = s.Process.Kill()
	s.ends(t, -1)
	ends(t, exitUsage, []string{"collect", "--resume", "one", "--out", dir, "--sizes", "10"}, `--sizes 10: run one was started with "10,20"; leave it out`)
	ends(t, exitOK, shortRun(dir, "two"), `run two, complete`)
	ends(t, exitOK, []string{"collect", "--resume", "one", "--out", dir}, `run one goes on as one.2: \d+ of 48 requests are left`, `run one.2, complete`)
	if n := len(sendings(t, dir, "one")); n != 48 {
		t.Errorf("%d requests", n)
	}
	ends(t, exitOK, []string{"collect", "--resume", "one", "--out", dir}, `run one is complete`)
	ends(t, exitOK, []string{"collect", "--resume", "one.2", "--out", dir}, `run one is complete`)
	if m := committed(t, dir, "one"); m.Status != schema.StatusRecovered {
		t.Errorf("status %s", m.Status)
	}
	if m := committed(t, dir, "one.2"); m.Continues != "one" {
		t.Errorf("continues %q", m.Continues)
	}
	ends(t, exitUsage, []string{"collect", "--resume", "none", "--out", dir}, `no run of that name is published`)
	ends(t, exitUsage, []string{"collect", "--resume", "one", "--run-id", "x", "--out", dir}, `--run-id with --resume`)
	ends(t, exitOK, []string{"recover", "--out", dir}, `nothing to recover`)
	ends(t, exitUsage, []string{"recover", "--out", dir, "one"}, `no journal`)
}

func killedInFlight(t *testing.T) {
	dir := inMemory(t)
	s := start(t, dir, "one", of(t, collectArgs(dir, "one", "--gpu", "sim:H200", "--endpoint", "sim", "--sizes", "1000", "--prompts", "9", "--idle", "0s", "--warmup", "0", "--period", "1ms", "--concurrency", "3")))
	time.Sleep(2 * time.Second) // readings are journalled twice a second
	_ = s.Process.Kill()
	s.ends(t, -1)
	ends(t, exitOK, []string{"recover", "--out", dir}, `[123] of the requests never ended; \d+ readings .* left out`)
	ends(t, exitOK, []string{"verify", "--strict", dir})
	m := committed(t, dir, "one")
	sent, err := analysis.Dataset{Dir: dir}.Sent(&m)
	if err != nil {
		t.Fatal(err)
	}
	sent = slices.DeleteFunc(sent, func(s analysis.Sent) bool { return s.ErrorType != schema.ErrorInterrupted })
	if len(sent) == 0 || len(sent) > 3 {
		t.Errorf("%d requests are interrupted", len(sent))
	}
	ends(t, exitOK, []string{"query", dir, "SELECT gaps FROM runs"}, `why=unlabelled`)
}

func journalFlipped(t *testing.T) {
	dir := inMemory(t)
	s := start(t, dir, "one", of(t, shortRun(dir, "one", "--repeat", "6")))
	time.Sleep(1500 * time.Millisecond) // readings are journalled twice a second
	_ = s.Process.Kill()
	s.ends(t, -1)
	path := journal.Path(dir, store.RunName("one", hostname()))
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)/2] ^= 0x10
	write(t, path, body)
	ends(t, exitPartial, []string{"recover", "--out", dir}, `the journal is damaged at byte \d+: \d+ bytes there cannot be read`, `kept as .*\.damaged`)
	ends(t, exitOK, []string{"query", dir, "SELECT gaps FROM runs"}, `why=damaged`)
	ends(t, exitOK, []string{"query", "--csv", dir, "SELECT count(*) > 10 AS most FROM requests WHERE valid"}, `true`)
	ends(t, exitOK, []string{"verify", dir}, `one-.*\.journal\.damaged`)
	ends(t, exitOK, []string{"collect", "--resume", "one", "--out", dir}, `run one.2, complete`)
	if n := len(sendings(t, dir, "one")); n < 71 || n > 72 { // one whose end was lost is sent again
		t.Errorf("%d requests", n)
	}
}

func stoppedBySignal(t *testing.T) {
	dir := inMemory(t)
	for run, sig := range map[string]os.Signal{"int": os.Interrupt, "term": syscall.SIGTERM} {
		s := start(t, dir, run, of(t, longRun(dir, run)))
		_ = s.Process.Signal(sig)
		s.ends(t, exitInterrupted, `they are committed; tracer collect --resume `+run)
		if m := committed(t, dir, run); m.Status != schema.StatusInterrupted {
			t.Errorf("status %s", m.Status)
		}
		ends(t, exitOK, []string{"collect", "--resume", run, "--out", dir, "--dry-run"}, `of 1200 requests are left`)
	}
}

func screenGone(t *testing.T) {
	dir := inMemory(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	for run, code := range map[string]int{"whole": exitOK, "stopped": exitInterrupted} {
		args := shortRun(dir, run, "--repeat", "3")
		if code == exitInterrupted {
			args = longRun(dir, run)
		}
		s := start(t, dir, run, of(t, args), write)
		if code == exitInterrupted {
			_ = s.Process.Signal(os.Interrupt)
		}
		s.ends(t, code)
		committed(t, dir, run)
	}
}

func abortedBySignal(t *testing.T) {
	dir := inMemory(t)
	for try := range 60 { // the commit may be faster than the second signal
		run := fmt.Sprint("run", try)
		s := start(t, dir, run, of(t, longRun(dir, run)))
		_ = s.Process.Signal(os.Interrupt)
		time.Sleep(sameStop + time.Millisecond/2)
		_ = s.Process.Signal(os.Interrupt)
		_ = s.Wait() // the code tells
		if s.ProcessState.ExitCode() == exitInterrupted {
			continue
		}
		holds(t, s.ProcessState.ExitCode(), s.said.String(), exitFailure, `aborted; nothing is published yet: tracer recover --out \S+ `+run)
		ends(t, exitOK, []string{"recover", "--out", dir, run}, `run `+run+`\S* is published, recovered`)
		committed(t, dir, run)
		return
	}
	t.Error("the second signal always came too late")
}

// small runs a script in a mount namespace of its own, with a small filesystem at $DIR, and copies that to dir at the end.
func small(t *testing.T, options, script string, args []string) (dir, said string) {
	t.Helper()
	if out, err := exec.Command("unshare", "-rm", "true").CombinedOutput(); err != nil {
		t.Skipf("no mount namespace can be had here: %v: %s", err, out)
	}
	dir = t.TempDir()
	cmd := exec.Command("unshare", "-rm", "bash", "-euc", `mkdir "$DIR"; mount -t tmpfs -o `+options+` tmpfs "$DIR"
tracer() { "$TRACER" "$@" && code=0 || code=$?; echo "exit $code"; }
begun() { until [ "$(stat -c %s "$DIR"/_tracer/journal/*.journal 2>/dev/null || echo 0)" -gt 12000 ]; do sleep 0.01; done; }
`+script+`
cp -r "$DIR" "$OUT"`, "bash")
	for i := range args {
		cmd.Args = append(cmd.Args, strings.ReplaceAll(args[i], "$DIR", filepath.Join(dir, "in")))
	}
	out := filepath.Join(dir, "out")
	cmd.Env = environ("DIR="+filepath.Join(dir, "in"), "OUT="+out, "TRACER="+program(t))
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out, string(text)
}

const tight = "size=12m"

func diskFull(t *testing.T) {
	dir, said := small(t, tight, `tracer "$@" & begun; dd if=/dev/zero of="$DIR/filler" bs=4k 2>/dev/null || true; wait; rm "$DIR/filler"`, longRun("$DIR", "one"))
	holds(t, 0, said, 0, `exit 3`, `no space left on device`, `they are committed; tracer collect --resume one`)
	if m := committed(t, dir, "one"); m.Status != schema.StatusInterrupted {
		t.Errorf("status %s", m.Status)
	}
}

func diskFullToTheEnd(t *testing.T) {
	dir, said := small(t, tight, `tracer "$@" & begun; rm "$DIR"/_tracer/tmp/*/reserve # as one whom the disk's others left nothing
dd if=/dev/zero of="$DIR/filler" bs=4k 2>/dev/null || true; wait; rm "$DIR/filler"; tracer recover --out "$DIR"`, longRun("$DIR", "one"))
	holds(t, 0, said, 0, `(?s)no space left on device.*Nothing is lost: make room, and then tracer recover --out \S+ one.*exit 4.*run one\S* is published.*exit 0`)
	committed(t, dir, "one")
}

func diskFullAtFirst(t *testing.T) {
	_, said := small(t, tight, `dd if=/dev/zero of="$DIR/filler" bs=4k 2>/dev/null || true; tracer "$@"`, longRun("$DIR", "one"))
	holds(t, 0, said, 0, `exit 4`, `--out \S+: .*no space left on device; make room: a run sets 8 MiB aside`)
}

func readOnly(t *testing.T) {
	_, said := small(t, tight+",ro", `tracer "$@"`, longRun("$DIR", "one"))
	holds(t, 0, said, 0, `exit 4`, `read-only file system; choose a folder that you may write to`)
}

// traced has strace answer some of tracer's calls.
func traced(t *testing.T, inject string, args []string) []string {
	t.Helper()
	call, _, _ := strings.Cut(inject, ":")
	by := []string{"strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=" + call, "-e", "inject=" + inject}
	if out, err := exec.Command(by[0], append(by[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no strace can be had here: %v: %s", err, out)
	}
	return append(by, of(t, args)...)
}

func slowDisk(t *testing.T) {
	dir := inMemory(t)
	args := traced(t, "fsync:delay_enter=1100000:when=4..6", shortRun(dir, "one", "--repeat", "5", "--json"))
	s := &started{exec.Command(args[0], args[1:]...), &strings.Builder{}}
	s.Env, s.Stdout, s.Stderr = environ(), s.said, s.said
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	s.ends(t, exitOK, `note: the disk is slow: an fsync of the journal took 1`, `"readings_dropped": 0`, `"status": "complete"`)
}

func brokenDisk(t *testing.T) {
	dir := inMemory(t)
	args := traced(t, "pwrite64:error=EIO:when=40+", longRun(dir, "one"))
	cmd := exec.Command(args[0], args[1:]...)
	out, _ := cmd.CombinedOutput() // the code tells
	holds(t, cmd.ProcessState.ExitCode(), string(out), exitPartial, `input/output error`, `run one, recovered`, `what its journal holds is committed`)
	if m := committed(t, dir, "one"); m.Status != schema.StatusRecovered {
		t.Errorf("status %s", m.Status)
	}
}

func fewFiles(t *testing.T) {
	dir := inMemory(t)
	for limit, code := range map[string]int{"16": exitEnvironment, "24": exitOK} {
		out, _ := exec.Command("bash", append([]string{"-c", `ulimit -n ` + limit + `; "$@"`, "bash"}, of(t, shortRun(dir, "with-"+limit))...)...).CombinedOutput()
		said := `a process may have 16 files open here, and this run needs up to 19; raise the limit with ulimit -n 1024`
		if code == exitOK {
			said = `run with-24, complete`
		}
		holds(t, 0, string(out), 0, said)
	}
}

func twoTracers(t *testing.T) {
	dir := inMemory(t)
	first := start(t, dir, "one", of(t, shortRun(dir, "one", "--repeat", "4")))
	ends(t, exitConflict, shortRun(dir, "one"), `run id is taken: \S+ is being written`)
	ends(t, exitConflict, []string{"recover", "--out", dir, "one"}, `another process is writing or recovering the journal`)
	ends(t, exitConflict, []string{"collect", "--out", dir, "--resume", "one"}, `another process is writing or recovering the journal`)
	ends(t, exitOK, []string{"recover", "--out", dir}, `run one\S* is being written; it is left alone`, `nothing to recover`)
	ends(t, exitOK, shortRun(dir, "two"), `run two, complete`)
	first.ends(t, exitOK, `run one, complete`)
	for _, run := range []string{"one", "two"} {
		committed(t, dir, run)
	}
	ends(t, exitConflict, shortRun(dir, "one"), `run id is taken: \S+ holds it`)
}

func noLocks(t *testing.T) {
	dir := inMemory(t)
	s := start(t, dir, "two", of(t, longRun(dir, "two")))
	_ = s.Process.Kill()
	s.ends(t, -1)
	for _, c := range []struct {
		code int
		args []string
		says string
	}{
		{exitOK, shortRun(dir, "one"), `knows no locks(?s:.*)run one, complete`},
		{exitEnvironment, []string{"recover", "--out", dir, "two"}, `give --assume-dead`},
		{exitOK, []string{"recover", "--out", dir, "--assume-dead", "two"}, `run two\S* is published`},
	} {
		args := traced(t, "flock:error=ENOLCK", c.args)
		cmd := exec.Command(args[0], args[1:]...)
		out, _ := cmd.CombinedOutput() // the code tells
		holds(t, cmd.ProcessState.ExitCode(), string(out), c.code, c.says)
	}
	committed(t, dir, "one")
	committed(t, dir, "two")
}

func noRename(t *testing.T) {
	dir := inMemory(t)
	args := traced(t, "renameat2:error=EINVAL", shortRun(dir, "one"))
	cmd := exec.Command(args[0], args[1:]...)
	out, _ := cmd.CombinedOutput() // the code tells
	holds(t, cmd.ProcessState.ExitCode(), string(out), exitOK, `run one, complete`)
	committed(t, dir, "one")
}
