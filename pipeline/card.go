package pipeline

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// card is the dataset's README, with the front matter that Hugging Face reads tables from.
//
//go:embed card.md
var card []byte

// writeCard puts the card at the head of a new dataset; one that stands there, perhaps edited, is left alone.
func (d dataset) writeCard() error {
	err := writeSynced(filepath.Join(d.root, "README.md"), card)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("writing the dataset's README: %w", err)
	}
	return nil
}
