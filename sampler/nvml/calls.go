package nvml

/*
#cgo LDFLAGS: -ldl
#cgo noescape get
#cgo nocallback get
#cgo noescape getOf
#cgo nocallback getOf
#cgo noescape ask
#cgo nocallback ask
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

// The address of a symbol of the library that go-nvml loaded into the global scope.
static void *find(const char *symbol) { return dlsym(RTLD_DEFAULT, symbol); }

// nvmlReturn_t f(nvmlDevice_t, T *)
static int get(void *f, void *device, void *out) { return ((int (*)(void *, void *))f)(device, out); }

// nvmlReturn_t f(nvmlDevice_t, enum, T *)
static int getOf(void *f, void *device, int which, void *out) {
	return ((int (*)(void *, int, void *))f)(device, which, out);
}

// nvmlReturn_t f(T *)
static int ask(void *f, void *request) { return ((int (*)(void *))f)(request); }
*/
import "C"

import (
	"reflect"
	"unsafe"

	gonvml "github.com/NVIDIA/go-nvml/pkg/nvml"
)

// function is a call of the sampling loop. Each is optional: a nil address is never called.
type function int

const (
	utilizationRates function = iota
	memoryInfo
	smClock
	memoryClock
	temperature
	performanceState
	eventReasons
	powerLimit
	gpmSample
	gpmMetrics
	functionCount
)

// symbols of each function, the first that the driver has being taken.
var symbols = [functionCount][]string{
	utilizationRates: {"nvmlDeviceGetUtilizationRates"},
	memoryInfo:       {"nvmlDeviceGetMemoryInfo"},
	smClock:          {"nvmlDeviceGetClockInfo"},
	memoryClock:      {"nvmlDeviceGetClockInfo"},
	temperature:      {"nvmlDeviceGetTemperature"},
	performanceState: {"nvmlDeviceGetPerformanceState"},
	eventReasons:     {"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"}, // its older name
	powerLimit:       {"nvmlDeviceGetEnforcedPowerLimit"},
	gpmSample:        {"nvmlGpmSampleGet"},
	gpmMetrics:       {"nvmlGpmMetricsGet"},
}

func (l *Library) bind() {
	l.functions = [functionCount]unsafe.Pointer{}
	for f, names := range symbols {
		for _, name := range names {
			if l.functions[f] == nil && l.has(name) {
				l.functions[f] = find(name)
			}
		}
	}
}

func find(symbol string) unsafe.Pointer {
	name := C.CString(symbol)
	defer C.free(unsafe.Pointer(name))
	return C.find(name)
}

// get calls a function that stores one value of the board. cgo looks for Go pointers in the whole allocation that out
// points into, so it must have none.
func (b *Board) get(f function, out unsafe.Pointer) bool {
	if b.functions[f] == nil || b.isLost() {
		return false
	}
	return b.succeeds(f, gonvml.Return(C.get(b.functions[f], b.handle, out)))
}

// getOf is get for functions that are also told which of several values to store.
func (b *Board) getOf(f function, which int32, out unsafe.Pointer) bool {
	if b.functions[f] == nil || b.isLost() {
		return false
	}
	return b.succeeds(f, gonvml.Return(C.getOf(b.functions[f], b.handle, C.int(which), out)))
}

// ask calls a function that names the board, and takes its answer, within a request.
func (b *Board) ask(f function, request unsafe.Pointer) bool {
	if b.functions[f] == nil || b.isLost() {
		return false
	}
	return b.succeeds(f, gonvml.Return(C.ask(b.functions[f], request)))
}

// succeeds judges what a function answered: one that the board does not support is not asked again.
func (b *Board) succeeds(f function, ret gonvml.Return) bool {
	if isUnsupported(ret) {
		b.functions[f] = nil
	}
	return b.ok(ret)
}

func newRequest() *gpmRequest {
	return (*gpmRequest)(C.calloc(1, C.size_t(unsafe.Sizeof(gpmRequest{}))))
}

func freeRequest(q *gpmRequest) { C.free(unsafe.Pointer(q)) }

// handleOf takes the C pointer out of go-nvml's boards and GPM samples, structs of one exported field.
func handleOf(wrapped any) unsafe.Pointer { return reflect.ValueOf(wrapped).Field(0).UnsafePointer() }
