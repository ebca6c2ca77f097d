// Package clock decides what time it is. Readings, requests and the simulated board's true timeline all carry the host's
// CLOCK_MONOTONIC in nanoseconds, so that they can be ordered against each other and against other processes on the
// host. Wall-clock time is derived from it through one pair taken at start: a wall clock that steps mid-run moves no row.
package clock

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pair is one simultaneous reading of the two clocks.
type Pair struct {
	MonotonicNS int64 // CLOCK_MONOTONIC, ns
	WallNS      int64 // CLOCK_REALTIME, ns since the Unix epoch
}

var anchor, anchorMonoNS = func() (time.Time, int64) {
	// time.Now reads both clocks through the vDSO; the raw reading is bracketed and the tightest of a few tries kept.
	best, at, mono := time.Duration(1<<62), time.Time{}, int64(0)
	for range 16 {
		t0 := time.Now()
		m := raw(unix.CLOCK_MONOTONIC)
		if gap := time.Since(t0); gap < best {
			best, at, mono = gap, t0, m-int64(gap)/2
		}
	}
	return at, mono
}()

func raw(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic("clock_gettime: " + err.Error()) // the two clocks always exist on Linux
	}
	return ts.Nano()
}

// Now is the host's CLOCK_MONOTONIC in nanoseconds, read through the vDSO.
func Now() int64 { return anchorMonoNS + int64(time.Since(anchor)) }

// Anchor is the pair taken when the process started, as closely as the two clocks can be read together.
func Anchor() Pair { return Pair{MonotonicNS: anchorMonoNS, WallNS: anchor.UnixNano()} }

// Wall is the wall-clock time of a monotonic instant by this pair, whatever happens to the wall clock after it.
func (p Pair) Wall(monotonicNS int64) time.Time {
	return time.Unix(0, p.WallNS+monotonicNS-p.MonotonicNS).UTC()
}

// Read takes a fresh pair; the difference of two pairs shows drift and steps of the wall clock. A thread that loses its core
// between the two clocks reads them again, lest that pass for a step.
func Read() Pair {
	h := ReadHost()
	for tries := 0; h.Within > time.Millisecond && tries < 10; tries++ {
		h = ReadHost()
	}
	return Pair{MonotonicNS: h.MonotonicNS, WallNS: h.WallNS}
}

// Host is one simultaneous reading of the clocks that tell what happened to the host: the wall clock leaves CLOCK_MONOTONIC
// where somebody sets it, CLOCK_BOOTTIME where the machine sleeps. NTP slews all three alike.
type Host struct {
	MonotonicNS int64
	WallNS      int64         // CLOCK_REALTIME
	BootNS      int64         // CLOCK_BOOTTIME
	Within      time.Duration // in which all were read
}

// ReadHost reads the host's clocks.
func ReadHost() Host {
	m0 := Now()
	wall, boot := host()
	m1 := Now()
	return Host{MonotonicNS: m0 + (m1-m0)/2, WallNS: wall, BootNS: boot, Within: time.Duration(m1 - m0)}
}

var host = func() (wallNS, bootNS int64) { return raw(unix.CLOCK_REALTIME), raw(unix.CLOCK_BOOTTIME) }

// Disturb changes what the host's clocks show from now on, for tests of what they cannot do to a host: set its clock, or
// send it to sleep. It is called before any goroutine reads a clock.
func Disturb(by func(monotonicNS int64) (wallNS, bootNS int64)) {
	undisturbed := host
	host = func() (int64, int64) {
		wall, boot := undisturbed()
		addWall, addBoot := by(Now())
		return wall + addWall, boot + addBoot
	}
}

// SleepUntil sleeps to an absolute CLOCK_MONOTONIC instant. Call it from a locked thread: Go's own timers are late by
// 0.5 ms at the median, clock_nanosleep by some tens of microseconds.
func SleepUntil(monotonicNS int64) {
	ts := unix.NsecToTimespec(monotonicNS)
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR { //nolint:revive // an interrupted absolute sleep is simply repeated
	}
}

// NapUntil is SleepUntil without telling Go's scheduler, which otherwise takes the thread's place away and gives it back
// around every sleep, with a thread of its own that is woken to see to it: that costs more than the sleep. The thread's place
// is kept from other goroutines meanwhile; the garbage collector gets at it, since its signal ends the sleep under way, as
// the scheduler's does after 10 ms.
func NapUntil(monotonicNS int64) {
	ts := unix.NsecToTimespec(monotonicNS)
	for nap(&ts) == unix.EINTR { //nolint:revive // an interrupted absolute sleep is simply repeated
	}
}

// nap is a call of its own so that it begins with the look at whether the goroutine is to stop.
//
//go:noinline
func nap(until *unix.Timespec) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(until)), 0, 0, 0)
	return errno
}
