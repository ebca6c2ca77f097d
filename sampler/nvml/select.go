package nvml

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	gonvml "github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/llm-tracer/tracer/sampler"
)

// ErrSilent is a board that NVML enumerates and that does not answer.
var ErrSilent = errors.New("a board does not answer")

// findBoards describes every board that NVML enumerates. One that does not answer keeps its place, so that others are
// not renumbered.
func (l *Library) findBoards() error {
	count, ret := l.api.DeviceGetCount()
	if ret != gonvml.SUCCESS {
		return l.refused(ret)
	}
	if count == 0 {
		return &OpenError{Cause: NoDevices, Library: l.path}
	}
	for i := range count {
		b, err := l.newBoard(i)
		if err != nil {
			b = &Board{library: l, err: fmt.Errorf("%w: %w", ErrSilent, err)}
			b.about.Index = int32(i)
		}
		l.boards = append(l.boards, b)
	}
	return nil
}

// handles are the boards that answer now, by UUID.
func (l *Library) handles() (map[string]gonvml.Device, error) {
	count, ret := l.api.DeviceGetCount()
	if ret != gonvml.SUCCESS {
		return nil, l.refused(ret)
	}
	found := map[string]gonvml.Device{}
	for i := range count {
		device, ret := l.api.DeviceGetHandleByIndex(i)
		if ret != gonvml.SUCCESS {
			continue
		}
		if uuid, ret := device.GetUUID(); ret == gonvml.SUCCESS {
			found[uuid] = device
		}
	}
	return found, nil
}

func (l *Library) newBoard(index int) (*Board, error) {
	device, ret := l.api.DeviceGetHandleByIndex(index)
	if ret != gonvml.SUCCESS {
		return nil, fmt.Errorf("opening board %d: %w", index, ret)
	}
	uuid, ret := device.GetUUID()
	if ret != gonvml.SUCCESS {
		return nil, fmt.Errorf("reading the UUID of board %d: %w", index, ret)
	}
	b := &Board{library: l, device: device, handle: handleOf(device), out: new(results)}
	b.about.UUID = uuid
	b.describe(index)
	if b.isLost() {
		return nil, fmt.Errorf("reading board %d (%s): %w", index, uuid, b.lost)
	}
	return b, nil
}

// Boards are the boards that answered, by NVML index.
func (l *Library) Boards() []*Board {
	var boards []*Board
	for _, b := range l.boards {
		if b.err == nil {
			boards = append(boards, b)
		}
	}
	return boards
}

// Select finds the boards that a user named: "auto" for all, or NVML indexes and UUIDs separated by commas, in the order
// to be read in. A board that was named, or that "auto" found, and does not answer is an error: a trace that silently
// lacks a board would be wrong about the host.
func (l *Library) Select(which string) ([]sampler.Device, error) {
	names := strings.Split(which, ",")
	if strings.TrimSpace(which) == "auto" {
		names = names[:0]
		for i := range l.boards {
			names = append(names, strconv.Itoa(i))
		}
	}
	var devices []sampler.Device
	taken := map[*Board]bool{}
	for _, name := range names {
		b, err := l.boardNamed(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		if taken[b] {
			return nil, fmt.Errorf("board %q is named twice", strings.TrimSpace(name))
		}
		taken[b] = true
		devices = append(devices, b)
	}
	return devices, nil
}

func (l *Library) boardNamed(name string) (*Board, error) {
	index, err := strconv.Atoi(name)
	byIndex := err == nil
	for i, b := range l.boards {
		if byIndex && i == index || !byIndex && b.err == nil && strings.EqualFold(b.about.UUID, name) {
			if b.err != nil {
				return nil, fmt.Errorf("%w; to go on without it, name the others: %s", b.err, l.inventory())
			}
			return b, nil
		}
	}
	if strings.HasPrefix(name, "MIG-") {
		return nil, fmt.Errorf("%s is a MIG instance, and no sensor tells its power apart from its board's; name the board: %s", name, l.inventory())
	}
	return nil, fmt.Errorf("no board %q; %s", name, l.inventory())
}

// inventory lists the boards for an error message.
func (l *Library) inventory() string {
	list := make([]string, len(l.boards))
	for i, b := range l.boards {
		if b.err != nil {
			list[i] = fmt.Sprintf("%d: does not answer", i)
		} else {
			list[i] = fmt.Sprintf("%d: %s %s", i, b.about.Name, b.about.UUID)
		}
	}
	return "there are " + strings.Join(list, ", ")
}
