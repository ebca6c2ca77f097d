package main

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/sourcegraph/conc"
)

// process is another program with all that it starts: a group of its own, which the terminal's Ctrl-C does not reach. It
// gets SIGTERM where this program dies.
type process struct {
	cmd   *exec.Cmd
	owner conc.WaitGroup
	ended chan struct{}
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error, 1)
	p.owner.Go(func() {
		runtime.LockOSThread() // Pdeathsig takes the end of this thread for the program's
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // ProcessState tells more
		}
	})
	return p, <-started
}

// signal reaches the whole group.
func (p *process) signal(s syscall.Signal) error { return syscall.Kill(-p.cmd.Process.Pid, s) }

// has says whether anything of the group is left.
func (p *process) has() bool { return !errors.Is(p.signal(0), syscall.ESRCH) }

// stop sends SIGTERM, and SIGKILL to what is left after the grace.
func (p *process) stop(grace time.Duration) {
	_ = p.signal(syscall.SIGTERM) // it may have ended
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for left := true; left && p.has(); {
		select {
		case <-look.C:
		case <-deadline.C:
			left = false
		}
	}
	_ = p.signal(syscall.SIGKILL)
	p.owner.Wait()
}
