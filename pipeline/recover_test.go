package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/schema"
)

// broken is a run whose process ends after some looks at the rings: its journal, in a dataset of its own, and how many
// bytes that held.
type broken struct {
	dir      string
	p        *Pipeline
	c        *campaign
	spans    *ring.SPSC[schema.SpanEvent]
	open     int     // the request in flight; -1 before the first
	header   int64   // bytes of its journal before the first look
	sizes    []int64 // and after each
	readings int
}

const (
	brokenRun  = "one"
	brokenName = "one-h"
)

// breakOff records what a campaign gives in so many looks, two thirds of a second each, and then nothing more.
func breakOff(t testing.TB, looks int) *broken { return breakOffFrom(t, looks, 1_000_000_000_000) }

func breakOffFrom(t testing.TB, looks int, startNS int64) *broken {
	t.Helper()
	b := &broken{dir: inMemory(t), c: newCampaign(), spans: ring.New[schema.SpanEvent](64), open: -1}
	b.c.now = startNS
	readings := ring.New[schema.Reading](1 << 12)
	run := &schema.Run{ID: brokenRun, Host: "h", Model: "m", CorpusID: "corpus"}
	p, err := Open(Config{Dir: b.dir, Run: run, Boards: benchBoardList(), Prompts: b.c.prompts, Readings: readings, Spans: []*ring.SPSC[schema.SpanEvent]{b.spans}})
	if err != nil {
		t.Fatal(err)
	}
	p.record.age, b.header, b.p = 0, p.journal.Size(), p
	b.goOn(t, looks, nil)
	return b
}

// inMemory is a folder that costs no disk's fsync, where there is one.
func inMemory(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "tracer-") //nolint:usetesting // t.TempDir knows no other filesystem
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// goOn records some looks more.
func (b *broken) goOn(t testing.TB, looks int, stop func(error)) {
	const each = 133
	for range looks {
		now := int64(0)
		for range each {
			r := b.c.reading(b.readings)
			for next := b.c.span(b.open + 1); next.StartNS <= r.StartNS; next = b.c.span(b.open + 1) {
				if b.open >= 0 {
					b.spans.Push(&schema.SpanEvent{Span: b.c.span(b.open)})
				}
				b.open++
				b.spans.Push(&schema.SpanEvent{OpenNS: next.StartNS - 1000, Opening: &schema.Span{RequestID: next.RequestID, Prompt: next.Prompt}})
			}
			b.p.Readings.Push(&r)
			b.readings, now = b.readings+1, r.EndNS
		}
		if err := b.p.step(now, false, stop); err != nil {
			t.Fatal(err)
		}
		b.sizes = append(b.sizes, b.p.journal.Size())
	}
}

// cut is a new dataset with the first bytes of the journal.
func (b *broken) cut(t require, size int64) (dir string) {
	dir, err := os.MkdirTemp(b.dir, "cut-")
	if err != nil {
		t.Fatal(err)
	}
	b.cutInto(t, dir, size)
	return dir
}

// cutInto puts the first bytes of the journal into a dataset.
func (b *broken) cutInto(t require, dir string, size int64) {
	text, err := os.ReadFile(journal.Path(b.dir, brokenName))
	if err != nil {
		t.Fatal(err)
	}
	path := journal.Path(dir, brokenName)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, text[:size], 0o600)); err != nil {
		t.Fatal(err)
	}
}

type require interface{ Fatal(args ...any) }

type fatal interface {
	require
	Fatalf(string, ...any)
}

// sums are the digests of a dataset's Parquet files but those of some tables.
func sums(t require, dir string, without ...string) map[string]string {
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		if err != nil || filepath.Ext(path) != ".parquet" || slices.Contains(without, strings.Split(name, "/")[0]) {
			return err
		}
		text, err := os.ReadFile(path)
		sum := sha256.Sum256(text)
		all[name] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A run's journal gives the same files, byte for byte, as the run itself.
func TestARecoveryGivesWhatTheRunWouldHave(t *testing.T) {
	b := breakOff(t, 20)
	other := filepath.Join(b.dir, "other")
	path := journal.Path(other, brokenName)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.Link(journal.Path(b.dir, brokenName), path)); err != nil { // outlives the commit
		t.Fatal(err)
	}
	b.p.Run.Status = schema.StatusComplete
	if err := b.p.step(0, true, nil); err != nil {
		t.Fatal(err)
	}
	want, err := b.p.Commit([]schema.Sampling{{Readings: 1}, {}, {}, {}}, "test")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Recover(other, brokenName, "test", false)
	if err != nil || !got.Whole || len(got.Damage) > 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	if !reflect.DeepEqual(got.Manifest, want) || !reflect.DeepEqual(sums(t, other), sums(t, b.dir, "prompts", "other")) {
		t.Errorf("recovered %+v,\npublished %+v", got.Manifest, want)
	}
	for _, dir := range []string{b.dir, other} {
		for _, folder := range []string{"journal", "tmp"} {
			if left, err := os.ReadDir(filepath.Join(dir, "_tracer", folder)); err != nil || len(left) > 0 {
				t.Errorf("left in %s: %v, %v", folder, left, err)
			}
		}
	}
}

// Wherever the journal breaks off, its rows are those of the whole run that come first, but for the ones whose stage
// nobody knows: they are counted.
func TestABrokenRunGivesAPrefixOfItsRows(t *testing.T) {
	b := breakOff(t, 12)
	whole := rowsOf(t, b, b.sizes[len(b.sizes)-1])
	if whole.readings == 0 || whole.Unlabelled == 0 {
		t.Fatalf("%+v", whole)
	}
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(b.header, b.sizes[len(b.sizes)-1]).Draw(t, "size")
		cut := rowsOf(t, b, size)
		looks := 0
		for looks < len(b.sizes) && b.sizes[looks] <= size {
			looks++
		}
		const each = 133
		if journalled := cut.readings + int(cut.Unlabelled); journalled < looks*each || journalled > (looks+1)*each {
			t.Errorf("%d readings of %d looks", journalled, looks)
		}
		for file, rows := range cut.rows {
			if !isPrefix(rows, whole.rows[file]) {
				t.Errorf("%s is no prefix", file)
			}
		}
		if cut.Run.Status != schema.StatusRecovered || cut.Run.End.MonotonicNS < cut.Run.Start.MonotonicNS {
			t.Errorf("run %+v", cut.Run)
		}
	})
}

type recoveredRows struct {
	Recovered
	readings int
	rows     map[string][]any // per samples file: instant, stage and request
}

func rowsOf(t fatal, b *broken, size int64) recoveredRows {
	dir := b.cut(t, size)
	r, err := Recover(dir, brokenName, "test", false)
	if err != nil {
		t.Fatal(err)
	}
	return rowsIn(t, dir, r)
}

// rowsIn are what a recovery published.
func rowsIn(t fatal, dir string, r Recovered) recoveredRows {
	out := recoveredRows{Recovered: r, rows: map[string][]any{}}
	for _, f := range r.Manifest.Files {
		if !strings.HasPrefix(f.Path, "samples/") {
			continue
		}
		columns := readFile(t, filepath.Join(dir, f.Path))
		for i := range columns["monotonic_ns"] {
			out.readings++
			out.rows[f.Path] = append(out.rows[f.Path], fmt.Sprint(columns["monotonic_ns"][i], columns["inference_stage"][i], columns["request_id"][i], columns["power_instant_w"][i]))
		}
	}
	return out
}

func isPrefix(a, of []any) bool { return len(a) <= len(of) && slices.Equal(a, of[:len(a)]) }

// A publication may break off after any step: the next recovery goes on with it, and comes to the same files.
func TestAPublicationThatBrokeOffIsGoneOnWith(t *testing.T) {
	b := breakOff(t, 12)
	size := b.sizes[len(b.sizes)-1]
	dir := b.cut(t, size)
	done, err := Recover(dir, brokenName, "test", false)
	if err != nil {
		t.Fatal(err)
	}
	want, n := sums(t, dir), len(done.Manifest.Files)
	for moved := 0; moved <= n+1; moved++ {
		for _, harm := range harms(moved, n) {
			broken := b.cut(t, size)
			if _, err := Recover(broken, brokenName, "test", false); err != nil {
				t.Fatal(err)
			}
			b.cutInto(t, broken, size)
			tmp := filepath.Join(broken, "_tracer", "tmp", brokenName)
			intent, commit := filepath.Join(tmp, "manifest"), filepath.Join(broken, "_tracer", "commits", brokenName+".json")
			if err := os.Mkdir(tmp, 0o755); err != nil {
				t.Fatal(err)
			}
			if moved <= n {
				if err := os.Rename(commit, intent); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range done.Manifest.Files[min(moved, n):] {
				sum := sha256.Sum256([]byte(f.Path))
				if err := os.Rename(filepath.Join(broken, f.Path), filepath.Join(tmp, hex.EncodeToString(sum[:8])+".part")); err != nil {
					t.Fatal(err)
				}
				if harm == "part lost" {
					_ = os.RemoveAll(filepath.Join(tmp, hex.EncodeToString(sum[:8])+".part"))
				}
			}
			if harm == "intent torn" {
				if err := os.Truncate(intent, 100); err != nil {
					t.Fatal(err)
				}
			}
			r, err := Recover(broken, brokenName, "test", false)
			if err != nil || r.Manifest.RunID == "" && moved <= n {
				t.Fatalf("%d files moved, %s: %+v, %v", moved, harm, r, err)
			}
			if got := sums(t, broken); !reflect.DeepEqual(got, want) {
				t.Errorf("%d files moved, %s: %v, want %v", moved, harm, got, want)
			}
			if _, err := Recover(broken, brokenName, "test", false); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%d files moved, %s: the journal is still there: %v", moved, harm, err)
			}
		}
	}
}

// harms are what else can have happened when so many files were moved. Before the first is moved the intent is on disk.
func harms(moved, of int) []string {
	switch moved {
	case 0:
		return []string{"none", "intent torn", "part lost"}
	case of / 2:
		return []string{"none", "part lost"}
	}
	return []string{"none"}
}

// When parts cannot be written the run is to stop, but what arrives until then is journalled and committed.
func TestPartsThatCannotBeWrittenAreMadeFromTheJournal(t *testing.T) {
	b := breakOff(t, 12)
	if err := b.p.step(0, true, nil); err != nil {
		t.Fatal(err)
	}
	whole, err := b.p.Commit(make([]schema.Sampling, benchBoards), "test")
	if err != nil {
		t.Fatal(err)
	}
	b = breakOff(t, 6)
	for key, part := range b.p.parts { // as a full disk does
		part.Discard()
		delete(b.p.parts, key)
	}
	if err := os.RemoveAll(b.p.out.Tmp()); err != nil {
		t.Fatal(err)
	}
	var stopped error
	b.goOn(t, 6, func(err error) { stopped = err })
	if !errors.Is(stopped, ErrDisk) {
		t.Errorf("stopped by %v", stopped)
	}
	got, err := b.p.Commit(make([]schema.Sampling, benchBoards), "test")
	if err != nil || !reflect.DeepEqual(got.Files, whole.Files) {
		t.Errorf("%+v, %v, want %+v", got, err, whole)
	}
}

// However long a request is, the readings that wait for its end take no memory: they are read back from the journal.
func TestReadingsWaitInTheJournal(t *testing.T) {
	b := breakOff(t, 1)
	b.spans.Push(&schema.SpanEvent{OpenNS: b.c.reading(b.readings).StartNS})
	before := b.p.labelled[0]
	for range 100 {
		for range 133 {
			r := b.c.reading(b.readings)
			b.p.Readings.Push(&r)
			b.readings++
		}
		if err := b.p.step(clock.Now(), false, nil); err != nil {
			t.Fatal(err)
		}
		if held := len(b.p.batch) + len(b.p.record.pending); held > 2*133 || b.p.labelled[0]-before > 133 {
			t.Fatalf("%d readings are in memory, %d were labelled", held, b.p.labelled[0]-before)
		}
	}
	b.spans.Push(&schema.SpanEvent{Span: b.c.span(0)})
	if err := b.p.step(0, true, nil); err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, n := range b.p.labelled {
		total += n
	}
	if total != int64(b.readings) {
		t.Errorf("%d of %d readings are labelled", total, b.readings)
	}
}

// Requests are synced with the readings' next batch, and where no board is read any more without one.
func TestRequestsAreSynced(t *testing.T) {
	b := breakOff(t, 1)
	b.p.record.syncs.wanted = make(chan struct{}, 1)
	step := func(age time.Duration) (wanted bool) {
		b.p.record.age, b.p.record.flushed = age, clock.Now()
		if err := b.p.step(clock.Now(), false, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-b.p.record.syncs.wanted:
			return true
		default:
			return false
		}
	}
	step(0)
	b.spans.Push(&schema.SpanEvent{OpenNS: b.c.reading(b.readings).StartNS})
	for _, next := range []struct {
		age    time.Duration
		wanted bool
	}{{time.Hour, false}, {0, true}, {0, false}} {
		if wanted := step(next.age); wanted != next.wanted {
			t.Errorf("at an age of %v: an fsync is wanted: %v", next.age, wanted)
		}
	}
}

// A slow disk is told early, and once.
func TestASlowDiskIsTold(t *testing.T) {
	b := breakOff(t, 1)
	var notes []string
	b.p.Note = func(what string) { notes = append(notes, what) }
	b.p.watch()
	if len(notes) > 0 {
		t.Errorf("told without a reason: %q", notes)
	}
	b.p.record.syncs.since.Store(clock.Now() - int64(2*slowSync)) // an fsync that does not come back
	for range b.p.Readings.Cap()/2 + 1 {
		b.p.Readings.Push(&schema.Reading{})
	}
	for range 3 {
		b.p.watch()
	}
	if len(notes) != 2 || !strings.Contains(notes[0], "ring was 50 % full") || !strings.Contains(notes[1], "an fsync of the journal took 2") {
		t.Errorf("told %q", notes)
	}
	run := schema.Run{}
	if b.p.record.sum(&run); run.RingPeak.V < 0.5 || run.RingPeak.V > 0.51 {
		t.Errorf("ring peak %v", run.RingPeak)
	}
}
