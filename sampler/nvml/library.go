// Package nvml reads NVIDIA boards through the driver's own library, libnvidia-ml.so.1.
//
// It is the only package that imports go-nvml. go-nvml opens the library, enumerates boards and reads their static facts
// and field values. The remaining calls of the sampling loop go straight to the same loaded symbols (calls.go), because
// go-nvml's wrappers allocate their results: 19 KB twice for one GPM query.
//
// NVML crashes drivers when GetFieldValues or GpmSampleGet run concurrently, even for different boards. So one goroutine
// at a time may use a Library and all of its boards, and one Library can be open in a process. A second caller panics
// instead of reaching the driver. A call that hangs can be abandoned; then the library is never shut down, since the thread
// that hangs is still in it.
package nvml

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/NVIDIA/go-nvml/pkg/dl"
	gonvml "github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/llm-tracer/tracer/sampler"
)

const defaultLibrary = "libnvidia-ml.so.1"

// ErrNoDriver is any reason why no board can be read here; Open returns it within an *OpenError.
var ErrNoDriver = errors.New("no usable NVIDIA driver")

// Cause is why the driver cannot be used.
type Cause string

// The causes that call for different remedies.
const (
	LibraryNotFound Cause = "library not found"
	NotNVML         Cause = "not an NVML library"
	NotLoaded       Cause = "driver not loaded"
	VersionMismatch Cause = "driver and library versions differ; reboot, or reload the driver"
	NoPermission    Cause = "no permission"
	Hung            Cause = "the driver does not come back; see dmesg, and nvidia-smi, which will hang too: reset the board, or reboot"
	DevicesGone     Cause = "unknown error; in a container: restart it, a reload of the host's daemons took its devices away"
	NoDevices       Cause = "no devices"
	InitFailed      Cause = "initialisation failed"
)

// OpenError says why the driver cannot be used. It is an ErrNoDriver.
type OpenError struct {
	Cause   Cause
	Library string
	Code    int    // nvmlReturn_t; 0 where NVML was not asked
	Detail  string // in the words of the loader or of NVML; may be empty
}

func (e *OpenError) Error() string {
	s := fmt.Sprintf("opening %s: %v: %s", e.Library, ErrNoDriver, e.Cause)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Code != 0 {
		s += fmt.Sprintf(" (NVML code %d)", e.Code)
	}
	return s
}

// Unwrap makes errors.Is(err, ErrNoDriver) true.
func (e *OpenError) Unwrap() error { return ErrNoDriver }

// Options of Open.
type Options struct {
	LibraryPath string        // empty is libnvidia-ml.so.1, by the loader's search path
	Patience    time.Duration // with a call; 0 is sampler.DefaultPatience
}

// openPatience is how many times as long opening may take as a call: without persistence mode it loads the driver and
// initialises the boards, which takes seconds.
const openPatience = 3

// Library is the opened NVML. One goroutine at a time uses it and its boards.
type Library struct {
	api       gonvml.Interface
	functions [functionCount]unsafe.Pointer // nil where the driver lacks the symbol
	path      string
	patience  time.Duration
	boards    []*Board
	user      atomic.Pointer[Board] // whose call is under way
	abandoned atomic.Bool           // a call hangs
	stale     bool                  // NVML asked to be opened anew, and was not yet
	closed    bool

	driverVersion, nvmlVersion, cudaVersion string
}

// opened guards the one library that a process can have: go-nvml binds symbols for the process as a whole.
var opened atomic.Bool

// Open loads the library, initialises NVML and finds the boards. Where the driver does not come back, it gives up; NVML
// cannot be opened in this process then.
func Open(o Options) (*Library, error) {
	l := &Library{path: cmp.Or(o.LibraryPath, defaultLibrary), patience: cmp.Or(o.Patience, sampler.DefaultPatience)}
	if opened.Swap(true) {
		return nil, errors.New("opening NVML: it is open already in this process")
	}
	_, err := sampler.Within(openPatience*l.patience, func() (none struct{}, err error) { return none, l.open() })
	if errors.Is(err, sampler.ErrHung) {
		return nil, &OpenError{Cause: Hung, Library: l.path, Detail: fmt.Sprintf("no answer in %v", openPatience*l.patience)}
	}
	if err != nil {
		opened.Store(false)
		return nil, err
	}
	return l, nil
}

func (l *Library) open() error {
	if err := vet(l.path); err != nil {
		return err
	}
	l.api = gonvml.New(gonvml.WithLibraryPath(l.path))
	if err := l.init(); err != nil {
		return err
	}
	l.readVersions()
	if err := l.findBoards(); err != nil {
		return errors.Join(err, l.shutdown())
	}
	return nil
}

func (l *Library) init() error {
	if ret := l.api.Init(); ret != gonvml.SUCCESS {
		return l.refused(ret)
	}
	l.bind()
	return nil
}

func (l *Library) refused(ret gonvml.Return) error {
	return &OpenError{Cause: causeOf(ret), Library: l.path, Code: int(ret), Detail: ret.Error()}
}

// reopen initialises NVML anew and finds the boards again, which it asks for after the driver was reloaded. A board that is
// not there keeps its place and stays lost.
func (l *Library) reopen() error {
	l.stale = true
	if l.abandoned.Load() {
		return errors.New("opening NVML anew: a call into it still hangs")
	}
	for _, b := range l.boards {
		b.gpm.free(l)
	}
	_ = l.api.Shutdown() // it may know already that it is not initialised
	if err := l.init(); err != nil {
		return fmt.Errorf("opening NVML anew: %w", err)
	}
	handles, err := l.handles()
	if err != nil {
		return fmt.Errorf("opening NVML anew: %w", err)
	}
	for _, b := range l.boards {
		if b.err == nil {
			b.rebind(handles[b.about.UUID])
		}
	}
	l.stale = false
	return nil
}

// vet looks at the library before go-nvml does, for the loader's own words, which go-nvml drops, and because a library
// without NVML's symbols would end the process when the first is called.
func vet(path string) error {
	lib := dl.New(path, dl.RTLD_LAZY|dl.RTLD_LOCAL)
	if err := lib.Open(); err != nil {
		return &OpenError{Cause: LibraryNotFound, Library: path, Detail: err.Error()}
	}
	for _, symbol := range indispensable {
		if err := lib.Lookup(symbol); err != nil {
			return errors.Join(&OpenError{Cause: NotNVML, Library: path, Detail: symbol + " is missing"}, lib.Close())
		}
	}
	if err := lib.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", path, err)
	}
	return nil
}

// indispensable symbols are those without which no board has a name; each other one is looked up before it is called.
var indispensable = []string{
	"nvmlInit_v2", "nvmlShutdown", "nvmlErrorString",
	"nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID", "nvmlDeviceGetName",
}

func causeOf(ret gonvml.Return) Cause {
	switch ret {
	case gonvml.ERROR_LIBRARY_NOT_FOUND:
		return LibraryNotFound
	case gonvml.ERROR_DRIVER_NOT_LOADED:
		return NotLoaded
	case gonvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return VersionMismatch
	case gonvml.ERROR_NO_PERMISSION:
		return NoPermission
	case gonvml.ERROR_GPU_NOT_FOUND:
		return NoDevices
	case gonvml.ERROR_UNKNOWN:
		return DevicesGone
	default:
		return InitFailed
	}
}

// has says whether the loaded driver has a symbol. Calling one that it lacks ends the process: go-nvml binds lazily.
func (l *Library) has(symbol string) bool {
	return l.api.Extensions().LookupSymbol(symbol) == nil
}

func (l *Library) readVersions() {
	l.driverVersion = l.version("nvmlSystemGetDriverVersion", l.api.SystemGetDriverVersion)
	l.nvmlVersion = l.version("nvmlSystemGetNVMLVersion", l.api.SystemGetNVMLVersion)
	cuda := value(l, "nvmlSystemGetCudaDriverVersion", l.api.SystemGetCudaDriverVersion)
	if cuda.OK {
		l.cudaVersion = fmt.Sprintf("%d.%d", cuda.V/1000, cuda.V%1000/10)
	}
}

func (l *Library) version(symbol string, get func() (string, gonvml.Return)) string {
	return strings.TrimSpace(value(l, symbol, get).V)
}

// Close shuts NVML down. Boards answer ErrBoardLost from then on. Where a call hangs, now or before, NVML is left as it is.
func (l *Library) Close() error {
	if l.closed || l.abandoned.Load() {
		return nil
	}
	by := new(Board)
	l.enter(by)
	defer l.leave(by)
	l.closed = true
	_, err := sampler.Within(l.patience, func() (none struct{}, err error) {
		for _, b := range l.boards {
			b.gpm.free(l)
		}
		return none, l.shutdown()
	})
	if !errors.Is(err, sampler.ErrHung) {
		opened.Store(false)
	}
	return err
}

func (l *Library) shutdown() error {
	if ret := l.api.Shutdown(); ret != gonvml.SUCCESS {
		return fmt.Errorf("shutting NVML down: %w", ret)
	}
	return nil
}

// enter claims NVML for one call about a board; leave gives it back, unless the board was abandoned and another has it.
func (l *Library) enter(b *Board) {
	if !l.user.CompareAndSwap(nil, b) {
		panic("nvml: used by two goroutines at once, which crashes drivers; one must own it")
	}
}

func (l *Library) leave(b *Board) { l.user.CompareAndSwap(b, nil) }
