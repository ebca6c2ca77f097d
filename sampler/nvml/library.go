// Package nvml reads NVIDIA boards through the driver's own library, libnvidia-ml.so.1.
//
// It is the only package that imports go-nvml. go-nvml opens the library, enumerates boards and reads their static facts
// and field values. The remaining calls of the sampling loop go straight to the same loaded symbols (calls.go), because
// go-nvml's wrappers allocate their results: 19 KB twice for one GPM query.
//
// NVML crashes drivers when GetFieldValues or GpmSampleGet run concurrently, even for different boards. So one goroutine
// at a time may use a Library and all of its boards, and one Library can be open in a process. A second caller panics
// instead of reaching the driver.
package nvml

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/NVIDIA/go-nvml/pkg/dl"
	gonvml "github.com/NVIDIA/go-nvml/pkg/nvml"
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
	LibraryPath string // empty is libnvidia-ml.so.1, by the loader's search path
}

// Library is the opened NVML. One goroutine at a time uses it and its boards.
type Library struct {
	api       gonvml.Interface
	functions [functionCount]unsafe.Pointer // nil where the driver lacks the symbol
	boards    []*Board
	busy      atomic.Bool
	closed    bool

	driverVersion, nvmlVersion, cudaVersion string
}

// opened guards the one library that a process can have: go-nvml binds symbols for the process as a whole.
var opened atomic.Bool

// Open loads the library, initialises NVML and finds the boards.
func Open(o Options) (*Library, error) {
	path := o.LibraryPath
	if path == "" {
		path = defaultLibrary
	}
	if opened.Swap(true) {
		return nil, errors.New("opening NVML: it is open already in this process")
	}
	l, err := open(path)
	if err != nil {
		opened.Store(false)
		return nil, err
	}
	return l, nil
}

func open(path string) (*Library, error) {
	if err := vet(path); err != nil {
		return nil, err
	}
	l := &Library{api: gonvml.New(gonvml.WithLibraryPath(path))}
	if ret := l.api.Init(); ret != gonvml.SUCCESS {
		return nil, &OpenError{Cause: causeOf(ret), Library: path, Code: int(ret), Detail: ret.Error()}
	}
	l.bind()
	l.readVersions()
	if err := l.findBoards(path); err != nil {
		return nil, errors.Join(err, l.shutdown())
	}
	return l, nil
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

// Close shuts NVML down. Boards answer ErrBoardLost from then on.
func (l *Library) Close() error {
	l.enter()
	defer l.leave()
	if l.closed {
		return nil
	}
	l.closed = true
	for _, b := range l.boards {
		b.gpm.free(l)
	}
	err := l.shutdown()
	opened.Store(false)
	return err
}

func (l *Library) shutdown() error {
	if ret := l.api.Shutdown(); ret != gonvml.SUCCESS {
		return fmt.Errorf("shutting NVML down: %w", ret)
	}
	return nil
}

// enter claims NVML for one call; leave gives it back.
func (l *Library) enter() {
	if !l.busy.CompareAndSwap(false, true) {
		panic("nvml: used by two goroutines at once, which crashes drivers; one must own it")
	}
}

func (l *Library) leave() { l.busy.Store(false) }
