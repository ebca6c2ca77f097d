package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/nebula/author"
	"github.com/llm-tracer/tracer/nebula/corpus"
	"github.com/llm-tracer/tracer/pipeline/bucket"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

const (
	nebulaKeyName = "NEBULA_API_KEY"
	nebulaURLName = "NEBULA_BASE_URL"
)

type prompts struct {
	corpusFlags
	Seed       int64  `default:"1" placeholder:"N" help:"Of the prompts (default: ${default})."`
	Out        string `default:"datasets" placeholder:"DIR" help:"Dataset to write prompts/<id>.parquet into (default: ${default})."`
	Source     string `default:"builtin" enum:"builtin,nebula" placeholder:"NAME" help:"Who writes the long texts: builtin, offline; nebula, a model behind NEBULA_BASE_URL (default: ${default})."`
	Writer     string `placeholder:"NAME" help:"Model that writes, for --source nebula (default: the only one that is listed there)."`
	Endpoint   string `placeholder:"URL" help:"Server to be traced later: its own tokenizer counts (default: none)."`
	Model      string `placeholder:"NAME" help:"Model to be traced there (default: the only one that the server lists)."`
	APIKeyFile string `name:"api-key-file" placeholder:"PATH" help:"File that holds the key to --endpoint (default: the environment's TRACER_API_KEY)."`
	DryRun     bool   `name:"dry-run" help:"Say how many requests and tokens --source nebula would take; ask and write nothing."`
	JSON       bool   `name:"json" help:"Print the result as JSON."`
	tlsFlags
}

// Help is printed under the flags.
func (*prompts) Help() string {
	return `Make a corpus once, and send it again and again:

  tracer prompts --out datasets
  tracer collect --corpus datasets/prompts/<id>.parquet

With texts by a model, resumable at any point (the key is read from the environment or .env, never from the command line):

  export NEBULA_API_KEY
  tracer prompts --source nebula --writer llama3.1:8b --dry-run
  tracer prompts --source nebula --writer llama3.1:8b`
}

// Run makes a corpus and stores it.
func (c *prompts) Run(t *terminal, l *layers) error {
	spec, err := c.spec(c.Seed)
	switch {
	case err != nil:
		return err
	case c.Out == "":
		return usage("--out is empty; name a folder")
	case bucket.IsRemote(c.Out):
		return local("--out", c.Out, "collect --corpus takes a corpus from a folder, and its run brings it to the store")
	case c.Corpus != "" && c.Source == corpus.SourceNebula:
		return usage("--corpus with --source nebula: the prompts are in the file already; leave one of them out")
	}
	if _, err := c.tls(); err != nil { // before anything is asked
		return err
	}
	again := c.warn(t)
	defer again()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	counter, err := c.counter(ctx, t, l)
	if err != nil {
		return err
	}
	if c.Corpus == "" {
		if err := corpus.Check(ctx, spec, counter); err != nil {
			return notMade(err)
		}
	}
	if c.DryRun && c.Source == corpus.SourceNebula {
		return c.printCost(t, spec)
	}
	made, note, err := c.write(ctx, t, l, counter, spec)
	if ctx.Err() != nil {
		return c.interrupted()
	}
	if err != nil {
		return err
	}
	if note != "" {
		fmt.Fprintln(t.err, note)
	}
	if _, served := counter.(serverCounter); c.Corpus != "" && (served || c.Tokenizer != "") {
		if err := recount(ctx, t, made, counter); err != nil {
			return err
		}
	}
	if c.DryRun {
		return c.report(t, made, "")
	}
	path, err := store.PublishCorpus(c.Out, schema.CorpusID(made), made)
	if err != nil {
		return unwritable(c.Out, err)
	}
	return c.report(t, made, path)
}

// interrupted says what a corpus that was not made leaves behind: a model's answers, or nothing.
func (c *prompts) interrupted() error {
	if c.Source == corpus.SourceNebula {
		if kept, err := author.Peek(c.store()); err == nil && kept.Len() > 0 {
			return &codedError{exitInterrupted, fmt.Errorf("interrupted; no corpus was written, and %d answers are kept in %s: the same command goes on from there", kept.Len(), c.store())}
		}
	}
	return &codedError{exitFailure, errors.New("interrupted; nothing was written")}
}

// recount has the prompts of a stored corpus counted by whoever was named for it; their texts stay as they are.
func recount(ctx context.Context, t *terminal, made []schema.Prompt, counter corpus.Counter) error {
	if !slices.ContainsFunc(made, func(p schema.Prompt) bool { return p.Tokenizer != counter.Name() }) {
		return nil
	}
	if err := corpus.Recount(ctx, made, counter); err != nil {
		return err
	}
	if misfits, furthest := corpus.Misfits(made); misfits > 0 {
		fmt.Fprintf(t.err, "%d prefill prompts are not their size by %s, the furthest by %+d tokens\n", misfits, counter.Name(), furthest)
	}
	return nil
}

// counter is the traced server's own where one is named, else one of ours. A server that only the configuration names, for
// other commands perhaps, can be done without.
func (c *prompts) counter(ctx context.Context, t *terminal, l *layers) (corpus.Counter, error) {
	if c.Tokenizer != "" || c.Endpoint == "" || c.Endpoint == "sim" {
		return c.localCounter()
	}
	server, err := c.server(ctx, l)
	if err == nil {
		return server, nil
	}
	if !l.found["endpoint"] || ctx.Err() != nil {
		return nil, err
	}
	local, localErr := c.localCounter()
	if localErr == nil {
		fmt.Fprintf(t.err, "%s counts instead of the server that the environment, .env or tracer.yaml names as endpoint: %v\n", local.Name(), err)
	}
	return local, localErr
}

func (c *prompts) server(ctx context.Context, l *layers) (serverCounter, error) {
	key, err := l.key(c.APIKeyFile)
	if err != nil {
		return serverCounter{}, err
	}
	client, _, err := c.connectTo(ctx, nebula.Config{Endpoint: c.Endpoint, Key: key, Model: c.Model}, "--endpoint", "--model")
	if err != nil {
		return serverCounter{}, err
	}
	server, counts := client.Tokenizer()
	if !counts {
		return serverCounter{}, environment(fmt.Errorf("%s counts no tokens on request; leave --endpoint out, or give the model's tokenizer.json with --tokenizer", client.Endpoint()))
	}
	return serverCounter{server}, nil
}

// connectTo asks a server what it is and makes a client for the model named, or for its only one.
func (c *prompts) connectTo(ctx context.Context, cfg nebula.Config, endpoint, model string) (*nebula.Client, string, error) {
	var err error
	if cfg.TLS, err = c.tls(); err != nil {
		return nil, "", err
	}
	info, err := nebula.Detect(ctx, cfg)
	if err != nil {
		return nil, "", unserved(err, endpoint)
	}
	if cfg.Model, err = chooseModel(info, cfg.Model, model); err != nil {
		return nil, "", err
	}
	cfg.Profile = info.Profile
	client, err := nebula.New(cfg)
	if err != nil {
		return nil, "", usage("%s: %w", endpoint, err)
	}
	return client, cfg.Model, nil
}

// write makes the prompts, with a model's texts where they are wanted.
func (c *prompts) write(ctx context.Context, t *terminal, l *layers, counter corpus.Counter, spec corpus.Spec) ([]schema.Prompt, string, error) {
	if c.Source != corpus.SourceNebula {
		made, note, err := c.build(ctx, c.Seed, counter, nil)
		return made, note, notMade(err)
	}
	key := l.secret(nebulaKeyName)
	base, _ := l.Variable(nebulaURLName)
	if base == "" && !key.Set() {
		return nil, "", environment(fmt.Errorf("%s is not set: put the key (Settings > Account on the site) into the environment or .env, or name another server in %s", nebulaKeyName, nebulaURLName))
	}
	client, model, err := c.connectTo(ctx, nebula.Config{
		Endpoint: cmp.Or(base, nebula.DefaultEndpoint), Key: key, Model: c.Writer, ContextTokens: author.ContextTokens,
		Temperature: 0.8, Tries: 12,
	}, nebulaURLName, "--writer")
	if err != nil {
		return nil, "", err
	}
	store, err := author.Open(c.store())
	if err != nil {
		return nil, "", environment(err)
	}
	defer store.Close() //nolint:errcheck // every answer is synced by now
	writer := author.New(client, model, spec.Seed, store)
	fmt.Fprintf(t.err, "%s at %s writes; answers are kept in %s\n", model, client.Endpoint(), c.store())
	end := t.showWriting(writer, writer.Cost(spec))
	made, note, err := c.build(ctx, c.Seed, counter, writer)
	end()
	if refused, ok := errors.AsType[*author.RefusedError](err); ok {
		err = environment(fmt.Errorf("%w\n%d answers are kept; the same command goes on from there (%s)", err, store.Len(), mendOf(refused.ErrorType)))
	}
	return made, note, notMade(err)
}

func (c *prompts) store() string {
	return filepath.Join(c.Out, "_tracer", "prompts", "answers.jsonl")
}

// mendOf is what to do about a server that refuses to write.
func mendOf(errorType string) string {
	switch errorType {
	case nebula.ErrTypeAuth:
		return "check " + nebulaKeyName
	case nebula.ErrTypeOverloaded:
		return "it is overloaded; try later, or another --writer"
	default:
		return "check " + nebulaURLName + " and --writer"
	}
}

func (c *prompts) printCost(t *terminal, spec corpus.Spec) error {
	store, err := author.Peek(c.store())
	if err != nil {
		return environment(err)
	}
	if c.Writer == "" && store.Len() > 0 {
		fmt.Fprintf(t.err, "without --writer none of the %d answers in %s is taken into account\n", store.Len(), c.store())
	}
	cost := author.New(nil, c.Writer, spec.Seed, store).Cost(spec)
	if c.JSON {
		return json.NewEncoder(t.out).Encode(cost)
	}
	_, err = fmt.Fprintf(t.out, "requests  about %d, at most %d at once; %d answers are stored already\ntokens    about %d in and %d out, never more than %d out\n",
		cost.Requests, corpus.Workers, cost.Stored, cost.Input, cost.Output, cost.Most)
	return err
}

// madeCorpus is what a corpus is, for the screen.
type madeCorpus struct {
	ID        string         `json:"corpus_id"`
	Path      string         `json:"path,omitempty"`
	Prompts   int            `json:"prompts"`
	Tokens    int64          `json:"text_tokens"`
	Tokenizer string         `json:"tokenizer"`
	Sources   map[string]int `json:"sources"`
}

func (c *prompts) report(t *terminal, made []schema.Prompt, path string) error {
	m := madeCorpus{ID: schema.CorpusID(made), Path: path, Prompts: len(made), Tokenizer: made[0].Tokenizer, Sources: map[string]int{}}
	for i := range made {
		m.Tokens += int64(made[i].TextTokens)
		m.Sources[made[i].Source]++
	}
	if c.JSON {
		return json.NewEncoder(t.out).Encode(m)
	}
	_, err := fmt.Fprintf(t.out, "%d prompts, %d tokens by %s, texts by %s\n", m.Prompts, m.Tokens, m.Tokenizer, strings.Join(slices.Sorted(maps.Keys(m.Sources)), " and "))
	if path != "" && err == nil {
		_, err = fmt.Fprintf(t.out, "%s\n\nGo on with\n\n  tracer collect --corpus %s\n", path, path)
	}
	return err
}

// showWriting reports on a model that writes until the returned function is called.
func (t *terminal) showWriting(m *author.Model, cost author.Cost) (end func()) {
	began := time.Now()
	return t.repeat(func() string {
		asked, used := m.Asked()
		return writingProgress(asked, used, cost, time.Since(began))
	})
}

// writingProgress is one line of it. Short answers are asked to go on, so there may be more than were planned.
func writingProgress(asked, used int64, cost author.Cost, spent time.Duration) string {
	planned, left := int64(cost.Requests), "some time"
	if asked > planned {
		return fmt.Sprintf("%d answers, about %d were planned, %d tokens, %s left", asked, planned, used, left)
	}
	if asked > 0 {
		left = (spent / time.Duration(asked) * time.Duration(planned-asked)).Round(time.Second).String()
	}
	return fmt.Sprintf("%d of about %d answers, %d tokens, %s left", asked, planned, used, left)
}
