// Package sampler reads boards: which sensors, how often, and when exactly.
//
// Sensors are grouped in lanes, each with its own rhythm, because a power sensor has something new to say every 20 to
// 100 ms and a thermometer every second, and because every call costs the driver something. One goroutine, locked to its
// thread, makes all calls: NVML crashes drivers when it is called concurrently, even for different boards. It keeps
// absolute deadlines, notes when each reading began and ended, and hands readings to a Sink that must never block. A governor
// reads a board less often whose calls take too long. A watchdog gives up a call that does not come back: that board is lost,
// and another goroutine reads the rest. Before a run, Observe measures how the sensors behave.
package sampler

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/llm-tracer/tracer/schema"
)

// Lane is a set of sensors that are read at one rhythm; lanes combine as bits.
type Lane uint8

// The lanes of a plan.
const (
	LanePower       Lane = 1 << iota // instant power (field 186)
	LaneUtilization                  // utilisation rates, average power (field 185)
	LaneGPM                          // SM, tensor and DRAM activity, Hopper and later
	LaneSlow                         // energy counter, clocks, temperatures, memory, p-state, limits, throttle reasons

	// AllLanes is every lane at once.
	AllLanes = LanePower | LaneUtilization | LaneGPM | LaneSlow
)

const lanes = 4

var laneNames = [lanes]string{"power", "utilisation", "gpm", "slow"}

// String names the lanes, joined with +.
func (l Lane) String() string {
	var names []string
	for i, name := range laneNames {
		if l&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "+")
}

// slowest is the position of the lane with the longest period.
func (l Lane) slowest() int { return bits.Len8(uint8(l&AllLanes)) - 1 }

// ErrBoardLost says that a board answers no longer; its readings stop and the other boards go on.
var ErrBoardLost = errors.New("board lost")

// ErrResetRequired is an ErrBoardLost of a board that says that it must be reset.
var ErrResetRequired = fmt.Errorf("%w: reset required", ErrBoardLost)

// ErrReopened says that the driver had to be opened anew, which worked: there is no reading, but the next may follow.
var ErrReopened = errors.New("driver opened anew")

// Device is one board as the sampler reads it. It is used by one goroutine at a time.
type Device interface {
	// Board is what stays the same about the board.
	Board() schema.Board
	// Read fills in the sensors of the given lanes. A sensor that is unsupported or fails stays absent; errors wrap
	// ErrBoardLost or ErrReopened.
	Read(lanes Lane, r *schema.Reading) error
}

// Sink takes readings. Push copies the reading; it never blocks, and reports false when it had to drop it.
type Sink interface {
	Push(r *schema.Reading) bool
}
