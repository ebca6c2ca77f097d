package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/llm-tracer/tracer/pipeline/bucket"
	"github.com/llm-tracer/tracer/pipeline/store"
)

// interruptible is a context that Ctrl-C ends.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

// stopped tells an interruption from what it led to.
func stopped(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return &codedError{exitFailure, errors.New("interrupted")}
	}
	return err
}

// place reads a URL that the user gave.
func place(text string) (bucket.Location, error) {
	at, err := bucket.Parse(text)
	if err != nil {
		err = &codedError{exitUsage, err}
	}
	return at, err
}

// inFolder gives f the dataset as a folder: the one that is named, or a view of a store that is there as long as f runs.
func (t *terminal) inFolder(ctx context.Context, dir string, look bucket.Look, f func(dir string) error) error {
	return t.inView(ctx, dir, look, func(v *bucket.View) error { return f(v.Dir) })
}

func (t *terminal) inView(ctx context.Context, dir string, look bucket.Look, f func(v *bucket.View) error) (err error) {
	if !bucket.IsRemote(dir) {
		return f(&bucket.View{Dir: dir})
	}
	at, err := place(dir)
	if err != nil {
		return err
	}
	cache, err := bucket.CacheHome()
	if err != nil {
		return environment(err)
	}
	b, err := bucket.Open(ctx, at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if look.Tell == nil {
		look.Tell = func(objects int, bytes int64) {
			fmt.Fprintf(t.err, "reading %s: %d objects, %.1f MB, that are not in %s\n", at, objects, float64(bytes)/1e6, cache)
		}
	}
	view, err := b.View(ctx, cache, look)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	return f(view)
}

// local refuses a store where only a folder will do.
func local(flag, dir, mend string) error {
	if bucket.IsRemote(dir) {
		return usage("%s: it names an object store, and this needs a folder; %s", flag, mend)
	}
	return nil
}

// spooled has a target that is in a store written into its spool.
type spooled struct {
	Spool  string        `placeholder:"DIR" help:"With a store as --out: where runs are kept until they are there (default: under ~/.local/state/tracer/spool)."`
	spool  *bucket.Spool // nil where --out is a folder
	bucket *bucket.Bucket
}

// locate finds the folder that is written into: out itself, or the spool of a store.
func (s *spooled) locate(out *string) error {
	if !bucket.IsRemote(*out) {
		if s.Spool != "" {
			return usage("--spool %s: it is for runs that go to an object store, and --out %s is a folder; leave it out", s.Spool, *out)
		}
		return nil
	}
	at, err := place(*out)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	spool, err := bucket.SpoolOf(at, s.Spool)
	if err != nil {
		return environment(err)
	}
	s.spool, *out = &spool, spool.Dir
	return nil
}

// named is --out as the user knows it.
func (s *spooled) named(out string) string {
	if s.spool != nil {
		return s.spool.At.String() + s.spoolFlag()
	}
	return out
}

// spoolFlag is what names the spool again, where it is not the usual one.
func (s *spooled) spoolFlag() string {
	if s.Spool != "" {
		return " --spool " + s.Spool
	}
	return ""
}

// reach opens the store, and makes the spool.
func (s *spooled) reach(ctx context.Context) (err error) {
	if s.spool == nil {
		return nil
	}
	if s.bucket, err = bucket.Open(ctx, s.spool.At); err != nil { // before anything is left behind
		return err
	}
	err = s.spool.Make()
	if err != nil && !errors.Is(err, bucket.ErrOtherSpool) && !errors.Is(err, bucket.ErrNoSpool) {
		err = environment(err)
	}
	return err
}

// begin makes sure, before anything is measured, that a run can go where it is to go.
func (s *spooled) begin(t *terminal, runID string) error {
	t.tellUnpushed(s.spool)
	if s.spool == nil {
		return nil
	}
	ctx, stop := interruptible()
	defer stop()
	err := s.bucket.Ready(ctx, store.RunName(runID, hostname()))
	if _, ok := errors.AsType[*bucket.RequestError](err); ok {
		err = fmt.Errorf("--out: %w\nNothing was begun; --out DIR writes into a folder, which tracer push can bring there later", err)
	}
	return stopped(ctx, err)
}

// deliver puts a run that is committed in the spool into the store, and those that it goes on with.
func (s *spooled) deliver(t *terminal, m *store.Manifest) error {
	if s.spool == nil {
		return nil
	}
	ctx, stop := interruptible()
	defer stop()
	err := s.bucket.Push(ctx, s.spool.Dir, t.tellPushed(s.spool.At), m.Name())
	if err = stopped(ctx, err); err != nil {
		return &codedError{exitCode(err), fmt.Errorf("%w\nRun %s is committed and whole in %s; tracer push %s%s puts it into the store", err, m.RunID, s.spool.Dir, s.spool.At, s.spoolFlag())}
	}
	return nil
}

// empty takes out of the spool what the store holds of a run and of those that it goes on with.
func (s *spooled) empty(m *store.Manifest) error {
	if s.spool == nil {
		return nil
	}
	ctx, stop := interruptible()
	defer stop()
	catalog, err := store.ReadCatalog(s.spool.Dir)
	if err != nil {
		return err
	}
	var chain []string
	for name, other := range catalog.Runs {
		if root := m.Continues; other.RunID == m.RunID || root != "" && (other.RunID == root || other.Continues == root) {
			chain = append(chain, name)
		}
	}
	if len(chain) == 0 { // another push has done it
		return nil
	}
	return s.spool.Empty(ctx, s.bucket, func(bucket.Pushed) {}, chain...)
}

func (s *spooled) close() error {
	if s.bucket == nil {
		return nil
	}
	return s.bucket.Close()
}

func (t *terminal) tellPushed(at bucket.Location) func(bucket.Pushed) {
	return func(p bucket.Pushed) {
		what := fmt.Sprintf("%d files, %.1f MB", p.Files, float64(p.Bytes)/1e6)
		if p.New < p.Files {
			what += fmt.Sprintf(", %d of them there already", p.Files-p.New)
		}
		fmt.Fprintf(t.err, "run %s is in %s: %s\n", p.Name, at, what)
	}
}

// tellUnpushed tells of runs in spools: the usual ones, and the one at hand.
func (t *terminal) tellUnpushed(own *bucket.Spool) {
	spools, _ := bucket.Spools() // no home, no spools
	if own != nil {
		spools = append(spools, *own)
	}
	told := map[string]bool{}
	for _, s := range spools {
		committed, broken, err := s.Left()
		if n := len(committed) + len(broken); err == nil && n > 0 && !told[s.Dir] {
			fmt.Fprintf(t.err, "note: %d run(s) in %s are not known to be in %s (%s); tracer push %s %s puts them there\n",
				n, s.Dir, s.At, strings.Join(append(committed, broken...), ", "), s.Dir, s.At)
		}
		told[s.Dir] = true
	}
}
