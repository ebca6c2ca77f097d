package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// Files that a run has open at once: its own, and those of each board and request.
const (
	filesOfRun     = 12 // journal, reserve, truth, listener, the runtime's own
	filesOfBoard   = 4  // a part for each stage
	filesOfRequest = 3  // its connection and, where the server is simulated, that one's end too
)

// checkFiles refuses a run that the limit of open files would break off.
func (c *collect) checkFiles(boards int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return environment(fmt.Errorf("asking for the limit of open files: %w", err))
	}
	if need := uint64(filesOfRun + filesOfBoard*boards + filesOfRequest*c.Concurrency); limit.Cur < need {
		return environment(fmt.Errorf("a process may have %d files open here, and this run needs up to %d; raise the limit with ulimit -n %d", limit.Cur, need, max(need, 1024)))
	}
	return nil
}

// checkGiven refuses numbers that cannot be, and a key that cannot be read.
func (c *collect) checkGiven(l *layers) error {
	if err := c.checkNumbers(); err != nil {
		return err
	}
	_, err := l.key(c.APIKeyFile)
	return err
}

// checkHost refuses, before anything is sent, a run that this host would break off.
func (c *collect) checkHost(boards int) error {
	if err := tried(existing(c.Out)); errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return unwritable(c.Out, err)
	}
	return c.checkFiles(boards)
}
