package llamacpp

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/llm-tracer/tracer/internal/gguf"
)

// tinyModel is the path of the model, written on first use. Its name follows from its contents, so that another shape
// or another way of writing it is another file, and test processes that start at once agree.
func tinyModel() (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	contents := sha256.Sum256(fmt.Appendf(nil, "%d %+v", gguf.Revision, gguf.Tiny))
	path := filepath.Join(dir, fmt.Sprintf("tiny-%x.gguf", contents[:6]))
	_, err = os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, gguf.Tiny.WriteFile(path)
	case err != nil:
		return "", fmt.Errorf("looking for the model: %w", err)
	}
	return path, nil
}

// cacheDir is build/llama of the repository that the test runs in.
func cacheDir() (string, error) {
	root, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("looking for the repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(root)
		if parent == root {
			return "", errors.New("looking for the repository: no go.mod above the working directory")
		}
		root = parent
	}
	dir := filepath.Join(root, "build", "llama")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the model's folder: %w", err)
	}
	return dir, nil
}

// ModelFile is the model for those who start a server of their own.
func ModelFile() (string, error) { return tinyModel() }
