package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/versitygw"
	"github.com/llm-tracer/tracer/pipeline/store"
)

// dial opens a dataset of a test's on a server, or on a proxy before it.
func dial(t *testing.T, endpoint string) *Bucket { return dialAt(t, endpoint, "dataset") }

func dialAt(t *testing.T, endpoint, prefix string) *Bucket {
	t.Helper()
	t.Setenv("AWS_MAX_ATTEMPTS", "1") // the SDK's own: they come on top of ours
	for _, pair := range versitygw.Environ("") {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
	at, err := Parse("s3://" + versitygw.Bucket + "/" + prefix + "?endpoint=" + endpoint)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(context.Background(), at)
	if err != nil {
		t.Fatal(err)
	}
	b.wait = 10 * time.Millisecond
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// large is more than goes in one request.
func large(fill byte) (object, *bytes.Reader) {
	body := bytes.Repeat([]byte{fill}, 20<<20)
	return object{key: "samples/large.parquet", sum: sumOf(body), size: int64(len(body))}, bytes.NewReader(body)
}

func TestAnObjectIsMadeOnceAndNeverReplaced(t *testing.T) {
	server := versitygw.Start(t)
	b, ctx := dial(t, server.Endpoint), context.Background()
	first, body := large('a')
	if created, err := b.put(ctx, first, body); err != nil || !created {
		t.Fatal(created, err)
	}
	if created, err := b.put(ctx, first, body); err != nil || created {
		t.Fatalf("the same bytes again: %v, %v", created, err)
	}
	other, body := large('b')
	if _, err := b.put(ctx, other, body); !errors.Is(err, ErrConflict) {
		t.Fatalf("other bytes: %v", err)
	}
	if stands, err := os.ReadFile(filepath.Join(server.Folder, "dataset", first.key)); err != nil || sumOf(stands) != first.sum {
		t.Fatalf("the object was touched: %v", err)
	}
}

// proxy passes requests on to a server, but for those that does takes.
func proxy(t *testing.T, server *versitygw.Server, does func(n int, w http.ResponseWriter, r *http.Request, pass http.Handler) bool) (endpoint string, asked *atomic.Int64) {
	t.Helper()
	at, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(at)
		r.Out.Host = r.In.Host // it is signed
	}}
	asked = new(atomic.Int64)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || !does(int(asked.Add(1)), w, r, pass) {
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	return front.URL, asked
}

// refuse answers as an S3 server does that will not.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>told by the test</Message></Error>", code)
}

// cut breaks a connection off in the middle of a request's body.
func cut(w http.ResponseWriter, r *http.Request) {
	_, _ = io.CopyN(io.Discard, r.Body, 1000)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func TestAPutIsTriedAgainWhereThatHelps(t *testing.T) {
	server := versitygw.Start(t)
	body := bytes.Repeat([]byte("row"), 1<<20)
	for name, does := range map[string]func(int, http.ResponseWriter, *http.Request, http.Handler) bool{
		"busy": func(n int, w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
			if n > 2 {
				return false
			}
			refuse(w, http.StatusServiceUnavailable, "SlowDown")
			return true
		},
		"cut off": func(n int, w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if n > 2 {
				return false
			}
			cut(w, r)
			return true
		},
		"answer lost": func(n int, w http.ResponseWriter, r *http.Request, pass http.Handler) bool {
			if n > 1 {
				return false
			}
			pass.ServeHTTP(httptest.NewRecorder(), r)
			cut(w, r)
			return true
		},
		"answer lost, and no other but a broken connection": func(n int, w http.ResponseWriter, r *http.Request, pass http.Handler) bool {
			if n == 1 {
				pass.ServeHTTP(httptest.NewRecorder(), r)
			}
			cut(w, r)
			return true
		},
		"somebody else is writing it": func(n int, w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
			if n > 1 {
				return false
			}
			refuse(w, http.StatusConflict, "ConditionalRequestConflict")
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			endpoint, _ := proxy(t, server, does)
			o := object{key: strings.NewReplacer(" ", "-", ",", "").Replace(name) + ".parquet", sum: sumOf(body), size: int64(len(body))}
			if _, err := dial(t, endpoint).put(context.Background(), o, bytes.NewReader(body)); err != nil {
				t.Fatal(err)
			}
			if stands, err := os.ReadFile(filepath.Join(server.Folder, "dataset", o.key)); err != nil || !bytes.Equal(stands, body) {
				t.Errorf("the object: %d bytes, %v", len(stands), err)
			}
		})
	}
}

func TestAPutThatCannotBeDoneEndsWithOneErrorAndItsMend(t *testing.T) {
	server := versitygw.Start(t)
	for name, c := range map[string]struct {
		does func(w http.ResponseWriter, r *http.Request)
		most int64 // requests
		says string
	}{
		"busy":           {func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "SlowDown") }, 4, "SlowDown: told by the test; see whether the store can be reached and is well"},
		"cut off":        {cut, 4, "see whether the store can be reached and is well"},
		"silent":         {func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() }, 4, "the store did not answer in time; see whether"},
		"read only":      {func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "AccessDenied") }, 1, "AccessDenied: told by the test; the credentials may not do that here"},
		"expired":        {func(w http.ResponseWriter, _ *http.Request) { refuse(w, 400, "ExpiredToken") }, 1, "get new credentials"},
		"clock":          {func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "RequestTimeTooSkewed") }, 1, "this machine's clock and the store's differ"},
		"other region":   {func(w http.ResponseWriter, _ *http.Request) { refuse(w, 400, "AuthorizationHeaderMalformed") }, 1, "the bucket is in another region"},
		"no conditions":  {func(w http.ResponseWriter, _ *http.Request) { refuse(w, 501, "NotImplemented") }, 4, "this store lacks what tracer needs of it"},
		"its room is up": {func(w http.ResponseWriter, _ *http.Request) { refuse(w, 400, "QuotaExceeded") }, 1, "make room in the store"},
	} {
		t.Run(name, func(t *testing.T) {
			endpoint, asked := proxy(t, server, func(_ int, w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				c.does(w, r)
				return true
			})
			b, body := dial(t, endpoint), []byte(name)
			b.patience = time.Second
			o := object{key: name + ".parquet", sum: sumOf(body), size: int64(len(body))}
			_, err := b.put(context.Background(), o, bytes.NewReader(body))
			if fault, ok := errors.AsType[*RequestError](err); !ok || !strings.Contains(fault.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
			if asked.Load() > c.most {
				t.Errorf("%d requests, want %d at most", asked.Load(), c.most)
			}
			if _, err := os.Stat(filepath.Join(server.Folder, "dataset", o.key)); err == nil {
				t.Error("an object stands there")
			}
		})
	}
}

// A reader that goes by manifests finds nothing of a push that broke off, whichever request was its last, and all of it
// after the next.
func TestAPushThatBreaksOffAnywhereIsGoneOnWith(t *testing.T) {
	server := versitygw.Start(t)
	const sample = "../../datasets/sample"
	for last := 1; ; last += 7 {
		prefix := fmt.Sprint("broken-off-", last)
		endpoint, _ := proxy(t, server, func(n int, w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
			if n >= last {
				refuse(w, http.StatusForbidden, "AccessDenied")
			}
			return n >= last
		})
		broken := dialAt(t, endpoint, prefix).Push(context.Background(), sample, func(Pushed) {})
		b := dialAt(t, server.Endpoint, prefix)
		there := 0
		view, err := b.View(context.Background(), t.TempDir(), Look{})
		if !errors.Is(err, store.ErrNoDataset) {
			if err != nil {
				t.Fatal(err)
			}
			catalog, err := store.ReadCatalog(view.Dir)
			if err != nil {
				t.Fatal(err)
			}
			for path := range catalog.Live() {
				if _, err := os.Stat(filepath.Join(view.Dir, path)); err != nil {
					t.Errorf("broken off before put %d: a manifest names what is not there: %v", last, err)
				}
			}
			there = len(catalog.Runs)
			if err := view.Close(); err != nil {
				t.Error(err)
			}
		}
		if broken == nil {
			if there != 3 {
				t.Errorf("%d runs after a whole push", there)
			}
			return
		}
		if err := b.Push(context.Background(), sample, func(Pushed) {}); err != nil {
			t.Fatalf("broken off before put %d: the next push: %v", last, err)
		}
		if n, err := b.Runs(context.Background()); n != 3 || err != nil {
			t.Errorf("%d runs, %v", n, err)
		}
	}
}

func TestAViewFindsWhatIsDamagedAndVerifiesItAnew(t *testing.T) {
	server := versitygw.Start(t)
	b, ctx, cache := dial(t, server.Endpoint), context.Background(), t.TempDir()
	if err := b.Push(ctx, "../../datasets/sample", func(Pushed) {}); err != nil {
		t.Fatal(err)
	}
	object := filepath.Join(server.Folder, "dataset", "runs", "sample-a10-vm.parquet")
	if err := os.WriteFile(object, []byte("garbage"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := b.View(ctx, cache, Look{}); !errors.Is(err, ErrChanged) {
		t.Errorf("a damaged object: %v", err)
	}
	view, err := b.View(ctx, cache, Look{Anew: true})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(view.Dir, "runs", "sample-a10-vm.parquet")); string(text) != "garbage" {
		t.Errorf("verify would see %q, %v", text, err)
	}
	if err := view.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(cache, "views")); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
