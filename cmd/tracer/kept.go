package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/llm-tracer/tracer/schema"
)

// keptCalibration is a calibration as it stands in a dataset, under _tracer/calibration: sensors change with the driver
// and the VBIOS.
type keptCalibration struct {
	GPU    string `json:"gpu_name"`
	UUID   string `json:"gpu_uuid"`
	Driver string `json:"driver_version"`
	VBIOS  string `json:"vbios_version"`
	Mode   string `json:"mode"`
	schema.Calibration
}

func calibrationPath(out string, b schema.Board) string {
	return filepath.Join(out, "_tracer", "calibration", schema.Slug(b.UUID)+".json")
}

// readKept is what a dataset knows about a board; it reports false where that is nothing, or is about another driver.
func readKept(out string, b schema.Board) (k keptCalibration, ok bool, err error) {
	text, err := os.ReadFile(calibrationPath(out, b))
	if errors.Is(err, fs.ErrNotExist) {
		return k, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err != nil {
		return k, false, fmt.Errorf("reading %s: %w", calibrationPath(out, b), err)
	}
	return k, k.UUID == b.UUID && k.Driver == b.DriverVersion && k.VBIOS == b.VBIOS && k.PowerInstant.Period > 0, nil
}

// kept is what a dataset knows about all of the boards; it is nil where one is missing, or was calibrated less.
func (b *boards) kept(out, mode string) ([]schema.Calibration, error) {
	var found []schema.Calibration
	for _, board := range b.here() {
		k, ok, err := readKept(out, board)
		if err != nil || !ok || mode == calibrateActive && k.Mode != mode {
			return nil, err
		}
		found = append(found, k.Calibration)
	}
	return found, nil
}

// keep writes down what was found, together with the windows that were measured before. A board whose period was not found
// is tried again next time.
func (b *boards) keep(out, mode string, found []schema.Calibration) error {
	for i, board := range b.here() {
		mode := mode
		if found[i].PowerInstant.Period == 0 {
			continue
		}
		if before, ok, _ := readKept(out, board); ok && mode == calibrateAuto && before.Mode == calibrateActive { // one that cannot be read is replaced
			mode = before.Mode
			inherit(&found[i].PowerInstant, before.PowerInstant)
			inherit(&found[i].PowerAverage, before.PowerAverage)
		}
		text, err := json.MarshalIndent(keptCalibration{board.Name, board.UUID, board.DriverVersion, board.VBIOS, mode, found[i]}, "", "  ")
		if err == nil {
			err = writeWhole(calibrationPath(out, board), append(text, '\n'))
		}
		if err != nil {
			return fmt.Errorf("keeping the calibration of %s: %w", board.UUID, err)
		}
	}
	return nil
}

func inherit(f *schema.FieldCalibration, before schema.FieldCalibration) {
	f.Window, f.WindowError = before.Window, before.WindowError
}

// writeWhole replaces a file at once.
func writeWhole(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(path), fmt.Sprintf(".calibration-%016x", rand.Uint64()))
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) // as the umask has it, unlike os.CreateTemp
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
