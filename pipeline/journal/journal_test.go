package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

func header() *Header {
	return &Header{
		Run:    schema.Run{ID: "one", Host: "h", Template: schema.Some(int32(7)), Start: clock.Pair{MonotonicNS: 1, WallNS: 2}},
		Boards: []schema.Board{{UUID: "GPU-0", ECC: schema.Some(true)}, {UUID: "GPU-1"}}, Sampling: make([]schema.Sampling, 2), Workers: 2,
	}
}

func created(t testing.TB) *Journal {
	j, err := Create(Path(t.TempDir(), "one-h"), header(), memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// drawReading fills every field of a reading, or leaves it absent.
func drawReading(t *rapid.T) (r schema.Reading) {
	r.Board = rapid.Int32Range(0, 1).Draw(t, "board")
	for _, f := range reflect.ValueOf(&r).Elem().Fields() {
		switch {
		case f.Kind() == reflect.Int64:
			f.SetInt(rapid.Int64().Draw(t, "instant"))
		case f.Kind() == reflect.Struct && rapid.Bool().Draw(t, "present"):
			f.FieldByName("OK").SetBool(true)
			switch x := f.FieldByName("V"); x.Kind() {
			case reflect.Bool:
				x.SetBool(rapid.Bool().Draw(t, "bool"))
			case reflect.Int32, reflect.Int64:
				x.SetInt(int64(rapid.Int32().Draw(t, "int")))
			case reflect.Float32, reflect.Float64:
				x.SetFloat(float64(rapid.Float32().Draw(t, "float")))
			}
		}
	}
	return r
}

func TestReadingsComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		j := created(t)
		defer j.Close()
		var want, got []schema.Reading
		for range rapid.IntRange(0, 4).Draw(r, "batches") {
			batch := rapid.SliceOfN(rapid.Custom(drawReading), 1, 20).Draw(r, "batch")
			if err := j.Readings(Look{}, batch); err != nil {
				r.Fatal(err)
			}
			if err := j.Opened(1, 5, nil); err != nil {
				r.Fatal(err)
			}
			want = append(want, batch...)
		}
		rows, batch := j.Rows(), []schema.Reading(nil)
		for {
			var err error
			if batch, err = rows.Next(j.Size(), batch); err != nil {
				r.Fatal(err)
			}
			if len(batch) == 0 {
				break
			}
			got = append(got, batch...)
		}
		if !reflect.DeepEqual(got, want) {
			r.Fatalf("got %v, want %v", got, want)
		}
	})
}

// filled is a journal with one frame of each kind, and what a replay of it gives.
func filled(t *testing.T) (j *Journal, want []Event) {
	j = created(t)
	span := &schema.Span{RequestID: "r", StartNS: 5, FirstTokenNS: schema.Some(int64(6)), ErrorMessage: "not kept", Prompt: &schema.Prompt{ID: "p", Text: "not kept", Repetition: 2}}
	look := Look{NS: 7, Clock: clock.Pair{MonotonicNS: 8, WallNS: 9}}
	kept, prompt := *span, *span.Prompt
	kept.ErrorMessage, prompt.Text, kept.Prompt = "", "", &prompt
	run := schema.Run{ID: "one", Status: schema.StatusComplete, RingPeak: schema.Some(0.25)}
	for _, err := range []error{
		j.Opened(1, 4, span), j.Answering(1, 6), j.Readings(look, []schema.Reading{{Board: 1, StartNS: 3, EndNS: 4}}), j.Closed(1, span),
		j.End(&run, []schema.Sampling{{Readings: 3}, {}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return j, []Event{{Worker: 1, OpenNS: 4, Opening: &kept}, {Worker: 1, FirstTokenNS: 6}, {Look: look}, {Worker: 1, Span: &kept}, {End: &End{run, []schema.Sampling{{Readings: 3}, {}}}}}
}

func replayed(t require, j *Journal) (all []Event, end error) {
	events, err := j.Replay()
	if err != nil {
		t.Fatal(err)
	}
	var found error
	for {
		e, err := events.Next()
		switch d, damaged := errors.AsType[*DamageError](err); {
		case damaged:
			if found = err; !d.Inside {
				return all, err
			}
		case err != nil && found != nil:
			return all, found
		case err != nil:
			return all, err
		default:
			all = append(all, e)
		}
	}
}

type require interface{ Fatal(args ...any) }

func TestAReplayGivesWhatWasAppended(t *testing.T) {
	j, want := filled(t)
	path := j.path
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, err := Open(path, memory.DefaultAllocator, false)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	named := header()
	named.Columns = columnsSum
	if !reflect.DeepEqual(j.Header, named) {
		t.Errorf("header %+v", j.Header)
	}
	got, end := replayed(t, j)
	if !errors.Is(end, io.EOF) || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v and %v, want %+v", got, end, want)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// The readings' payloads, put together, are a stream that any reader of Arrow takes.
func TestPayloadsMakeOneArrowStream(t *testing.T) {
	j := created(t)
	defer j.Close()
	for i := range 3 {
		if err := j.Readings(Look{}, make([]schema.Reading, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	var stream bytes.Buffer
	p := position{j: j, at: int64(len(magic))}
	for {
		k, err := p.read()
		if err != nil {
			break
		}
		if k == kindReadings {
			stream.Write(p.payload[lookBytes:])
		}
	}
	r, err := ipc.NewReader(&stream)
	if err != nil {
		t.Fatal(err)
	}
	rows := int64(0)
	for r.Next() {
		rows += r.Record().NumRows()
	}
	if r.Err() != nil || rows != 6 {
		t.Errorf("%d rows, %v", rows, r.Err())
	}
}

// Whatever is cut off or flipped, a replay gives the frames before it and behind it, and says what is lost.
func TestADamagedJournalLacksTheDamagedFrame(t *testing.T) {
	j, want := filled(t)
	whole, err := os.ReadFile(j.path)
	if err != nil {
		t.Fatal(err)
	}
	first := frames(whole)[1]
	rapid.Check(t, func(r *rapid.T) {
		text := bytes.Clone(whole)
		at := rapid.IntRange(first, len(text)-1).Draw(r, "at")
		cut := rapid.Bool().Draw(r, "cut")
		if cut {
			text = text[:at]
		} else {
			text[at] ^= 1 << rapid.IntRange(0, 7).Draw(r, "bit")
		}
		path := filepath.Join(t.TempDir(), "one-h.journal")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			r.Fatal(err)
		}
		j, err := Open(path, memory.DefaultAllocator, false)
		if err != nil {
			r.Fatal(err)
		}
		defer j.Close()
		got, end := replayed(r, j)
		intact, torn, behind := 0, 0, len(text)
		for _, from := range frames(whole)[1:] {
			to := from + frameHead + int(binary.LittleEndian.Uint32(whole[from:]))
			if to <= at {
				intact, torn = intact+1, to
				continue
			}
			if torn == 0 {
				torn = from
			}
			behind = to
			break
		}
		left := append([]Event(nil), want[:intact]...)
		inside := !cut && intact < len(want)-1
		if inside {
			left = append(left, want[intact+1:]...)
		}
		if !reflect.DeepEqual(got, left) {
			r.Fatalf("got %+v, want all but frame %d", got, intact)
		}
		if cut {
			behind = len(text)
		}
		var damage *DamageError
		switch {
		case cut && torn == at: // between frames
			if !errors.Is(end, io.EOF) {
				r.Fatal(end)
			}
		case !errors.As(end, &damage):
			r.Fatal(end)
		case damage.Offset != int64(torn) || damage.Bytes != int64(behind-torn) || damage.Inside != inside:
			r.Fatalf("%+v: %d frames are intact, to byte %d of %d", damage, intact, torn, len(text))
		}
	})
}

// frames are the offsets of a journal's frames.
func frames(text []byte) (all []int) {
	for at := len(magic); at < len(text); at += frameHead + int(binary.LittleEndian.Uint32(text[at:])) {
		all = append(all, at)
	}
	return all
}

func TestAJournalInUseIsToldFromOneThatWasLeft(t *testing.T) {
	j := created(t)
	if _, err := Create(j.path, header(), memory.DefaultAllocator); !errors.Is(err, ErrExists) {
		t.Errorf("created twice: %v", err)
	}
	if _, err := Open(j.path, memory.DefaultAllocator, false); !errors.Is(err, ErrLive) {
		t.Errorf("opened while in use: %v", err)
	}
	root := filepath.Join(filepath.Dir(j.path), "../..")
	if found, err := List(root); err != nil || len(found) != 1 || found[0].Header.Run.ID != "one" || !errors.Is(found[0].Err, ErrLive) {
		t.Errorf("listed %+v, %v", found, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if found, err := List(root); err != nil || len(found) != 1 || found[0].Name != "one-h" || found[0].Err != nil {
		t.Errorf("listed %+v, %v", found, err)
	}
	left, err := Open(j.path, memory.DefaultAllocator, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := left.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(j.path, memory.DefaultAllocator, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened after its end: %v", err)
	}
}

func TestWhatAKilledStartLeftIsCleared(t *testing.T) {
	path := Path(t.TempDir(), "one-h")
	left := path + ".123.new"
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(left, []byte(magic), 0o600)); err != nil {
		t.Fatal(err)
	}
	j, err := Create(path, header(), memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if found, err := os.ReadDir(filepath.Dir(path)); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
}

// FuzzJournal reads whatever stands in a file; the checksum is put right, so that what lies behind it is reached.
func FuzzJournal(f *testing.F) {
	f.Add(byte(kindReadings), []byte("no stream"))
	f.Add(byte(kindClosed), []byte(`{"worker":9,"span":null}`))
	f.Add(byte(kindOpened), []byte(`{"worker":-1}`))
	f.Add(byte(kindEnd), []byte(`{"run":{},"sampling":[{},{}]}`))
	f.Add(byte('?'), []byte(nil))
	e := NewEncoder(memory.DefaultAllocator)
	batch, err := e.frame(Look{NS: 1}, make([]schema.Reading, 3))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(byte(kindReadings), bytes.Clone(batch))
	j := created(f)
	defer j.Close()
	start := j.size
	f.Fuzz(func(t *testing.T, k byte, payload []byte) {
		j.size = start
		if err := j.file.Truncate(start); err != nil {
			t.Fatal(err)
		}
		if err := j.append(kind(k), payload); err != nil {
			t.Skip("longer than any frame")
		}
		for _, unpacked := range []bool{true, false} {
			if !unpacked { // the same bytes in the place of a packed frame
				head := make([]byte, frameHead, frameHead+len(payload))
				binary.LittleEndian.PutUint32(head, uint32(len(payload)))
				head[8] = k
				binary.LittleEndian.PutUint32(head[4:], checksum(head, payload))
				if _, err := j.file.WriteAt(append(head, payload...), j.size); err != nil {
					t.Fatal(err)
				}
				j.size += int64(len(head) + len(payload))
			}
			if _, end := replayed(t, j); end == nil {
				t.Fatal("a replay without an end")
			}
			rows := j.Rows()
			for {
				got, err := rows.Next(j.Size(), nil)
				if err != nil || len(got) == 0 {
					break
				}
				for i := range got {
					if b := got[i].Board; b < 0 || b > 1 {
						t.Fatalf("board %d", b)
					}
				}
			}
		}
	})
}
