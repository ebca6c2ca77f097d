package report

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromiumEnv names the browser; scripts/chromium.sh prints its path.
const chromiumEnv = "TRACER_CHROMIUM"

// tab is a page that is open in Chromium, and what it complained about and asked for.
type tab struct {
	*testing.T
	context.Context //nolint:containedctx // chromedp's tab is one
	downloads       string
	saved           chan string

	mu         sync.Mutex
	complaints []string
}

// open writes a model as a page and opens it; when the test ends, the page must have complained of nothing and asked for
// nothing.
func open(t *testing.T, m *Model, width, height int) *tab {
	t.Helper()
	program := os.Getenv(chromiumEnv)
	if program == "" {
		var err error
		if program, err = exec.LookPath("chromium"); err != nil {
			t.Skipf("%s is not set and there is no chromium: scripts/chromium.sh installs one", chromiumEnv)
		}
	}
	path := filepath.Join(t.TempDir(), "report.html")
	var text bytes.Buffer
	if err := m.WriteHTML(&text); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WindowSize(width, height))
	allocated, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocated)
	t.Cleanup(cancel)
	b := &tab{T: t, Context: ctx, downloads: t.TempDir(), saved: make(chan string, 100)}
	b.must(chromedp.Listen(ctx, b.listen))
	b.must(chromedp.ListenBrowser(ctx, func(event any) {
		if e, ok := event.(*browser.EventDownloadProgress); ok && e.State == browser.DownloadProgressStateCompleted {
			b.saved <- filepath.Join(b.downloads, e.GUID)
		}
	}))
	b.Context, cancel = context.WithTimeout(ctx, 90*time.Second) // after the browser has started, which lives as long as the other
	t.Cleanup(cancel)
	_, err := chromedp.CallBrowser(b.Context, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllowAndName, DownloadPath: b.downloads, EventsEnabled: new(true),
	})
	b.must(err)
	_, err = chromedp.Call(b.Context, network.Enable, network.EnableParams{})
	b.must(err)
	_, err = chromedp.Call(b.Context, log.Enable, cdp.Empty{})
	b.must(err)
	b.run(chromedp.EmulateViewport(int64(width), int64(height)), chromedp.Navigate("file://"+path), chromedp.WaitReady(chromedp.CSS("html[data-ready]")))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, c := range b.complaints {
			t.Error(c)
		}
	})
	return b
}

func (b *tab) listen(event any) {
	complaint := ""
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		complaint = fmt.Sprintf("console.%s was called: %s", e.Type, e.Args[0].Value)
	case *runtime.EventExceptionThrown:
		complaint = "exception: " + e.ExceptionDetails.Text
	case *log.EventEntryAdded:
		complaint = fmt.Sprintf("the browser's log: %s (%s)", e.Entry.Text, e.Entry.URL)
	case *network.EventRequestWillBeSent:
		scheme, _, _ := strings.Cut(e.Request.URL, ":")
		if scheme != "file" && scheme != "data" && scheme != "blob" {
			complaint = "the page asked for " + e.Request.URL
		}
	}
	if complaint != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.complaints = append(b.complaints, complaint)
	}
}

func (b *tab) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *tab) run(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	b.must(chromedp.Do(b.Context, steps...))
}

// eval is the value of an expression in the page.
func eval[T any](b *tab, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.Context, chromedp.Evaluate[T](expression))
	b.must(err)
	return v
}

func (b *tab) click(selector string) {
	b.Helper()
	b.run(chromedp.Click(chromedp.CSS(selector)))
}

// picture is what the screen shows of an element.
func (b *tab) picture(selector string) image.Image {
	b.Helper()
	raw, err := chromedp.Run(b.Context, chromedp.Screenshot(chromedp.CSS(selector)))
	b.must(err)
	picture, err := png.Decode(bytes.NewReader(raw))
	b.must(err)
	return picture
}

// drawn counts an image's pixels of a CSS variable's colour, give or take what smoothing does to edges.
func (b *tab) drawn(picture image.Image, variable string) (n int) {
	b.Helper()
	var want color.RGBA
	if _, err := fmt.Sscanf(eval[string](b, "css('"+variable+"')"), "#%02x%02x%02x", &want.R, &want.G, &want.B); err != nil {
		b.Fatal(err)
	}
	near := func(a uint32, b uint8) bool { return max(a>>8, uint32(b))-min(a>>8, uint32(b)) < 12 }
	for y := range picture.Bounds().Dy() {
		for x := range picture.Bounds().Dx() {
			if r, g, bl, _ := picture.At(x, y).RGBA(); near(r, want.R) && near(g, want.G) && near(bl, want.B) {
				n++
			}
		}
	}
	return n
}

// download is what a button saves.
func (b *tab) download(selector string) string {
	b.Helper()
	b.click(selector)
	select {
	case path := <-b.saved:
		text, err := os.ReadFile(path)
		b.must(err)
		return string(text)
	case <-b.Done():
		b.Fatalf("%s saved nothing", selector)
		return ""
	}
}
