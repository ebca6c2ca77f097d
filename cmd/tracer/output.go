package main

import (
	"os"
	"path/filepath"
)

// outside refuses to write into a dataset: its files are those that manifests list, and its README is the card.
func outside(path string) error {
	if err := local("-o "+path, path, "write it there, and copy it to the store"); err != nil {
		return err
	}
	for folder := resolved(path); ; folder = filepath.Dir(folder) {
		if info, err := os.Stat(filepath.Join(folder, "_tracer", "commits")); err == nil && info.IsDir() {
			return usage("-o %s: it lies in the dataset %s; name a path outside of it", path, folder)
		}
		if folder == filepath.Dir(folder) {
			return nil
		}
	}
}

// resolved is a path without links, as far as it exists.
func resolved(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	whole, err := filepath.EvalSymlinks(path)
	switch {
	case err == nil:
		return whole
	case path == filepath.Dir(path):
		return path
	}
	return filepath.Join(resolved(filepath.Dir(path)), filepath.Base(path))
}
