package nebula

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// nobody is told of arrivals.
type nobody struct{}

func (nobody) touch(int64) {}

func record(r io.Reader, maxLine, maxTotal int) (*recording, error) {
	rec := new(recording)
	rec.reset(maxLine, maxTotal, maxTotal)
	return rec, rec.read(r, nobody{})
}

// pieces returns a text in reads of the given sizes, over and over.
type pieces struct {
	text  string
	sizes []byte
	next  int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	size := len(p.text)
	if len(p.sizes) > 0 {
		size = int(p.sizes[p.next%len(p.sizes)]) + 1
		p.next++
	}
	n := copy(b, p.text[:min(size, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}

// FuzzStream decodes any bytes, cut anywhere: it never fails, never keeps more than its bounds, and where the reads end
// makes no difference to what is understood.
func FuzzStream(f *testing.F) {
	transcripts, err := filepath.Glob("testdata/llm/*.txt")
	if err != nil || len(transcripts) == 0 {
		f.Fatal("no transcripts")
	}
	for _, path := range transcripts {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), []byte{0, 3, 100})
		_, body, _ := strings.Cut(string(text), "\r\n\r\n")
		f.Add(body, []byte{7})
	}
	f.Add("data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"text\":5}],\"usage\":{\"prompt_tokens\":1e300}}\r\ndata: [DONE]", []byte{1})
	f.Add("error: {\"error\":[]}\n\ndata: null\n\ndata: 5\n\ndata: [DONE]\n", []byte{0})
	f.Fuzz(func(t *testing.T, text string, sizes []byte) {
		const maxLine, maxTotal = 4 << 10, 64 << 10
		whole, errWhole := record(strings.NewReader(text), maxLine, maxTotal)
		cut, errCut := record(&pieces{text: text, sizes: sizes}, maxLine, maxTotal)
		if errWhole == nil != (errCut == nil) || whole.finished != cut.finished {
			t.Fatalf("whole: %v %v, cut: %v %v", errWhole, whole.finished, errCut, cut.finished)
		}
		if cap(cut.bytes) > maxTotal+1+cap(cut.bytes)/4 {
			t.Fatalf("kept %d bytes", cap(cut.bytes))
		}
		if errWhole != nil {
			if !errors.Is(errWhole, errTooLarge) {
				t.Fatal(errWhole)
			}
			return
		}
		a, b := understood(whole), understood(cut)
		if a != b {
			t.Fatalf("%+v\n%+v", a, b)
		}
	})
}

// gist is what is understood of a recording, without instants.
type gist struct {
	events, garbage, tokens int
	other                   bool
	model, finish, text     string
	refused                 bool
}

func understood(r *recording) gist {
	events, other := r.events()
	a := decode(events, true)
	return gist{a.events, a.garbage, len(a.tokensNS), other, a.model, a.finish, a.text, a.refusal != nil}
}

func TestLinesAreWhatWasSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.StringMatching(`[a-z:{} \r]{0,40}`)).Draw(t, "lines")
		sizes := rapid.SliceOfN(rapid.Byte(), 1, 8).Draw(t, "sizes")
		r, err := record(&pieces{text: strings.Join(lines, "\n"), sizes: sizes}, 1<<10, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		last := int64(-1 << 62)
		for _, l := range r.lines {
			got = append(got, string(r.text(l)))
			if l.arrivedNS < last {
				t.Fatal("a line arrived before the one before it")
			}
			last = l.arrivedNS
		}
		if want := strings.TrimSuffix(strings.Join(lines, "\n"), "\n"); strings.Join(got, "\n") != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestBrokenReadKeepsWhatCameBefore(t *testing.T) {
	lost := errors.New("lost")
	r, err := record(io.MultiReader(strings.NewReader(says("x")+"\n\ndata: {\"cho"), iotest.ErrReader(lost)), 1<<20, 1<<20)
	if !errors.Is(err, lost) || len(r.lines) != 2 || understood(r).tokens != 1 || understood(r).garbage != 0 {
		t.Errorf("%v, %+v", err, understood(r))
	}
}

func TestRecordingKeepsItsBuffers(t *testing.T) {
	r, err := record(strings.NewReader(says("x")+"\n\n"+done+"\n"), 1<<20, 1<<20)
	if err != nil || !r.finished {
		t.Fatal(err)
	}
	before := cap(r.bytes)
	r.reset(1<<20, 1<<20, 1<<20)
	if r.finished || len(r.lines) > 0 || len(r.bytes) > 0 || cap(r.bytes) != before {
		t.Errorf("%+v", r)
	}
}

// BenchmarkRecording is the cost of stamping one line of a stream, one line a read as it is while a model decodes.
func BenchmarkRecording(b *testing.B) {
	line := []byte(`data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"qs"}}],"created":1795444612,` +
		`"id":"chatcmpl-cWd8laAnrr0u06i3JkZgPkcq2PZ5MM52","model":"tiny","object":"chat.completion.chunk"}` + "\n\n")
	r := new(recording)
	lines := func(n int) { // events, of two lines each
		r.reset(1<<20, 1<<30, 1<<30)
		if err := r.read(io.LimitReader(&again{line: line}, int64(n*len(line))), nobody{}); err != nil {
			b.Fatal(err)
		}
	}
	const batch = 1000
	lines(batch) // the buffers grow once
	b.ReportAllocs()
	for b.Loop() {
		lines(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/event")
}

// again reads as one line after another.
type again struct{ line []byte }

func (a *again) Read(b []byte) (int, error) { return copy(b, a.line), nil }

// BenchmarkDecoding is the cost of one chunk once the stream is over.
func BenchmarkDecoding(b *testing.B) {
	text, err := os.ReadFile("testdata/llm/llama-chat-nousage.txt")
	if err != nil {
		b.Fatal(err)
	}
	_, body, _ := bytes.Cut(text, []byte("\r\n\r\n"))
	r, err := record(bytes.NewReader(body), 1<<20, 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		events, _ := r.events()
		n += decode(events, false).events
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
}
