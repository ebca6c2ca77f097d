package main

import (
	"errors"
	"io"
	"os/signal"
	"slices"
	"syscall"
)

// unwatched are the commands that measure or write: they come to their end whether or not anybody reads along. What only
// reads ends with its reader, as is usual.
var unwatched = []string{"collect", "overhead", "prompts", "calibrate", "recover", "compact", "campaign"}

// outlive lets a command go on where its screen is gone, as tee is when Ctrl-C goes to both.
func (t *terminal) outlive(command string) {
	if !slices.Contains(unwatched, command) {
		return
	}
	signal.Ignore(syscall.SIGPIPE)
	t.out = unread{t.out}
}

// unread takes what nobody may be there to read.
type unread struct{ io.Writer }

func (u unread) Write(b []byte) (int, error) {
	n, err := u.Writer.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		return len(b), nil
	}
	return n, err
}
