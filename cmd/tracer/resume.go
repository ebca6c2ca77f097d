package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// Flags that say nothing of what a run measures: a continuation has its own.
var ofOneInvocation = []string{"help", "out", "spool", "json", "dry-run", "resume", "run-id", "rank", "go-on"}

// Flags that a continuation may give anew: a server that was restarted may have another address.
var mayChange = []string{"endpoint", "ssh", "api-key-file", "ca", "client-cert", "client-key", "insecure", "silence", "patience", "driver-timeout", "max-invalid"}

// optionsOf is every flag of the command as it was resolved. Keys have no flag.
func optionsOf(k *kong.Context) map[string]string {
	options := map[string]string{}
	for _, f := range k.Selected().Flags {
		if !slices.Contains(ofOneInvocation, f.Name) {
			options[f.Name] = flagText(f.Target)
		}
	}
	return options
}

func flagText(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Slice {
		return fmt.Sprint(v.Interface())
	}
	parts := make([]string, v.Len())
	for i := range parts {
		parts[i] = fmt.Sprint(v.Index(i).Interface())
	}
	return strings.Join(parts, ",")
}

// resumption is what is left to do of a run and those that have gone on with it.
type resumption struct {
	root   store.Manifest // the first run
	boards []schema.Board // of the first run
	done   map[sending]bool
	sent   []analysis.Sent
}

// sending is one repetition of one prompt.
type sending struct {
	prompt     string
	repetition int32
}

// left leaves out what has been sent.
func (r *resumption) left(prompts []schema.Prompt) []schema.Prompt {
	return slices.DeleteFunc(prompts, func(p schema.Prompt) bool { return r.done[sending{p.ID, p.Repetition}] })
}

// takeUp recovers the run that is to be gone on with, takes its options over and finds out what it has not sent. It
// reports false where that is nothing.
func (c *collect) takeUp(t *terminal, k *kong.Context) (left bool, err error) {
	if c.RunID != "" && givenHere(k, "run-id") {
		return false, usage("--run-id with --resume: a continuation is named after its run; leave it out")
	}
	if err := store.CheckRunID(c.Resume); err != nil {
		return false, usage("--resume: %w", err)
	}
	all, err := beginnings(c.Out)
	if err != nil {
		return false, err
	}
	if c.Resume, err = c.own(c.Resume, all); err != nil {
		return false, err
	}
	if theirs := ranksOf(c.Resume, all); len(hostsOf(c.Resume, all)) == 0 && len(theirs) > 0 {
		return false, usage("--resume %s: there are %s of that name; name one of them", c.Resume, strings.Join(theirs, ", "))
	}
	if err := c.takeOver(k); err != nil { // before anything is published
		return false, err
	}
	if !c.DryRun { // which writes nothing
		if err := t.recoverChain(c.Out, c.Resume); err != nil {
			return false, err
		}
	}
	runs, err := chain(c.Out, c.Resume)
	if err != nil {
		return false, err
	}
	root := &runs[0]
	if root.Job == nil {
		return false, usage("--resume %s: a run of tracer overhead compares blocks of one sitting; run it again", c.Resume)
	}
	c.resumed = &resumption{root: *root, done: map[sending]bool{}}
	if c.resumed.boards, err = (analysis.Dataset{Dir: c.Out}).Measured(root); err != nil {
		return false, err
	}
	for i := range runs {
		sent, err := analysis.Dataset{Dir: c.Out}.Sent(&runs[i])
		if err != nil {
			return false, err
		}
		c.resumed.add(sent, runs[i].Status == schema.StatusComplete)
	}
	c.Corpus, c.order = filepath.Join(c.Out, schema.Prompts.Name, root.CorpusID+".parquet"), root.Job.Prompts
	if _, err := os.Stat(c.Corpus); err != nil {
		return false, usage("--resume %s: the prompts that it sends are not there: %w; restore that file from a copy or, where tracer made them, run tracer prompts with the run's flags: the same prompts get the same file name", c.Resume, err)
	}
	if c.RunID, err = nextID(c.Out, runs); err != nil {
		return false, err
	}
	c.Rank = rankNone // its run's, which has its own
	n := c.resumed.missing(root.Job.Prompts, c.Repeat)
	complete := runs[len(runs)-1].Status == schema.StatusComplete
	if n == 0 && (c.MinUpdates == 0 || complete) {
		fmt.Fprintf(t.out, "run %s is complete: every prompt has been sent, and there is nothing to resume\n", root.RunID)
		return false, nil
	}
	fmt.Fprintf(t.err, "run %s goes on as %s: %d of %d requests are left\n", root.RunID, c.RunID, n, len(root.Job.Prompts)*c.Repeat)
	return true, nil
}

// recoverChain publishes what journals hold of a run and of those that have gone on with it.
func (t *terminal) recoverChain(out, id string) error {
	for range 2 { // a continuation's journal tells its run
		found, err := journal.List(out)
		if err != nil {
			return unwritable(out, err)
		}
		root := id
		for _, r := range found {
			if r.Header.Run.ID == id && r.Header.Run.Continues != "" {
				root = r.Header.Run.Continues
			}
		}
		for _, r := range found {
			if run := r.Header.Run; run.ID == id || run.ID == root || run.Continues == root {
				if err := t.recoverRun(out, r, false); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// chain is a run and those that have gone on with it, in order.
func chain(out, id string) ([]store.Manifest, error) {
	catalog, err := store.ReadCatalog(out)
	if err != nil {
		return nil, err
	}
	var all []store.Manifest
	for _, m := range catalog.Runs {
		all = append(all, *m)
	}
	named := slices.IndexFunc(all, func(m store.Manifest) bool { return m.RunID == id })
	journals, err := journal.Names(out)
	if err != nil {
		return nil, err
	}
	if named < 0 && slices.Contains(journals, store.RunName(id, hostname())) { // of a dry run
		return nil, usage("--resume %s: it broke off, and is not published yet: tracer recover --out %s %s first", id, out, id)
	}
	if named < 0 {
		return nil, usage("--resume %s: no run of that name is published in %s", id, out)
	}
	root := id
	if all[named].Continues != "" {
		root = all[named].Continues
	}
	all = slices.DeleteFunc(all, func(m store.Manifest) bool { return m.RunID != root && m.Continues != root })
	slices.SortFunc(all, func(a, b store.Manifest) int { return number(a, root) - number(b, root) })
	if all[0].RunID != root {
		return nil, fmt.Errorf("run %s goes on with %s, which is not in %s", id, root, out)
	}
	return all, nil
}

// number counts the runs of a chain from 1.
func number(m store.Manifest, root string) int {
	if n, err := strconv.Atoi(strings.TrimPrefix(m.RunID, root+".")); err == nil {
		return n
	}
	return 1
}

// nextID is the first name for a continuation that nobody has taken.
func nextID(out string, runs []store.Manifest) (string, error) {
	root := runs[0].RunID
	for n := number(runs[len(runs)-1], root) + 1; ; n++ {
		id := fmt.Sprintf("%s.%d", root, n)
		if err := pipeline.Free(out, id, hostname()); !errors.Is(err, store.ErrRunExists) {
			return id, err
		}
	}
}

// add takes note of what one run has sent. A prompt that failed counts as sent if its run had gone on to another that was
// answered, or to its end: then it had been tried often enough.
func (r *resumption) add(sent []analysis.Sent, complete bool) {
	latest := int64(0) // start of the last answered request
	for i := range sent {
		if sent[i].ErrorType == "" {
			latest = max(latest, sent[i].StartNS)
		}
	}
	for i := range sent {
		s := &sent[i]
		final := s.ErrorType == "" || s.ErrorType != schema.ErrorInterrupted && (complete || s.StartNS < latest)
		if final {
			r.done[sending{s.Prompt.ID, s.Prompt.Repetition}] = true
		}
	}
	r.sent = append(r.sent, sent...)
}

// missing counts what was never sent.
func (r *resumption) missing(prompts []string, repeat int) (n int) {
	for _, id := range prompts {
		for repetition := range repeat {
			if !r.done[sending{id, int32(repetition + 1)}] {
				n++
			}
		}
	}
	return n
}

// repeated is the highest repetition of a size's prompts that was sent.
func (r *resumption) repeated(k size) (n int) {
	if r == nil {
		return 0
	}
	for i := range r.sent {
		if p := &r.sent[i].Prompt; k == (size{p.Workload, p.TargetTokens}) {
			n = max(n, int(p.Repetition))
		}
	}
	return n
}

// takeOver takes the options over of the run that is to be gone on with, published or not.
func (c *collect) takeOver(k *kong.Context) error {
	catalog, err := store.ReadCatalog(c.Out)
	if err != nil {
		return err
	}
	own := path.Join(store.Commits, store.RunName(c.Resume, hostname())+".json")
	if err := catalog.Unreadable[own]; err != nil {
		return fmt.Errorf("--resume %s: its manifest %s cannot be read: %w; restore it from a copy", c.Resume, own, err)
	}
	names, err := journal.Names(c.Out)
	if err != nil {
		return err
	}
	var all []store.Manifest // of journals, what stands in their headers
	for _, m := range catalog.Runs {
		all = append(all, *m)
	}
	for _, name := range names {
		h := journal.Peek(c.Out, name)
		all = append(all, store.Manifest{RunID: h.Run.ID, Host: h.Run.Host, Continues: h.Run.Continues, Rank: h.Run.Rank, Job: h.Job})
	}
	root := c.Resume
	for i := range all {
		switch m := &all[i]; {
		case m.RunID != c.Resume:
		case m.Host != hostname() && !movable(m.Rank):
			return usage("--resume %s: it was measured on %s; go on with it there", c.Resume, m.Host)
		case m.Continues != "":
			root = m.Continues
		}
	}
	if i := slices.IndexFunc(all, func(m store.Manifest) bool { return m.RunID == root }); i >= 0 && all[i].Job != nil {
		return takeOver(k, &all[i])
	}
	return nil // there is none, which is told
}

// takeOver sets every flag to what the run was started with, and refuses those that contradict it.
func takeOver(k *kong.Context, run *store.Manifest) error {
	var refused []error
	for _, f := range k.Selected().Flags {
		theirs, known := run.Job.Options[f.Name]
		if !known || f.Name == "gpu" && movable(run.Rank) && given(k, f.Name) { // a scheduler starts a rank again on what is free
			continue
		}
		if givenHere(k, f.Name) {
			if ours := flagText(f.Target); ours != theirs && !slices.Contains(mayChange, f.Name) {
				refused = append(refused, usage("--%s %s: run %s was started with %q; leave it out", f.Name, ours, run.RunID, theirs))
			}
			continue
		}
		f.Target.SetZero()
		if theirs == "" {
			continue
		}
		if err := f.Parse(kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: theirs}), f.Target); err != nil {
			return fmt.Errorf("taking over the options of run %s: %w", run.RunID, err)
		}
	}
	if len(refused) > 0 {
		return &codedError{exitUsage, errors.Join(refused...)}
	}
	return nil
}

// given says whether a flag was given at all, be it in the environment or a file.
func given(k *kong.Context, flag string) bool {
	return slices.ContainsFunc(k.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag.Name == flag })
}

// givenHere says whether a flag stands on the command line.
func givenHere(k *kong.Context, flag string) bool {
	return slices.ContainsFunc(k.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag.Name == flag && !p.Resolved })
}

// job is what going on with the run needs.
func (t *trace) job() *store.Job {
	if t.options == nil {
		return nil
	}
	ids := make([]string, len(t.corpus))
	for i := range t.corpus {
		ids[i] = t.corpus[i].ID
	}
	return &store.Job{Options: t.options, Prompts: ids}
}
