package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/llamacpp"
	"github.com/llm-tracer/tracer/nebula"
)

// simulatedServer is one of its own for a test, and the environment that shows its board.
func simulatedServer(t *testing.T) (url string, env []string) {
	t.Helper()
	library, boards := fakeLibrary(t), filepath.Join(t.TempDir(), "boards")
	url = startSim(t, "--gpu", "sim:H200", "--board-file", boards)
	return url, []string{"LD_LIBRARY_PATH=" + library, "TRACER_FAKENVML=" + boards}
}

// mostMemory is what a run may take whatever a server sends: 64 MiB of an answer, a few times over, beside what it takes
// anyway, most of which is the vocabularies.
const mostMemory = 512 << 20

// through sends the prompts through the proxy and looks at what is left of them.
func (s sent) through(t *testing.T, p *faultProxy, env []string) (said string) {
	t.Helper()
	dir := s.dir
	if dir == "" {
		dir = t.TempDir()
	}
	flags := append([]string{
		"--endpoint", p.endpoint(), "--workload", "decode", "--sizes", "10", "--prompts", fmt.Sprint(s.prompts),
		"--warmup", "0", "--pause", "0s", "--idle", "0s", "--silence", "1s", "--patience", "2s",
	}, s.more...)
	cmd := exec.Command(program(t), collectArgs(dir, "run", flags...)...)
	cmd.Env = environ(env...)
	began := time.Now()
	out, _ := cmd.CombinedOutput() // the exit code is looked at next
	said = string(out)
	if got := cmd.ProcessState.ExitCode(); got != s.exit || !strings.Contains(said, s.says) || time.Since(began) < s.atLeast {
		t.Errorf("exit code %d after %v, want %d and %q\n%s", got, time.Since(began), s.exit, s.says, said)
	}
	if peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10; peak > mostMemory {
		t.Errorf("%d MiB of memory", peak>>20)
	}
	s.addsUp(t, dir)
	return said
}

// addsUp holds a run's rows against what was sent: every attempt once, no prompt answered twice, and the sums of runs.
func (s sent) addsUp(t *testing.T, dir string) {
	t.Helper()
	ids, good, seen := map[any]bool{}, map[any]bool{}, kinds{}
	rows := table(t, files(t, dir, "requests", "run")[0])
	for _, r := range rows {
		kind, _ := r["error_type"].(string)
		seen[kind]++
		if ids[r["request_id"]] || kind == "" && good[r["prompt_id"]] || (kind == "") != (r["valid"] == true) {
			t.Errorf("counted twice, or valid though it failed: %v", r)
		}
		ids[r["request_id"]] = true
		good[r["prompt_id"]] = good[r["prompt_id"]] || kind == ""
	}
	want := maps.Clone(s.kinds)
	for kind, n := range want {
		if n == some && seen[kind] > 0 {
			want[kind] = seen[kind]
		}
	}
	if !maps.Equal(seen, want) {
		t.Errorf("rows by error type: %v, want %v", seen, s.kinds)
	}
	if s.status == "" {
		s.status = "complete"
	}
	for _, r := range table(t, files(t, dir, "runs", "run")[0]) {
		n := func(column string) int64 { return r[column].(int64) }
		if n("requests") != int64(len(rows)) || n("requests") != n("requests_succeeded")+n("requests_failed")+n("requests_interrupted") ||
			n("requests_succeeded") != int64(seen[""]) || r["status"] != s.status {
			t.Errorf("%d rows, and in runs %v", len(rows), r)
		}
	}
}

func refusedAtStart(t *testing.T) {
	_, env := simulatedServer(t)
	dir := t.TempDir()
	cmd := exec.Command(program(t), collectArgs(dir, "run", "--endpoint", "http://127.0.0.1:1/v1")...)
	cmd.Env = environ(env...)
	out, _ := cmd.CombinedOutput() // the exit code is looked at next
	if code := cmd.ProcessState.ExitCode(); code != exitEnvironment || !strings.Contains(string(out), "connection refused") || !strings.Contains(string(out), "Start the server") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("written: %v", left)
	}
}

// redirectedElsewhere offers another host in every way that a client might follow.
func redirectedElsewhere(t *testing.T) {
	const secret = "sk-redirected-0123456789"
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s with %q", r.Method, r.URL, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	for _, code := range []int{302, 307} {
		url, env := simulatedServer(t)
		p := before(t, url, func(_ int, w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, strings.Replace(elsewhere.URL, "://", "://user:hush-password@", 1)+"/v1/chat/completions?k=hush-query", code)
		})
		dir := t.TempDir()
		cmd := exec.Command(program(t), collectArgs(dir, "run", "--endpoint", p.endpoint(), "--sizes", "10", "--prompts", "3", "--idle", "0s")...)
		cmd.Env = environ(append(env, "TRACER_API_KEY="+secret)...)
		out, _ := cmd.CombinedOutput() // the exit code is looked at next
		if got := cmd.ProcessState.ExitCode(); got != exitEnvironment || !strings.Contains(string(out), "redirects to "+elsewhere.URL) {
			t.Errorf("%d: exit code %d\n%s", code, got, out)
		}
		for _, s := range []string{secret, "hush-password", "hush-query"} {
			holdsNoSecret(t, dir, string(out), s)
		}
	}
}

// everyFault is one of each, with a good answer between any two.
var everyFault = []struct {
	kind string
	does spoil
}{
	{nebula.ErrTypeStreamBroken, inStream(at(4, reset))},
	{nebula.ErrTypeStreamBroken, inStream(at(4, finish))},
	{nebula.ErrTypeStreamError, inStream(at(4, says("data: {\"error\":{\"message\":\"died\",\"code\":500}}\n\n")))},
	{nebula.ErrTypeIdle, silentFrom(3)},
	{nebula.ErrTypeBadResponse, answers(http.StatusOK, "<html>", "Content-Type", "text/html")},
	{nebula.ErrTypeTooLarge, inStream(at(3, endless("data: ", "x")))},
	{nebula.ErrTypeOverloaded, answers(429, "{}", "Retry-After", "1")},
	{nebula.ErrTypeConnect, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { reset(w) }},
	{"http_500", answers(500, "{}")},
}

func everyFaultOnALlamaServer(t *testing.T) {
	server, env := realServer(t)
	s := sent{exit: exitPartial, prompts: 2 * len(everyFault), kinds: kinds{}}
	for _, f := range everyFault {
		s.kinds[f.kind]++
	}
	// The prompts that were refused for overload, or had no answer at all, are answered when asked again.
	s.kinds[""] = s.prompts - (len(everyFault) - 2)
	p := before(t, server.BaseURL, func(n int, w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if n%2 == 0 && n/2 <= len(everyFault) {
			everyFault[n/2-1].does(w, r, pass)
			return
		}
		pass.ServeHTTP(w, r)
	})
	s.through(t, p, env)
}

// aKilledLlamaServer kills a server with SIGKILL while it answers, and starts another in its place.
func aKilledLlamaServer(t *testing.T) {
	server, env := realServer(t)
	var p *faultProxy
	var starting sync.WaitGroup
	p = before(t, server.BaseURL, func(n int, w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if n != 2 {
			pass.ServeHTTP(w, r)
			return
		}
		pass.ServeHTTP(&hand{ResponseWriter: w, line: at(4, func(w http.ResponseWriter) {
			_ = server.Stop()
			starting.Go(func() {
				<-time.After(2 * time.Second) // a larger model takes longer to load
				again, err := llamacpp.Start(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { _ = again.Stop() })
				p.moved(again.BaseURL)
			})
			reset(w)
		})}, r)
	})
	defer starting.Wait()
	sent{
		prompts: 4, exit: exitPartial, kinds: kinds{"": 3, nebula.ErrTypeStreamBroken: 1, nebula.ErrTypeConnect: some},
		more: []string{"--patience", "1m"},
	}.through(t, p, env)
}
