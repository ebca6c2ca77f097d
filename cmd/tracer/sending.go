package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/nebula/corpus"
	"github.com/llm-tracer/tracer/schema"
)

// maxRepeat keeps a slip of the finger from filling the memory.
const maxRepeat = 1000

// requests are what a run sends.
type requests struct {
	corpus  []schema.Prompt // each once
	prompts []schema.Prompt // in the order of sending, repetitions included
	warmup  []schema.Prompt
	sending corpus.Sending
}

// requests makes the corpus and the warm-up's own prompts: a prompt sent twice could be answered from a prefix cache.
func (c *collect) requests(ctx context.Context, s corpus.Sending) (r requests, note string, err error) {
	if r.corpus, note, err = c.build(ctx, c.Seed, s.Counter, nil); err != nil {
		return r, "", notMade(err)
	}
	s.Repeat = c.Repeat
	if r.prompts, err = s.Prepare(ctx, r.corpus); err != nil {
		return r, "", err
	}
	if c.Order == "interleaved" {
		r.prompts = corpus.Order(r.prompts, uint64(c.Seed))
	}
	if c.resumed != nil {
		r.prompts = c.resumed.left(r.prompts)
	}
	if c.Warmup == 0 {
		return r, note, nil
	}
	spec := corpus.Spec{Sizes: []int{warmupSize(r.corpus)}, PerSize: c.Warmup, Seed: ^uint64(c.Seed), ExactLength: c.ExactLength}
	for _, p := range r.corpus {
		if !slices.Contains(spec.Workloads, p.Workload) {
			spec.Workloads = append(spec.Workloads, p.Workload)
		}
	}
	if r.warmup, err = corpus.Build(ctx, spec, s.Counter, nil); err != nil {
		return r, "", notMade(err)
	}
	s.Repeat = 1
	if r.warmup, err = s.Prepare(ctx, corpus.Order(r.warmup, uint64(c.Seed))[:c.Warmup]); err != nil {
		return r, "", err
	}
	for i := range r.warmup {
		r.warmup[i].ID = "warmup-" + r.warmup[i].ID
	}
	return r, note, nil
}

// notMade is the error of a corpus that cannot be made: the sizes' fault, or that of whoever counts or writes.
func notMade(err error) error {
	if _, ok := errors.AsType[*corpus.SpecError](err); ok {
		return usage("--sizes: %w", err)
	}
	return err
}

// serverCounter is a server's tokenizer, whose failures are the environment's.
type serverCounter struct{ *nebula.Tokenizer }

func (c serverCounter) Count(ctx context.Context, text string) (int, error) {
	n, err := c.Tokenizer.Count(ctx, text)
	if err != nil && ctx.Err() == nil {
		err = environment(err)
	}
	return n, err
}

// warmupSize is large enough to touch every kernel and small enough not to cost time.
func warmupSize(prompts []schema.Prompt) int {
	smallest := slices.MinFunc(prompts, func(a, b schema.Prompt) int { return int(a.TargetTokens - b.TargetTokens) })
	size := smallest.TargetTokens
	for i := range prompts {
		if s := prompts[i].TargetTokens; s <= 100 {
			size = max(size, s)
		}
	}
	return int(size)
}

// offline makes the requests without a server, for a plan.
func (c *collect) offline() (requests, error) {
	counter, err := c.localCounter()
	if err != nil {
		return requests{}, err
	}
	openings, err := corpus.NewOpenings(context.Background(), counter, uint64(c.Seed))
	if err != nil {
		return requests{}, err
	}
	r, _, err := c.requests(context.Background(), corpus.Sending{Counter: counter, Openings: openings})
	return r, err
}

// ready makes the requests for the server that was found, and the client that sends them: what the server counts, what
// its chat template adds and how much it can read are asked before anything is measured.
//
// overhead has made its own requests, offline: each block is to have its share of them.
func (t *trace) ready(ctx context.Context) error {
	counter, err := t.localCounter()
	if err != nil {
		return err
	}
	given := len(t.prompts) > 0
	server, counts := t.client.Tokenizer()
	if t.Tokenizer == "" && counts && !given {
		counter = serverCounter{server}
	}
	openings, err := corpus.NewOpenings(ctx, counter, rand.Uint64())
	if err != nil {
		return err
	}
	cfg, longest := t.config, server.MaxContext()
	if m, ok := t.info.Find(cfg.Model); ok && m.MaxContext.OK {
		longest = m.MaxContext
	}
	limit := contextLimit{tokens: longest, model: cfg.Model, endpoint: t.info.Endpoint}
	if !given {
		if err := t.makeRequests(ctx, limit, corpus.Sending{Counter: counter, Openings: openings, Reopen: !cfg.Profile.DefeatsCache()}); err != nil {
			return err
		}
	}
	cfg.ContextTokens, cfg.MaxContext = nebula.ContextFor(t.pointers(t.warmup, t.prompts)), longest.V
	cfg.Reopen = openings.Reopen
	t.record.CorpusID, t.record.Tokenizer = schema.CorpusID(t.corpus), counter.Name()
	own := true // the model's own tokenizer: every count is held against it
	if local, ok := counter.(*tokens.Tokenizer); ok {
		own = local.FromFile()
	}
	var unknown string
	if t.record.Template, unknown, err = t.template(ctx, cfg, counter, openings); err != nil {
		return err
	}
	limit.template = t.record.Template.V
	if own {
		cfg.Template = t.record.Template
	}
	if own && unknown != "" {
		fmt.Fprintf(t.err, "what the chat template adds is unknown, so only gross cuts of prompts will be noticed: %s\n", unknown)
	}
	if err := limit.check(t.prompts); err != nil {
		return err
	}
	t.client, err = nebula.New(cfg)
	return err
}

// makeRequests makes the requests, unless their sizes cannot fit, and tells what is to be known of them.
func (t *trace) makeRequests(ctx context.Context, limit contextLimit, s corpus.Sending) error {
	if err := t.checkSpec(limit); err != nil {
		return err
	}
	began := time.Now()
	var note string
	var err error
	if t.requests, note, err = t.collect.requests(ctx, s); err != nil {
		return err
	}
	t.sending = s
	if note != "" {
		fmt.Fprintln(t.err, note)
	}
	fmt.Fprintf(t.err, "%d prompts, counted by %s, ready in %v\n", len(t.corpus), s.Counter.Name(), time.Since(began).Round(time.Millisecond))
	if misfits, furthest := corpus.Misfits(t.prompts); misfits > 0 {
		fmt.Fprintf(t.err, "%d prefill requests are not their size by %s, the furthest by %+d tokens; tracer prompts --endpoint makes a corpus for this server\n", misfits, s.Counter.Name(), furthest)
	}
	return nil
}

// template asks one short question and gives what the server counts beyond its text, or why that cannot be told. A server
// that fails at it will fail at the first prompt, and be reported there.
func (t *trace) template(ctx context.Context, cfg nebula.Config, counter corpus.Counter, openings *corpus.Openings) (added schema.Opt[int32], unknown string, err error) {
	client, err := nebula.New(cfg)
	if err != nil {
		return added, "", err
	}
	text := openings.Sentence() + " " + corpus.Instruction
	n, err := counter.Count(ctx, text)
	if err != nil {
		return added, "", err
	}
	span := client.Ask(ctx, &schema.Prompt{ID: "template", Text: text, TextTokens: int32(n), MaxTokens: corpus.MaxAnswer}, nebula.Call{RequestID: t.RunID + "-template"}, nil).Span
	switch {
	case span.ErrorType != "":
		return added, "the question for it failed: " + span.ErrorType + ": " + span.ErrorMessage, nil
	case !span.InputTokens.OK:
		return added, "the server does not say how many tokens a prompt has", nil
	case span.InputTokens.V < span.TextTokens:
		return added, fmt.Sprintf("the server counts %d tokens in a text of %d", span.InputTokens.V, span.TextTokens), nil
	}
	return schema.Some(span.InputTokens.V - span.TextTokens), "", nil
}

// contextLimit is how much the model can read and write in one request.
type contextLimit struct {
	tokens          schema.Opt[int32]
	template        int32
	model, endpoint string
}

// checkSpec refuses sizes that cannot fit before their prompts are made.
func (t *trace) checkSpec(limit contextLimit) error {
	spec, err := t.spec(t.Seed)
	if err != nil || t.Corpus != "" {
		return err
	}
	var bare []schema.Prompt
	for _, w := range spec.Workloads {
		for _, size := range spec.Sizes {
			p := schema.Prompt{Workload: w, TargetTokens: int32(size), MaxTokens: int32(size)}
			if w == schema.WorkloadPrefill {
				p.RunTokens, p.MaxTokens = int32(size), corpus.MaxAnswer
			}
			bare = append(bare, p)
		}
	}
	return limit.check(bare)
}

func (l contextLimit) check(prompts []schema.Prompt) error {
	if !l.tokens.OK {
		return nil
	}
	var refused []string
	for i := range prompts {
		p := &prompts[i]
		if need := int64(p.RunTokens) + int64(p.MaxTokens) + int64(l.template); need > int64(l.tokens.V) {
			what := fmt.Sprintf("%d (%s)", p.TargetTokens, p.Workload)
			if !slices.Contains(refused, what) {
				refused = append(refused, what)
			}
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return usage("--sizes: %s at %s reads and writes %d tokens in one request, prompt, answer and chat template (%d) together: too few for size %s; leave these out, or serve the model with a longer context",
		l.model, l.endpoint, l.tokens.V, l.template, strings.Join(refused, ", "))
}
