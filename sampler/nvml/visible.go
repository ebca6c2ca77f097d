package nvml

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/llm-tracer/tracer/sampler"
)

// ErrNoneVisible says that CUDA_VISIBLE_DEVICES hides every board from CUDA's programs.
var ErrNoneVisible = errors.New("no board is visible")

// Visible finds the boards that CUDA_VISIBLE_DEVICES shows to CUDA's programs, of which NVML knows nothing: a list of indexes, UUIDs
// or the beginnings of UUIDs. CUDA counts the fastest board first unless CUDA_DEVICE_ORDER, which is order, is PCI_BUS_ID as NVML
// counts; on boards of one kind that is the same.
func (l *Library) Visible(list, order string) ([]sampler.Device, error) {
	switch strings.TrimSpace(list) {
	case "", "-1", "NoDevFiles", "none", "void": // Slurm's and others' words for it
		return nil, ErrNoneVisible
	}
	names := strings.Split(list, ",")
	for i, name := range names {
		name = strings.TrimSpace(name)
		names[i] = name
		if _, err := strconv.Atoi(name); err != nil {
			names[i] = l.completed(name)
			continue
		}
		if order != "PCI_BUS_ID" && l.mixed() {
			return nil, fmt.Errorf("%s counts boards as CUDA does, the fastest first, and there are several kinds; set CUDA_DEVICE_ORDER=PCI_BUS_ID for the server and for tracer: %s", name, l.inventory())
		}
	}
	return l.Select(strings.Join(names, ","))
}

// completed is the UUID that begins so, if there is one and no other.
func (l *Library) completed(beginning string) string {
	var found []string
	for _, b := range l.Boards() {
		if uuid := b.about.UUID; len(beginning) >= len("GPU-0") && len(beginning) <= len(uuid) && strings.EqualFold(uuid[:len(beginning)], beginning) {
			found = append(found, uuid)
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	return beginning
}

// mixed says whether boards may be of several kinds; of one that does not answer nobody knows.
func (l *Library) mixed() bool {
	return slices.ContainsFunc(l.boards, func(b *Board) bool { return b.err != nil || b.about.Name != l.boards[0].about.Name })
}
