package sampler

import (
	"strconv"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// Architectures, in the catalog's words. GA100 is apart from the rest of Ampere because its power sensor is.
const (
	Pascal      = "pascal"
	Volta       = "volta"
	Turing      = "turing"
	AmpereGA100 = "ampere-ga100"
	AmpereGA10x = "ampere-ga10x"
	Ada         = "ada"
	Hopper      = "hopper"
	Blackwell   = "blackwell"
	Unknown     = "unknown"
)

// Where the numbers of a sensor come from.
const (
	// ProvenanceTable, followed by the architecture, is the table below.
	ProvenanceTable = "table:"
	// ProvenanceAssumed, followed by the architecture, is the table below for a driver that it was not measured with.
	ProvenanceAssumed = "assumed:"
	// ProvenanceSimulated is a board that was built with these numbers.
	ProvenanceSimulated = "simulated"
	// ProvenanceUnknown is neither: the period is a guess and the window is zero, that is, not known.
	ProvenanceUnknown = "unknown"
)

// lastOldDriver is the branch up to which drivers behaved otherwise: 530 alone made power.draw instant on GA10x and Ada.
const lastOldDriver = 530

// unknownPeriod is the period of nearly every board that was measured.
const unknownPeriod = 100 * time.Millisecond

// uncalibratedGain bounds the gain of power sensors that no external meter was held against: −4 to −6 % on A100, 3090,
// 4090 and A5000 (arXiv 2312.02741).
const uncalibratedGain = 0.06

type powerSensors struct {
	instant sensorShape // field 186
	average sensorShape // field 185; zero where the architecture has none
}

type sensorShape struct{ period, window time.Duration }

// powerTable holds update periods and averaging windows from Yang, Adamek and Armour, "Accurate and Convenient Energy
// Measurements for GPUs" (SC24, arXiv 2312.02741), for drivers after 530. Pascal is measured on P100, Volta on V100,
// GA10x on A10, A40, 3090 and A5000, Ada on 4090, Hopper on H100 PCIe; other boards of an architecture follow by class.
// Windows differ even between nodes: A100s of one node showed 18 to 19 ms, H100s 21 to 25, a Quadro RTX 8000 20, so the
// table is where a calibration starts. That field 185 is a 1 s average, on Ampere except GA100 and later, is nvml.h's
// own word.
var powerTable = map[string]powerSensors{
	Pascal:      {instant: milliseconds(20, 10)},
	Volta:       {instant: milliseconds(20, 10)},
	Turing:      {instant: milliseconds(100, 100)},
	AmpereGA100: {instant: milliseconds(100, 25)},
	AmpereGA10x: {instant: milliseconds(100, 100), average: milliseconds(100, 1000)},
	Ada:         {instant: milliseconds(100, 100), average: milliseconds(100, 1000)},
	Hopper:      {instant: milliseconds(100, 25), average: milliseconds(100, 1000)},
}

func milliseconds(period, window time.Duration) sensorShape {
	return sensorShape{period * time.Millisecond, window * time.Millisecond}
}

// InstantPower is how field 186 behaves on an architecture. Nobody has published measurements for Blackwell: there, and
// for an architecture that NVML does not name, the window is zero and the provenance says unknown.
func InstantPower(architecture, driverVersion string) schema.Sensor {
	sensors, ok := powerTable[architecture]
	if !ok {
		return schema.Sensor{Period: unknownPeriod, GainError: uncalibratedGain, Provenance: ProvenanceUnknown}
	}
	return sensors.instant.sensor(architecture, driverVersion)
}

// AveragePower is how field 185 behaves on an architecture, and whether it exists there.
func AveragePower(architecture, driverVersion string) (schema.Sensor, bool) {
	average := powerTable[architecture].average
	s := average.sensor(architecture, driverVersion)
	s.Average = true
	return s, average != sensorShape{}
}

func (s sensorShape) sensor(architecture, driverVersion string) schema.Sensor {
	provenance := ProvenanceTable
	if branch, ok := driverBranch(driverVersion); ok && branch <= lastOldDriver {
		provenance = ProvenanceAssumed
	}
	return schema.Sensor{Period: s.period, Window: s.window, GainError: uncalibratedGain, Provenance: provenance + architecture}
}

// driverBranch is the 570 of 570.124.06.
func driverBranch(version string) (int, bool) {
	major, _, _ := strings.Cut(version, ".")
	branch, err := strconv.Atoi(major)
	return branch, err == nil
}

// HasGPM says whether boards of an architecture can have GPM metrics; the driver has the last word.
func HasGPM(architecture string) bool { return architecture == Hopper || architecture == Blackwell }
