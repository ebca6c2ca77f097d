package sampler

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTheThreadIsGivenBackAsItWas(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Skip(err)
	}
	realTime, restore := punctual()
	during, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if realTime != (during.Policy == unix.SCHED_FIFO) {
		t.Errorf("says real time %t, policy is %d", realTime, during.Policy)
	}
	restore()
	after, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if after.Policy != before.Policy || after.Priority != before.Priority || after.Nice != before.Nice {
		t.Errorf("before %+v, after %+v", before, after)
	}
}
