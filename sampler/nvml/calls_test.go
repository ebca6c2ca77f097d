package nvml

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

func TestTheFakeWritesDownWhoAsksHowOften(t *testing.T) {
	const head, record, room = 16, 16, 4096
	path := filepath.Join(t.TempDir(), "calls")
	if err := os.WriteFile(path, make([]byte, head+record*room), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TRACER_FAKENVML_CALLS", path)
	l, _ := openFake(t, spec(t, "H200", 0))
	began := clock.Now()
	before := callsMade(t, path)
	for range room {
		var r schema.Reading
		if err := l.Boards()[0].Read(sampler.LanePower, &r); err != nil {
			t.Fatal(err)
		}
	}
	made := callsMade(t, path)
	if made < before+room {
		t.Fatalf("%d records after %d readings, %d before", made, room, before)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) != head+record*room {
		t.Errorf("the file has grown to %d bytes", len(text))
	}
	const fieldValues, powerInstant = 1, 186
	calls, fields := 0, 0
	for i := int(before); i < room; i++ {
		at := text[head+record*i:]
		if ns := int64(binary.LittleEndian.Uint64(at)); ns < began || ns > clock.Now() {
			t.Fatalf("record %d is of %d, not of this test", i, ns)
		}
		if binary.LittleEndian.Uint32(at[8:]) != fieldValues {
			t.Fatalf("record %d is of function %d", i, binary.LittleEndian.Uint32(at[8:]))
		}
		switch binary.LittleEndian.Uint32(at[12:]) {
		case 0:
			calls++
		case powerInstant:
			fields++
		}
	}
	if calls == 0 || calls-fields < 0 || calls-fields > 1 { // the last call's fields may have found no room
		t.Errorf("%d calls and %d readings of field 186", calls, fields)
	}
}

// callsMade is the number of records that were made, those without room included.
func callsMade(t *testing.T, path string) uint64 {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint64(text)
}
