package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Three things are locked beside the journals, each a folder that is there anyway, and each until its holder closes it or
// dies:
//
//	_tracer/tmp/compact-<id>  by the compaction that writes there, so that a live one's folder is told from one that was left
//	_tracer/tmp               shared while a run is published, exclusively while a compaction swaps folders
//	_tracer/commits           shared while a dataset is verified, exclusively while it is compacted or repaired
//
// Where the file system knows no such locks, nobody holds any.

// Errors of who wants to have a dataset to himself.
var (
	ErrBusy      = errors.New("the dataset is being verified, compacted or repaired")
	ErrNoDataset = errors.New("no dataset")
)

// lock waits for a folder.
func lock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe would wait for its other end
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		_ = f.Close()
		return nil, err
	}
	return f, nil // any other error: no locks there
}

// IsDataset says whether a tracer has ever written into a folder.
func IsDataset(root string) bool {
	_, err := os.Stat(filepath.Join(root, "_tracer"))
	return !errors.Is(err, fs.ErrNotExist)
}

// NoFolder tells a file that was named in a dataset's place from what went wrong within one.
func NoFolder(root string, err error) error {
	if is, failed := os.Stat(root); failed == nil && !is.IsDir() {
		return fmt.Errorf("%w: %s is a file, and a dataset is a folder; name the one that tracer collect --out wrote into", ErrNoDataset, root)
	}
	return err
}

// Held says whether a live process holds a file or folder.
func Held(path string) bool {
	f, err := lock(path, unix.LOCK_SH|unix.LOCK_NB) // shared: two that ask do not take one another for a holder
	if err == nil {
		_ = f.Close()
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}

// Hold keeps others from changing the files of a dataset, or, to change them, from looking at them; give the lock back
// by closing it. Tracers may publish meanwhile.
func Hold(root string, change bool) (*os.File, error) {
	how := unix.LOCK_SH
	if change {
		how = unix.LOCK_EX
	}
	f, err := lock(filepath.Join(root, Commits), how|unix.LOCK_NB)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w in %s: there is no %s; name the folder that tracer collect --out wrote into", ErrNoDataset, root, Commits)
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, fmt.Errorf("%w by another tracer: %s; run this again when that is over", ErrBusy, root)
	}
	return f, NoFolder(root, err)
}
