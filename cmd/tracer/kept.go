package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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

// kept is what a dataset knows about all of the boards; it is nil where one is missing, or was calibrated less.
func (b *boards) kept(out, mode string) ([]schema.Calibration, error) {
	var found []schema.Calibration
	for _, board := range b.facts() {
		text, err := os.ReadFile(calibrationPath(out, board))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		var k keptCalibration
		if err == nil {
			err = json.Unmarshal(text, &k)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", calibrationPath(out, board), err)
		}
		if k.UUID != board.UUID || k.Driver != board.DriverVersion || k.VBIOS != board.VBIOS || k.PowerInstant.Period == 0 || mode == calibrateActive && k.Mode != mode {
			return nil, nil
		}
		found = append(found, k.Calibration)
	}
	return found, nil
}

// keep writes down what was found. A board whose period was not found is tried again next time.
func (b *boards) keep(out, mode string, found []schema.Calibration) error {
	for i, board := range b.facts() {
		if found[i].PowerInstant.Period == 0 {
			continue
		}
		text, err := json.MarshalIndent(keptCalibration{board.Name, board.UUID, board.DriverVersion, board.VBIOS, mode, found[i]}, "", "  ")
		if err != nil {
			return fmt.Errorf("keeping the calibration of %s: %w", board.UUID, err)
		}
		if err := writeWhole(calibrationPath(out, board), append(text, '\n')); err != nil {
			return fmt.Errorf("keeping the calibration of %s: %w", board.UUID, err)
		}
	}
	return nil
}

// writeWhole replaces a file at once.
func writeWhole(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".calibration-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
