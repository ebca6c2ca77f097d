package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/llm-tracer/tracer/internal/versitygw"
)

// quickRun is two requests in two seconds.
var quickRun = []string{"collect", "--gpu", "sim:A10", "--endpoint", "sim", "--sizes", "10", "--prompts", "1", "--idle", "1s", "--warmup", "0", "--calibrate", "off"}

func quickly(url string, more ...string) []string {
	return append(append(append([]string{}, quickRun...), "--out", url), more...)
}

// A store that cannot be written to is found out before anything is measured: with one error, its mend, and its exit code.
func TestCollectRefusesAStoreItCannotWriteTo(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	server := versitygw.Over(t, folder)
	readOnly := versitygw.Over(t, folder, "--readonly")
	const secret = "not-the-secret"
	for name, c := range map[string]struct {
		endpoint, url, set string
		code               int
		says               string
	}{
		"bucket missing": {server.Endpoint, "s3://missing/x", "", exitEnvironment, "NoSuchBucket: The specified bucket does not exist.; make the bucket missing first"},
		"wrong secret":   {server.Endpoint, bucketURL + "x", "AWS_SECRET_ACCESS_KEY=" + secret, exitEnvironment, "SignatureDoesNotMatch"},
		"wrong key":      {server.Endpoint, bucketURL + "x", "AWS_ACCESS_KEY_ID=nobody", exitEnvironment, "the store does not know that key"},
		"no key":         {server.Endpoint, bucketURL + "x", "AWS_ACCESS_KEY_ID=", exitEnvironment, "no credentials were found; set AWS_ACCESS_KEY_ID"},
		"read only":      {readOnly.Endpoint, bucketURL + "x", "", exitEnvironment, "putting README.md: AccessDenied: Access Denied.; the credentials may not do that here"},
		"unreachable":    {"http://127.0.0.1:1", bucketURL + "x", "AWS_MAX_ATTEMPTS=1", exitEnvironment, "connection refused; see whether the store can be reached"},
		"key in the URL": {server.Endpoint, "s3://key:" + secret + "@bucket/x", "", exitUsage, "leave it out and set it in the environment"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := userOf(t, c.endpoint)
			if c.set != "" {
				u.env = append(u.env, c.set)
			}
			said := u.does(c.code, quickly(c.url)...)
			if !strings.Contains(said, c.says) || strings.Contains(said, secret) || strings.Count(said, "tracer: ") != 1 {
				t.Errorf("it says %s\nwant one error with %q", said, c.says)
			}
		})
	}
}

// front is a proxy that lets through what may pass.
func front(t *testing.T, server *versitygw.Server, mayPass func(*http.Request) bool) string {
	t.Helper()
	at, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{ErrorLog: quiet, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(at)
		r.Out.Host = r.In.Host // it is signed
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !mayPass(r) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestARunWhoseStoreFailsIsKeptInTheSpoolAndPushedLater(t *testing.T) {
	t.Parallel()
	server := versitygw.Start(t)
	ill := front(t, server, func(r *http.Request) bool {
		return r.Method != http.MethodPut || strings.HasSuffix(r.URL.Path, "README.md")
	})
	u, url := userOf(t, ill), bucketURL+"kept"
	u.env = append(u.env, "AWS_MAX_ATTEMPTS=1")
	said := u.does(exitEnvironment, quickly(url, "--run-id", "one")...)
	for _, want := range []string{"requests: 2 valid", "Run one is committed and whole in " + u.home, "; tracer push " + url + " puts it into the store"} {
		if strings.Count(said, want) != 1 {
			t.Errorf("it says %s\nwant once %q", said, want)
		}
	}
	u.env = append(u.env, versitygw.Environ(server.Endpoint)...)
	if said := u.does(exitUsage, "summary", url); !strings.Contains(said, "there is no manifest") {
		t.Errorf("readers find something of it: %s", said)
	}
	if said := u.does(exitOK, quickly(url, "--run-id", "two")...); !strings.Contains(said, "note: 1 run(s) in "+u.home) || !strings.Contains(said, "(one-") {
		t.Errorf("the next collect does not tell of it: %s", said)
	}
	u.does(exitOK, "push", url)
	if said := u.does(exitOK, "verify", "--strict", url); !strings.Contains(said, "2 runs") {
		t.Error(said)
	}
	if said := u.does(exitConflict, quickly(url, "--run-id", "one")...); !strings.Contains(said, "run id is taken") {
		t.Error(said)
	}
}

func TestAStoreThatHoldsAnotherRunOfThatNameIsAConflict(t *testing.T) {
	t.Parallel()
	server := versitygw.Start(t)
	a, b, url := userOf(t, server.Endpoint), userOf(t, server.Endpoint), bucketURL+"two"
	local := []string{filepath.Join(a.home, "local"), filepath.Join(b.home, "local")}
	for _, dir := range local { // the same name for other measurements
		collectOrFail(t, nil, quickly(dir, "--run-id", "same")...)
	}
	a.does(exitOK, "push", local[0], url)
	if said := b.does(exitConflict, "push", local[1], url); !strings.Contains(said, "the store holds another object of that name") {
		t.Error(said)
	}
	a.does(exitOK, "verify", "--strict", url)
	a.does(exitOK, "push", local[0], url) // it stayed what it was
}

func TestCtrlCEndsAPushThatIsGoneOnWith(t *testing.T) {
	t.Parallel()
	server := versitygw.Start(t)
	begun, once := make(chan struct{}), sync.Once{}
	slow := front(t, server, func(r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".parquet") {
			once.Do(func() { close(begun) })
			_, _ = io.Copy(io.Discard, r.Body) // a server notices that a client has gone once it has read what that sent
			<-r.Context().Done()
			return false
		}
		return true
	})
	u, dir, url := userOf(t, slow), sampleDataset(t), bucketURL+"sample"
	push := u.command("push", dir, url)
	if err := push.Start(); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := push.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = push.Wait()
	if got := push.ProcessState; got.ExitCode() != exitFailure {
		t.Errorf("exit code %d, signalled %v", got.ExitCode(), got.Sys().(syscall.WaitStatus).Signaled())
	}
	u.env = append(u.env, versitygw.Environ(server.Endpoint)...)
	u.does(exitOK, "push", dir, url)
	u.does(exitOK, "verify", "--strict", url)
}
