package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/pipeline/bucket"
	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
)

type pushCommand struct {
	From       string `arg:"" name:"dir" placeholder:"DIR" help:"Dataset to push; a URL alone stands for its spool."`
	To         string `arg:"" optional:"" name:"url" placeholder:"URL" help:"Where to: s3://bucket/prefix, gs://bucket/prefix or azblob://container/prefix."`
	Spool      string `placeholder:"DIR" help:"The spool, where it is not the usual one."`
	AssumeDead bool   `name:"assume-dead" help:"On a filesystem without locks: take it that no tracer is writing the runs any more that broke off."`
	JSON       bool   `name:"json" help:"Print the result as JSON."`
}

// Help is printed under the flags.
func (*pushCommand) Help() string {
	return `Puts the runs of a local dataset into an object store, and runs that collect could not put there: those that broke off are
recovered first. Objects are only ever created; what is there already with the same bytes is left alone, so a push that was
stopped is run again. A spool is emptied of what the store holds; any other folder stays as it is.

  tracer push datasets s3://bucket/prefix
  tracer push s3://bucket/prefix              # what is in the spool of collect --out s3://bucket/prefix`
}

// Run pushes.
func (c *pushCommand) Run(t *terminal) error {
	spool, err := c.source()
	if err != nil {
		return err
	}
	if is, err := os.Stat(spool.Dir); err != nil || !is.IsDir() || !store.IsDataset(spool.Dir) {
		return usage("%w in %s: there is nothing to push", store.ErrNoDataset, spool.Dir)
	}
	broken := t.recoverAll(spool.Dir, c.AssumeDead)
	ctx, stop := interruptible()
	defer stop()
	b, err := bucket.Open(ctx, spool.At)
	if err != nil {
		return err
	}
	done := []bucket.Pushed{}
	tell := func(p bucket.Pushed) {
		done = append(done, p)
		t.tellPushed(spool.At)(p)
	}
	if spool.Is() {
		err = spool.Empty(ctx, b, tell)
	} else {
		err = b.Push(ctx, spool.Dir, tell)
	}
	err = stopped(ctx, errors.Join(err, b.Close()))
	switch {
	case c.JSON:
		err = errors.Join(err, t.json(struct {
			Store string          `json:"store"`
			Runs  []bucket.Pushed `json:"runs"`
		}{spool.At.String(), done}))
	case err == nil && len(done) == 0:
		fmt.Fprintf(t.out, "nothing to push in %s\n", spool.Dir)
	}
	return errors.Join(err, broken)
}

// source is the folder that is pushed, and where to.
func (c *pushCommand) source() (bucket.Spool, error) {
	switch {
	case c.To == "" && !bucket.IsRemote(c.From):
		return bucket.Spool{}, usage("name where to: tracer push %s s3://bucket/prefix", c.From)
	case c.To == "":
		at, err := place(c.From)
		if err != nil {
			return bucket.Spool{}, err
		}
		spool, err := bucket.SpoolOf(at, c.Spool)
		if err != nil {
			err = environment(err)
		}
		return spool, err
	case bucket.IsRemote(c.From) || !bucket.IsRemote(c.To):
		return bucket.Spool{}, usage("a push goes from a folder to a store: tracer push DIR s3://bucket/prefix")
	case c.Spool != "":
		return bucket.Spool{}, usage("--spool %s: the folder is named already; leave it out", c.Spool)
	}
	at, err := place(c.To)
	return bucket.Spool{Dir: c.From, At: at}, err
}

// recoverAll publishes what the journals of a folder hold, but for those that are being written.
func (t *terminal) recoverAll(dir string, assumeDead bool) error {
	found, err := journal.List(dir)
	if err != nil {
		return environment(err)
	}
	var failed []error
	for _, r := range found {
		if errors.Is(r.Err, journal.ErrLive) {
			fmt.Fprintf(t.err, "run %s is being written; it is left alone\n", query.Printable(r.Name))
			continue
		}
		failed = append(failed, (&terminal{out: t.err, err: t.err}).recoverRun(dir, r, assumeDead))
	}
	return worst(failed)
}
