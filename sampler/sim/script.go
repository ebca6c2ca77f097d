// Package sim simulates boards: a true timeline of power and activity, which the load side writes, and sensors that look
// at it the way real ones do, late, averaged and quantised.
//
// A Script holds the timelines of one or more boards. In memory it serves this process, through Board, which is a
// sampler.Device. As a file it also serves others: the C fake of libnvidia-ml maps the same bytes and shows the same
// values at the same instants to whatever program loads it. Simulated boards say so in their names.
package sim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/clock"
)

// Script is a set of simulated boards that share one piece of memory.
type Script struct {
	boards []*Board
	unmap  func() error
}

// NewBoard makes one board of the catalog, in memory.
func NewBoard(c catalog.Board, index int) *Board {
	s, err := New(Describe(c, index))
	if err != nil {
		panic(err) // Describe makes nothing that New refuses
	}
	return s.boards[0]
}

// New makes boards in memory.
func New(specs ...Spec) (*Script, error) {
	words := make([]uint64, size(len(specs))/8) // untouched pages cost nothing
	mem := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))
	return lay(mem, specs, func() error { return nil })
}

// Create makes boards in a file for other processes, 8 MiB a board, and puts it in place whole: who has the path's former
// file mapped keeps it.
func Create(path string, specs ...Spec) (*Script, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".script-*")
	if err != nil {
		return nil, fmt.Errorf("creating script: %w", err)
	}
	s, err := createIn(f, specs)
	err = errors.Join(err, f.Chmod(0o644)) // readers may be another user's, or in a container
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("creating script %s: %w", path, err), os.Remove(f.Name()))
	}
	return s, nil
}

func createIn(f *os.File, specs []Spec) (*Script, error) {
	n := size(len(specs))
	// Space is reserved, not only promised: a full disk would otherwise end the writer with SIGBUS in mid-run.
	err := unix.Fallocate(int(f.Fd()), 0, 0, int64(n))
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = f.Truncate(int64(n))
	}
	if err != nil {
		return nil, fmt.Errorf("reserving %d bytes: %w", n, err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping: %w", err)
	}
	return lay(mem, specs, func() error { return unix.Munmap(mem) })
}

// Boards are the script's boards in the order of their specs.
func (s *Script) Boards() []*Board { return s.boards }

// Close gives a file's mapping back; its boards must not be used any more. The file stays.
func (s *Script) Close() error { return s.unmap() }

// SetInitReturn makes nvmlInit in other processes answer code, for as long as it is not 0.
func (s *Script) SetInitReturn(code int32) { s.boards[0].header.InitReturn = code }

// SetInitCost makes nvmlInit in other processes take so long.
func (s *Script) SetInitCost(d time.Duration) { s.boards[0].header.InitNS = int64(d) }

// SetShutdownCost makes the last nvmlShutdown in other processes take so long.
func (s *Script) SetShutdownCost(d time.Duration) { s.boards[0].header.ShutdownNS = int64(d) }

func size(boards int) int { return headerBytes + boards*boardBytes }

func lay(mem []byte, specs []Spec, unmap func() error) (*Script, error) {
	if len(specs) == 0 {
		return nil, errors.Join(errors.New("a script needs a board"), unmap())
	}
	h := (*header)(unsafe.Pointer(&mem[0]))
	*h = header{
		Version:     layoutVersion,
		Boards:      uint32(len(specs)),
		BoardsAt:    headerBytes,
		BoardStride: uint64(boardBytes),
		CUDAVersion: cudaVersion,
	}
	copy(h.Magic[:], magic)
	copyText(h.Driver[:], driverVersion)
	copyText(h.NVML[:], nvmlVersion)
	s := &Script{unmap: unmap}
	for i, spec := range specs {
		if err := spec.check(); err != nil {
			return nil, errors.Join(err, unmap())
		}
		at := headerBytes + i*boardBytes
		s.boards = append(s.boards, newBoard(h, mem[at:at+boardBytes], spec, clock.Now()))
	}
	return s, nil
}
