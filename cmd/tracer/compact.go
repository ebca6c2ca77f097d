package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/llm-tracer/tracer/analysis/compact"
	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/pipeline/store"
)

type compactCommand struct {
	Dir    string `arg:"" optional:"" default:"datasets" help:"Dataset (default: ${default})."`
	DryRun bool   `name:"dry-run" help:"Say what would be joined, change nothing."`
	JSON   bool   `name:"json" help:"Print the result as JSON."`
}

// Help is printed under the flags.
func (*compactCommand) Help() string {
	return `Joins the small files of each folder into files of up to 128 MiB: the same rows. Tracers may write and DuckDB may read
meanwhile; a query finds every row once, or, if it listed files that are gone when it opens them, ends with an error and is
to be asked again. A compaction that was killed is finished or undone by the next.`
}

// Run compacts a dataset.
func (c *compactCommand) Run(t *terminal) error {
	if err := local(c.Dir, c.Dir, "objects are only ever created there, so files cannot be joined in place: compact the folder before tracer push, or a copy, and push it to a prefix of its own"); err != nil {
		return err
	}
	folders := []compact.Folder{}
	tell := func(f compact.Folder) {
		folders = append(folders, f)
		if !c.JSON {
			c.print(t, f)
		}
	}
	var err error
	if c.DryRun {
		var plan []compact.Folder
		plan, err = compact.Plan(c.Dir)
		for _, f := range plan {
			tell(f)
		}
	} else {
		err = compact.Dataset(context.Background(), c.Dir, versionLine(), tell)
	}
	if c.JSON {
		err = errors.Join(err, t.json(struct {
			Dataset string           `json:"dataset"`
			DryRun  bool             `json:"dry_run"`
			Folders []compact.Folder `json:"folders"`
		}{c.Dir, c.DryRun, folders}))
	} else if err == nil && len(folders) == 0 {
		fmt.Fprintf(t.out, "%s: nothing to join\n", c.Dir)
	}
	if errors.Is(err, store.ErrNoExchange) {
		return environment(fmt.Errorf("%w; compact a copy of the dataset on a local file system (ext4, xfs, btrfs)", err))
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return environment(fmt.Errorf("%w; compact as a user who may read and write the dataset, or a copy of it", err))
	}
	return err
}

func (c *compactCommand) print(t *terminal, f compact.Folder) {
	if c.DryRun {
		fmt.Fprintf(t.out, "%s: would join %d files, %d rows, %d bytes\n", query.Printable(f.Path), len(f.Before), f.Rows, f.Was)
		return
	}
	fmt.Fprintf(t.out, "%s: %d files, %d rows, %d bytes, are now %d, %d bytes\n", query.Printable(f.Path), len(f.Before), f.Rows, f.Was, len(f.After), f.Is)
}
