package store

import (
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// card is the dataset's README, with the front matter that Hugging Face reads tables from.
//
//go:embed card.md
var card []byte

// Card is what a new dataset's README says.
func Card() []byte { return slices.Clone(card) }

// writeCard puts the card at the head of a new dataset, by way of the caller's own folder for unfinished files; one that
// stands there, perhaps edited, is left alone.
func (r Run) writeCard(dir string) error {
	tmp := filepath.Join(dir, "card")
	if err := writeSynced(tmp, card); err != nil {
		return fmt.Errorf("writing the dataset's README: %w", err)
	}
	if err := r.move(tmp, "README.md"); !errors.Is(err, ErrRunExists) {
		return err
	}
	return nil
}
