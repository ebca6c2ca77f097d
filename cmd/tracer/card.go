package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/pipeline/bucket"
)

type cardCommand struct {
	Dir     string `arg:"" placeholder:"DIR" help:"Dataset to describe."`
	Title   string `placeholder:"TEXT" help:"Its name (default: the one that the card has)."`
	Licence string `name:"license" placeholder:"ID" help:"Its licence, as Hugging Face abbreviates it, such as cc-by-4.0 (default: the one that the card has, else unknown)."`
	Print   bool   `help:"Print the card, write nothing."`
}

// Help is printed under the flags.
func (*cardCommand) Help() string {
	return `Writes README.md of the dataset: what is in it, how it was measured, its limits and checksums, with the front matter that
Hugging Face reads. Text between <!-- keep --> and <!-- /keep --> is yours and stays.

  tracer card datasets --license cc-by-4.0`
}

var licences = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

// Run writes a dataset's card.
func (c *cardCommand) Run(t *terminal) error {
	if c.Licence != "" && !licences.MatchString(c.Licence) {
		return usage("--license %s: give one of Hugging Face's abbreviations, such as cc-by-4.0, mit or other", c.Licence)
	}
	return t.withDataset(c.Dir, nil, func(ctx context.Context, d *query.Dataset) error {
		card, err := analysis.NewCard(ctx, d, d.Dir())
		if err != nil {
			return err
		}
		path := filepath.Join(d.Dir(), "README.md")
		old, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := card.Keep(string(old)); errors.Is(err, analysis.ErrHandWritten) {
			return &codedError{exitConflict, fmt.Errorf("%s: %w", path, err)}
		} else if err != nil {
			return err
		}
		if c.Title != "" {
			card.Title = c.Title
		}
		if c.Licence != "" {
			card.Licence = c.Licence
		}
		text, err := card.Render()
		if err != nil {
			return err
		}
		if c.Print {
			_, err := fmt.Fprint(t.out, text)
			return err
		}
		return c.write(ctx, t, text)
	})
}

// write puts the card into the dataset, or into the store.
func (c *cardCommand) write(ctx context.Context, t *terminal, text string) error {
	path := filepath.Join(c.Dir, "README.md")
	if !bucket.IsRemote(c.Dir) {
		if err := replaceFile(path, text); err != nil {
			return fmt.Errorf("writing the card: %w", err)
		}
		_, err := fmt.Fprintln(t.out, path)
		return err
	}
	at, err := place(c.Dir)
	if err != nil {
		return err
	}
	b, err := bucket.Open(ctx, at)
	if err != nil {
		return err
	}
	if err := errors.Join(b.PutCard(ctx, text), b.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(t.out, at.Plain()+"/README.md")
	return err
}

// replaceFile puts a whole new file in the place of an old one.
func replaceFile(path, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".card-*")
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(text)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
