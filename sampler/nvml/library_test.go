package nvml

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

func TestOpenSaysWhyThereIsNoDriver(t *testing.T) {
	s := scripted(t, spec(t, "A10", 0))
	path := os.Getenv("TRACER_FAKENVML")
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("not a script"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, library, script string
		answer                int32
		cause                 Cause
		code                  int
	}{
		{"no library", filepath.Join(t.TempDir(), defaultLibrary), path, 0, LibraryNotFound, 0},
		{"another library", "libc.so.6", path, 0, NotNVML, 0},
		{"no script", fakeLibrary, "", 0, NotLoaded, 9},
		{"a script that is not there", fakeLibrary, garbage + "2", 0, NotLoaded, 9},
		{"a script that is none", fakeLibrary, garbage, 0, NotLoaded, 9},
		{"driver upgraded under a running kernel module", fakeLibrary, path, 18, VersionMismatch, 18},
		{"container without the device nodes", fakeLibrary, path, 4, NoPermission, 4},
		{"no board", fakeLibrary, path, 28, NoDevices, 28},
		{"container after a daemon-reload", fakeLibrary, path, 999, DevicesGone, 999},
		{"anything else", fakeLibrary, path, 10, InitFailed, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("TRACER_FAKENVML", c.script)
			s.SetInitReturn(c.answer)
			defer s.SetInitReturn(0)
			_, err := Open(Options{LibraryPath: c.library})
			var oe *OpenError
			if !errors.As(err, &oe) || !errors.Is(err, ErrNoDriver) {
				t.Fatalf("Open = %v", err)
			}
			if oe.Cause != c.cause || oe.Code != c.code {
				t.Errorf("cause %q, code %d; want %q, %d (%v)", oe.Cause, oe.Code, c.cause, c.code, err)
			}
			if !strings.Contains(err.Error(), string(c.cause)) {
				t.Errorf("%q does not tell the cause", err)
			}
		})
	}
}

func TestOpenRefusesAHostWithoutBoards(t *testing.T) {
	scripted(t, spec(t, "A10", 0))
	f, err := os.OpenFile(os.Getenv("TRACER_FAKENVML"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const boardsAt = 12 // header.Boards
	if _, err := f.WriteAt(binary.NativeEndian.AppendUint32(nil, 0), boardsAt); err != nil {
		t.Fatal(err)
	}
	var oe *OpenError
	if _, err := Open(Options{LibraryPath: fakeLibrary}); !errors.As(err, &oe) || oe.Cause != NoDevices {
		t.Errorf("Open = %v", err)
	}
}

func TestAProcessOpensNVMLOnceAtATime(t *testing.T) {
	l, _ := openFake(t, spec(t, "A10", 0))
	if _, err := Open(Options{LibraryPath: fakeLibrary}); err == nil || errors.Is(err, ErrNoDriver) {
		t.Errorf("a second Open = %v", err)
	}
	devices, err := l.Select("auto")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var r schema.Reading
	if err := devices[0].Read(sampler.AllLanes, &r); !errors.Is(err, sampler.ErrBoardLost) || r != (schema.Reading{}) {
		t.Errorf("reading after Close = %v, %+v", err, r)
	}
	again, err := Open(Options{LibraryPath: fakeLibrary})
	if err != nil {
		t.Fatalf("opening after Close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestUseByTwoGoroutinesPanicsInsteadOfReachingTheDriver(t *testing.T) {
	l, _ := openFake(t, spec(t, "A10", 0))
	other := new(Board)
	l.enter(other) // as if another goroutine were in a call
	defer l.leave(other)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	_ = l.Boards()[0].Read(sampler.LanePower, &schema.Reading{})
}

func TestSelectFindsBoardsByIndexAndUUID(t *testing.T) {
	l, s := openFake(t, spec(t, "A10", 0), spec(t, "L4", 1), spec(t, "H100-SXM", 2))
	uuid := func(i int) string { return s.Boards()[i].Board().UUID }
	for _, c := range []struct {
		which string
		want  []int
		err   string
	}{
		{"auto", []int{0, 1, 2}, ""},
		{"2,0", []int{2, 0}, ""},
		{" 1 , " + uuid(2), []int{1, 2}, ""},
		{strings.ToUpper(uuid(1)), []int{1}, ""},
		{"3", nil, `no board "3"; there are 0: sim-A10 ` + uuid(0) + ", 1: sim-L4 " + uuid(1) + ", 2: sim-H100-SXM " + uuid(2)},
		{"-1", nil, `no board "-1"`},
		{"MIG-" + uuid(0)[4:], nil, "is a MIG instance"},
		{"GPU-nope", nil, `no board "GPU-nope"; there are 0: sim-A10 ` + uuid(0)},
		{"", nil, `no board ""`},
		{"0,", nil, `no board ""`},
		{"0,1," + uuid(0), nil, `board "` + uuid(0) + `" is named twice`},
	} {
		devices, err := l.Select(c.which)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("Select(%q) = %v, want %s", c.which, err, c.err)
			}
			continue
		}
		if err != nil || len(devices) != len(c.want) {
			t.Errorf("Select(%q) = %d boards, %v", c.which, len(devices), err)
			continue
		}
		for i, d := range devices {
			if got := d.Board().UUID; got != uuid(c.want[i]) {
				t.Errorf("Select(%q)[%d] is %s, want %s", c.which, i, got, uuid(c.want[i]))
			}
		}
	}
}

// NVML shows all boards whatever CUDA_VISIBLE_DEVICES says.
func TestVisibleFindsBoardsAsCUDADoes(t *testing.T) {
	l, s := openFake(t, spec(t, "A10", 0), spec(t, "A10", 1), spec(t, "A10", 2))
	uuid := func(i int) string { return s.Boards()[i].Board().UUID }
	for _, c := range []struct {
		list, order string
		want        []int
		err         string
	}{
		{"1", "", []int{1}, ""},
		{" 2, 0", "FASTEST_FIRST", []int{2, 0}, ""},
		{uuid(1), "", []int{1}, ""},
		{uuid(2)[:12], "", []int{2}, ""},
		{uuid(0)[:4], "", nil, `no board "GPU-"`},
		{"", "", nil, ErrNoneVisible.Error()},
		{"-1", "", nil, ErrNoneVisible.Error()},
		{"NoDevFiles", "", nil, ErrNoneVisible.Error()},
		{"3", "", nil, `no board "3"; there are 0: sim-A10`},
		{"MIG-" + uuid(0) + "/1/0", "", nil, "is a MIG instance"},
		{"0,0", "", nil, "is named twice"},
	} {
		visibleAre(t, l, c.list, c.order, c.want, c.err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, s = openFake(t, spec(t, "L4", 0), spec(t, "H100-SXM", 1))
	visibleAre(t, l, "0", "", nil, "0 counts boards as CUDA does, the fastest first, and there are several kinds; set CUDA_DEVICE_ORDER=PCI_BUS_ID")
	visibleAre(t, l, "0", "PCI_BUS_ID", []int{0}, "")
	visibleAre(t, l, uuid(1), "", []int{1}, "")
	visibleAre(t, l, uuid(1)[:12], "", []int{1}, "")
}

func visibleAre(t *testing.T, l *Library, list, order string, want []int, wrong string) {
	t.Helper()
	devices, err := l.Visible(list, order)
	if wrong != "" {
		if err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("Visible(%q, %q) = %v, want %s", list, order, err, wrong)
		}
		return
	}
	var got []int
	for _, d := range devices {
		got = append(got, int(d.Board().Index))
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Visible(%q, %q) = %v, %v, want %v", list, order, got, err, want)
	}
}

func TestABoardThatDoesNotAnswerIsAnErrorOnlyWhereItIsWanted(t *testing.T) {
	dead := spec(t, "A10", 0)
	dead.Faults = deadFromTheStart
	l, _ := openFake(t, dead, spec(t, "L4", 1))
	if len(l.Boards()) != 1 || l.Boards()[0].Board().Index != 1 {
		t.Errorf("boards: %v", l.Boards())
	}
	for _, which := range []string{"auto", "0"} {
		if _, err := l.Select(which); err == nil || !strings.Contains(err.Error(), "opening board 0") || !strings.Contains(err.Error(), "0: does not answer, 1: sim-L4") {
			t.Errorf("Select(%q) = %v", which, err)
		}
	}
	if devices, err := l.Select("1"); err != nil || devices[0].Board().Name != "sim-L4" {
		t.Errorf("the other board: %v", err)
	}
}

// A driver with nothing but the indispensable symbols: go-nvml would end the process at the first call of another one.
// Symbols are bound once a process, so the driver gets a process of its own.
func TestADriverWithoutOptionalSymbolsGivesAbsentValues(t *testing.T) {
	const child = "TRACER_TEST_MINIMAL_LIBRARY"
	if library := os.Getenv(child); library != "" {
		readEverything(t, library)
		return
	}
	scripted(t, spec(t, "H100-SXM", 0))
	library := filepath.Join(t.TempDir(), defaultLibrary)
	buildFake(library, "-DFAKE_MINIMAL")
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), child+"="+library)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func readEverything(t *testing.T, library string) {
	l, err := Open(Options{LibraryPath: library})
	if err != nil {
		t.Fatal(err)
	}
	b := l.Boards()[0]
	about := b.Board()
	if about.UUID == "" || about.Name != "sim-H100-SXM" || about.Architecture != sampler.Unknown || about.MemoryBytes.OK || about.ECC.OK {
		t.Errorf("board: %+v", about)
	}
	var r schema.Reading
	for range 2 {
		if err := b.Read(sampler.AllLanes, &r); err != nil || r != (schema.Reading{}) {
			t.Errorf("read %+v, %v", r, err)
		}
	}
	answers, err := b.Probe(t.Context(), 0)
	if err != nil {
		t.Error(err)
	}
	for _, a := range answers {
		if a.Value.OK {
			t.Errorf("%s answers %v", a.Sensor, a.Value.V)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
