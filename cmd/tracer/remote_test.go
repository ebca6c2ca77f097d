package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	servesim "github.com/llm-tracer/tracer/nebula/sim"
)

// The boards are in another host, whose clock is a day ahead, at the end of a link that takes 20 ms there and 5 ms back and is
// cut on the way. TRACER_REMOTE_CUT is for how long; make remote cuts it for 30 s.
func TestRemoteLabelsAgreeWithTheTruth(t *testing.T) {
	t.Parallel()
	cut, err := time.ParseDuration(cmp.Or(os.Getenv("TRACER_REMOTE_CUT"), "7s"))
	if err != nil {
		t.Fatal(err)
	}
	f := newFarm(t, delays{there: 20 * time.Millisecond, back: 5 * time.Millisecond})
	requests := max(6, 2+int(cut/(2*time.Second))) // of each, of 0.4 s and 1.4 s
	corpus := filepath.Join(f.dir, "corpus.jsonl")
	var prompts strings.Builder
	for i := range requests {
		fmt.Fprintf(&prompts, `{"size":1500,"workload":"prefill","prompt":"part %d"}`+"\n", i)
		fmt.Fprintf(&prompts, `{"size":30,"workload":"decode","prompt":"Generate a 30 word story about mill %d"}`+"\n", i)
	}
	write(t, corpus, []byte(prompts.String()))
	cmd := f.collect(f.target, "--corpus", corpus, "--idle", "2s", "--period", "5ms")
	said := f.begin(cmd, "requests to")
	time.Sleep(4 * time.Second)
	f.cut(true)
	time.Sleep(cut)
	f.cut(false)
	out := f.end(cmd, said, exitOK)
	if !strings.Contains(out, "the connection is lost") || !strings.Contains(out, "connected again") {
		t.Errorf("no word of the cut:\n%s", out)
	}
	f.clean()

	dir := filepath.Join(f.dir, "ds")
	run := readRun(t, dir, "far")
	stated := run["host_clock_error_s"].(float64)
	offset := run["host_clock_offset_s"].(float64)
	t.Logf("offset %.6f s, drift %v ppm, stated error %.3f ms, round trip %.3f ms, %v readings, gaps %v", offset, run["host_clock_drift_ppm"], 1e3*stated, 1e3*run["host_round_trip_s"].(float64), run["readings"], run["gaps"])
	if off := offset - ahead.Seconds(); off < -stated || off > stated {
		t.Errorf("the offset is off by %.6f s, stated %.6f s", off, stated)
	}
	if stated < 0.0125 {
		t.Errorf("the stated error is %.6f s on a link of 25 ms", stated)
	}
	if run["gpu_host"] != "gpuhost" {
		t.Errorf("gpu_host is %v", run["gpu_host"])
	}
	if run["gaps"] != "[]" || run["board_lost"] != false {
		t.Errorf("gaps %v, lost %v", run["gaps"], run["board_lost"])
	}
	rows := readRows(t, dir, "far")
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.ns, b.ns) })
	for i := 1; i < len(rows); i++ {
		if apart := rows[i].ns - rows[i-1].ns; apart <= 0 || apart > int64(500*time.Millisecond) {
			t.Errorf("row %d comes %v after the one before", i, time.Duration(apart))
		}
	}
	if n, _ := run["readings"].(int64); int(n) != len(rows) {
		t.Errorf("%d rows, %v readings", len(rows), run["readings"])
	}
	rows, truth := f.punctual(f.certain(rows), readTruth(t, f.truth))
	checkLabels(t, rows, truth, int64(certainly)+5*periodNS)
	if out := f.run(f.command("verify", dir), exitOK); !strings.Contains(out, "0 errors, 0 warnings") {
		t.Errorf("verify: %s", out)
	}
}

// What the user gets wrong, or a host lacks, is one error with its mend.
func TestRemoteHostThatCannotBeUsedIsOneError(t *testing.T) {
	t.Parallel()
	f := newFarm(t, delays{})
	sealed := filepath.Join(f.dir, "sealed") // mounted noexec there
	at := func(name string) string { return filepath.Join(f.dir, name) }
	for _, c := range []struct {
		name, gpu, ssh string
		code           int
		says           []string
	}{
		{"name", "ssh://no-such-host.invalid/0", "", exitEnvironment, []string{"Could not resolve hostname", "check the spelling"}},
		{"port", "ssh://root@10.231.1.2:2222/0", "", exitEnvironment, []string{"port 2222: Connection refused"}},
		{"key unknown", f.target, "-unknown", exitEnvironment, []string{"Host key verification failed", "log in once by hand (ssh root@10.231.1.2)"}},
		{"not let in", f.target, "-stranger", exitEnvironment, []string{"Permission denied", "ssh-copy-id root@10.231.1.2"}},
		{"cannot be written", "ssh://root@10.231.1.2/0?cache=/proc/tracer", "", exitEnvironment, []string{"no folder there can hold the program and run it; /proc/tracer: ", "?cache=DIR"}},
		{"cannot be run", "ssh://root@10.231.1.2/0?cache=" + sealed, "", exitEnvironment, []string{"no folder there can hold the program and run it; " + sealed, "Permission denied"}},
		{"no driver", "ssh://root@10.231.1.2/0?cache=" + sharedCache(t), "", exitEnvironment, []string{"libnvidia-ml.so.1", "?library=PATH"}},
		{"no such board", strings.Replace(f.target, "/0?", "/7?", 1), "", exitUsage, []string{"7"}},
		{"twice", f.target + "," + f.target, "", exitUsage, []string{"is named twice"}},
		{"password", "ssh://root:secret@10.231.1.2/0", "", exitUsage, []string{"a password does not belong"}},
		{"no client", f.target, "", exitEnvironment, []string{"install OpenSSH's client"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ssh := "ssh -F " + f.config + c.ssh
			if c.name == "no client" {
				ssh = at("no-ssh")
			}
			args := []string{"collect", "--gpu", c.gpu, "--endpoint", f.url, "--out", at("none"), "--ssh", ssh, "--workload", "decode", "--sizes", "10", "--prompts", "1"}
			cmd := f.command(args...)
			sub := *f
			sub.t = t
			out := sub.run(cmd, c.code)
			for _, want := range c.says {
				if !strings.Contains(out, want) {
					t.Errorf("says nothing of %q:\n%s", want, out)
				}
			}
			if complaint, _, _ := strings.Cut(out[strings.Index(out, "tracer: "):], "\n"); slices.Contains([]string{"name", "port", "not let in"}, c.name) &&
				strings.Count(complaint, "no-such-host.invalid")+strings.Count(complaint, "10.231.1.2") != 1 {
				t.Errorf("names the host more than once:\n%s", complaint)
			}
			if strings.Contains(out, "goroutine") || strings.Contains(out, "secret") {
				t.Errorf("says too much:\n%s", out)
			}
			t.Log(strings.TrimSpace(out))
		})
	}
	f.clean()
}

// What befalls one host's agent costs the others nothing.
func TestRemoteAgentsFateIsAGapOfItsBoardsAlone(t *testing.T) {
	t.Parallel()
	f := newFarm(t, delays{})
	here := filepath.Join(f.dir, "here")
	sim := f.command("sim", "--listen", "127.0.0.1:0", "--gpu", "sim:A10", "--board-file", here)
	f.start(sim, "stop it with Ctrl-C")
	collect := func(run string, more ...string) (end func(int) string, gaps func() (string, string)) {
		c := f.collect("0,"+f.target, append([]string{"--run-id", run, "--workload", "decode", "--sizes", "30", "--prompts", "3", "--idle", "2s"}, more...)...)
		c.Env = environ("LD_LIBRARY_PATH="+f.library, "TRACER_FAKENVML="+here)
		said := f.begin(c, "requests to")
		time.Sleep(3 * time.Second)
		return func(code int) string { return f.end(c, said, code) }, func() (string, string) {
			var local, far string
			for _, path := range files(t, filepath.Join(f.dir, "ds"), "runs", run) {
				for _, r := range table(t, path) {
					gaps := strings.Join(list(t, r, "gaps"), "; ")
					if r["gpu_host"] == nil {
						local = gaps
					} else {
						far = gaps
					}
				}
			}
			return local, far
		}
	}
	t.Run("ssh is killed", func(t *testing.T) {
		end, gaps := collect("ssh")
		for _, pid := range f.agents("sshd: root@notty") {
			kill(t, pid)
		}
		out := end(exitOK)
		if local, far := gaps(); local != "" || far != "" {
			t.Errorf("gaps %s and %s\n%s", local, far, out)
		}
	})
	t.Run("the agent is killed", func(t *testing.T) {
		end, gaps := collect("agent")
		for _, pid := range f.agents("agent --keep") {
			kill(t, pid)
		}
		out := end(exitPartial)
		local, far := gaps()
		if local != "" {
			t.Errorf("the board here has gaps %s\n%s", local, out)
		}
		if far != "" { // it may have been quick
			t.Logf("the other host's board has gaps %s", far)
		}
		if !strings.Contains(out, "tracer's agent there was gone, and another took its place") {
			t.Errorf("no word of it:\n%s", out)
		}
	})
	t.Run("the host is gone", func(t *testing.T) {
		end, gaps := collect("host", "--patience", "2s")
		f.cut(true)
		defer f.cut(false)
		out := end(exitPartial)
		local, far := gaps()
		if local != "" || strings.Count(far, "why=host") != 1 {
			t.Errorf("gaps %s and %s\n%s", local, far, out)
		}
		if !strings.Contains(out, "the host is gone: not reached for 2s") {
			t.Errorf("no word of it:\n%s", out)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); len(f.agents("tracer agent")) > 0 && time.Now().Before(deadline); {
		time.Sleep(200 * time.Millisecond) // the agent of the last case has to lose its patience
	}
	f.clean()
	if out := f.run(f.command("verify", filepath.Join(f.dir, "ds")), exitOK); !strings.Contains(out, " 0 errors") {
		t.Errorf("verify: %s", out)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("killing %d: %v", pid, err)
	}
}

// certainly is how far the times of rows may be off that are judged: on a busy machine some round trips take longer.
const certainly = 30 * time.Millisecond

// certain are the rows that say so.
func (f *farm) certain(rows []row) []row {
	f.t.Helper()
	sure := map[int64]bool{}
	for _, path := range files(f.t, filepath.Join(f.dir, "ds"), "samples", "far") {
		for _, r := range table(f.t, path) {
			sure[instantOf(r)] = r["clock_error_s"].(float32) <= float32(certainly.Seconds())
		}
	}
	kept := slices.DeleteFunc(rows, func(r row) bool { return !sure[r.ns] })
	if 2*len(kept) < len(sure) {
		f.t.Errorf("only %d of %d rows are certain within %v", len(kept), len(sure), certainly)
	}
	return kept
}

// punctual brings the truth to the first host's clock, and leaves out, with their rows, the requests that the client itself stamped
// late by more than 5 ms: on a busy machine it does, and that is not the remote clock's error.
func (f *farm) punctual(rows []row, truth []servesim.Truth) ([]row, []servesim.Truth) {
	f.t.Helper()
	stamps := map[string]map[string]any{}
	for _, path := range files(f.t, filepath.Join(f.dir, "ds"), "requests", "far") {
		for _, r := range table(f.t, path) {
			stamps[r["request_id"].(string)] = r
		}
	}
	var kept []servesim.Truth
	for _, q := range truth {
		late := false
		for name, ns := range map[string]*int64{"prefill_start_monotonic_ns": &q.PrefillStartNS, "first_token_monotonic_ns": &q.FirstTokenNS, "last_token_monotonic_ns": &q.EndNS} {
			*ns -= int64(ahead)
			if at, ok := stamps[q.RequestID][name].(int64); ok && max(at-*ns, *ns-at) > 5e6 {
				late = true
			}
		}
		if !late {
			kept = append(kept, q)
			continue
		}
		f.t.Logf("request %s was stamped late by the client, and is left out", q.RequestID)
		const around = int64(200 * time.Millisecond)
		rows = slices.DeleteFunc(rows, func(r row) bool { return r.ns > q.PrefillStartNS-around && r.ns < q.EndNS+around })
	}
	if 3*len(kept) < 2*len(truth) {
		f.t.Errorf("only %d of %d requests were stamped in time", len(kept), len(truth))
	}
	return rows, kept
}
