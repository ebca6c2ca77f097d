package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/nvml"
	"github.com/llm-tracer/tracer/sampler/remote"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

const simPrefix = "sim:"

// boards are what --gpu names: here, real ones or simulated ones, never both; and those of other hosts, behind them.
type boards struct {
	devices   []sampler.Device
	hosts     []*remote.Host
	simulated []*sim.Board
	said      string        // which of the host's they are, where that goes without the user's word
	kind      catalog.Board // of the simulated ones
	patience  time.Duration // with one call
	close     func()

	calibrations []schema.Calibration // of the devices; nil before they are known
}

// facts are of all boards: a reading's board is a place in this list.
func (b *boards) facts() []schema.Board {
	facts := b.here()
	for _, h := range b.hosts {
		facts = append(facts, h.Facts().Boards...)
	}
	return facts
}

// here are the boards of this host.
func (b *boards) here() []schema.Board {
	facts := make([]schema.Board, len(b.devices))
	for i, d := range b.devices {
		facts[i] = d.Board()
		if b.calibrations != nil {
			facts[i].Calibration = b.calibrations[i]
			facts[i].Power = sampler.Calibrated(facts[i].Power, b.calibrations[i].PowerInstant)
		}
	}
	return facts
}

// tell says which boards these are.
func (b *boards) tell(t *terminal) {
	if b.said != "" {
		fmt.Fprintln(t.err, "note:", b.said)
	}
}

// openBoards opens what --gpu names. Nothing real is opened for simulated boards, and nothing is simulated unless asked.
func openBoards(spec string, patience time.Duration) (*boards, error) {
	if err := checkDriverTimeout(patience); err != nil {
		return nil, err
	}
	if strings.Contains(spec, ":/") {
		return nil, usage("--gpu %s: that is no board; those of another host are ssh://user@host/0,1", remote.Shown(spec))
	}
	if !strings.Contains(spec, simPrefix) {
		return openReal(spec, patience)
	}
	kind, n, err := simulatedKind(spec)
	if err != nil {
		return nil, err
	}
	b := &boards{kind: kind, patience: patience, close: func() {}}
	for i := range n {
		board := sim.NewBoard(kind, i)
		b.simulated = append(b.simulated, board)
		b.devices = append(b.devices, board)
	}
	return b, nil
}

// boardName is what a real board may be called: an index of NVML's, or a UUID.
var boardName = regexp.MustCompile(`^(0|[1-9][0-9]{0,3}|GPU-[0-9A-Za-z-]+)$`)

// checkSpec refuses what --gpu cannot mean anywhere, as far as that can be told without a driver.
func checkSpec(spec string) error {
	here, hosts := remote.Split(spec)
	for _, h := range hosts {
		at, err := remote.Parse(h)
		if err == nil {
			err = checkNames(at.Boards)
		}
		if err != nil {
			return usage("--gpu %s: %w", remote.Shown(h), err)
		}
	}
	if here == "" {
		return nil
	}
	if strings.Contains(here, simPrefix) {
		_, _, err := simulatedKind(here)
		return err
	}
	if err := checkNames(here); err != nil {
		return usage("--gpu %s: %w", here, err)
	}
	return nil
}

// checkNames judges a list of one host's boards.
func checkNames(list string) error {
	if strings.TrimSpace(list) == "auto" {
		return nil
	}
	if strings.Contains(list, simPrefix) {
		_, _, err := simulatedKind(list)
		return err
	}
	seen := map[string]bool{}
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case strings.HasPrefix(name, "MIG-"):
			return fmt.Errorf("%s is a MIG instance, and no sensor tells its power apart from its board's; name the board", name)
		case !boardName.MatchString(name):
			return fmt.Errorf("%q names no board: give auto alone, numbers as nvidia-smi counts, GPU-<uuid>, sim:A10, or ssh://user@host/0", name)
		case seen[name]:
			return fmt.Errorf("board %q is named twice", name)
		}
		seen[name] = true
	}
	return nil
}

func checkDriverTimeout(patience time.Duration) error {
	if patience < time.Second || patience > 10*time.Minute {
		return usage("--driver-timeout %v: give a time between 1s and 10m: calls of a driver can take seconds", patience)
	}
	return nil
}

// simulatedKind reads sim:NAME,sim:NAME,…: all of one kind, since one simulated server drives them all.
func simulatedKind(spec string) (kind catalog.Board, n int, err error) {
	for part := range strings.SplitSeq(spec, ",") {
		name, ok := strings.CutPrefix(part, simPrefix)
		if !ok {
			return kind, 0, usage("--gpu %s: real and simulated boards cannot be mixed; name either", spec)
		}
		found, err := catalog.BoardByName(name)
		if err != nil {
			return kind, 0, usage("--gpu %s: %w", spec, err)
		}
		if n > 0 && found.Name != kind.Name {
			return kind, 0, usage("--gpu %s: one simulated server drives all simulated boards, so they must be of one kind", spec)
		}
		kind, n = found, n+1
	}
	return kind, n, nil
}

func openReal(spec string, patience time.Duration) (*boards, error) {
	b, err := openLibrary(spec, "", patience)
	if errors.Is(err, nvml.ErrNoDriver) {
		err = environment(fmt.Errorf("%w\nEither run on the machine that has the GPU (tracer doctor says what is missing there), reach it with --gpu ssh://HOST, or simulate with --gpu sim:A10 --endpoint sim", err))
	}
	return b, err
}

// openLibrary opens boards through NVML: the loader's, or the library at a path.
func openLibrary(spec, path string, patience time.Duration) (*boards, error) {
	library, err := nvml.Open(nvml.Options{LibraryPath: path, Patience: patience})
	if err != nil {
		return nil, environment(err)
	}
	devices, said, err := selectBoards(library, spec)
	if err != nil {
		_ = library.Close()
		return nil, usage("--gpu %s: %w", spec, err)
	}
	return &boards{devices: devices, said: said, patience: patience, close: func() { _ = library.Close() }}, nil
}

// Variables of CUDA's, which schedulers set for a job that has some of a host's boards.
const (
	visibleDevices = "CUDA_VISIBLE_DEVICES"
	deviceOrder    = "CUDA_DEVICE_ORDER"
)

// selectBoards finds boards of a driver. auto is those that a server started in the same place would see; where these are not all, it
// says so.
func selectBoards(library *nvml.Library, spec string) (devices []sampler.Device, said string, err error) {
	list, confined := os.LookupEnv(visibleDevices)
	if strings.TrimSpace(spec) != "auto" || !confined {
		devices, err = library.Select(spec)
		return devices, "", err
	}
	if devices, err = library.Visible(list, os.Getenv(deviceOrder)); err != nil {
		return nil, "", fmt.Errorf("%s=%s: %w; unset it, or name boards with --gpu", visibleDevices, list, err)
	}
	if all := len(library.Boards()); len(devices) < all {
		said = fmt.Sprintf("auto is %d of the %d boards here: %s=%s", len(devices), all, visibleDevices, list)
	}
	return devices, said, nil
}

// hung is a driver that does not come back from a call, before anything was measured.
func hung(err error) error {
	return environment(fmt.Errorf("%w\nThat board's driver is stuck: see dmesg (Xid), reset the board or reboot, or name the others with --gpu", err))
}
