package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/nebula"
	servesim "github.com/llm-tracer/tracer/nebula/sim"
	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/remote"
	"github.com/llm-tracer/tracer/schema"
)

const (
	// ringReadings holds eight boards at 1 kHz for eight seconds: longer than any fsync should take.
	ringReadings = 1 << 16
	ringSpans    = 64 // 21 requests of a worker between two drains
	// settle is how long the boards are sampled on after the last request, so that its end has rows on both sides.
	settle = 500 * time.Millisecond
)

// errInterrupted is the cause that the first Ctrl-C gives.
var errInterrupted = errors.New("interrupted")

// trace is one run of collect: the stations, wired together.
type trace struct {
	*collect
	*terminal
	layers *layers
	boards *boards
	plan   sampler.Plan
	period time.Duration
	budget float64
	requests
	profile nebula.Profile // the zero value is to be detected
	truth   string         // where the simulated server writes it; nowhere if empty

	record   schema.Run
	config   nebula.Config // of the client, as far as the server is known
	info     nebula.ServerInfo
	client   *nebula.Client
	readings *ring.SPSC[schema.Reading]
	remote   []*ring.SPSC[schema.Reading] // per other host
	hosts    []remote.Result              // how they were sampled
	running  atomic.Pointer[running]      // nil while the boards are not sampled
	schedule *nebula.Schedule
	tally    tally // of the stages that were sent
	pipeline *pipeline.Pipeline
	sampling []schema.Sampling
	faults   []string  // what the boards failed at
	rhythm   string    // of the sampling, for the progress display
	started  time.Time // of the progress display

	begun      atomic.Bool // there is, or is about to be, something to commit
	release    func()      // gives signals back to the system; once the result is printed
	publishing sync.Mutex  // held by whoever ends the run: the commit, or the second Ctrl-C
}

// run measures and commits. The manifest is nil where nothing was committed.
func (t *trace) run(measure func(context.Context, context.CancelCauseFunc) (sampler.Stats, error)) (*store.Manifest, error) {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	again := t.warn(t.terminal)
	defer again()
	t.release = t.onSignal(stop)
	closeServer, err := t.connect(ctx)
	if err == nil {
		defer closeServer()
		err = t.ready(ctx)
	}
	if err == nil {
		err = t.calibrate(ctx)
	}
	t.begun.Store(true)
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return nil, errors.New("stopped before the run began; nothing of it was written")
	}
	if err == nil {
		err = t.open()
	}
	if err != nil {
		return nil, err
	}
	stats, err := measure(ctx, stop)
	t.publishing.Lock() // never unlocked: from here on the run is being committed, and a second Ctrl-C comes too late
	var stopped *nebula.StopError
	if err != nil && !errors.Is(err, errInterrupted) && !errors.As(err, &stopped) && !errors.Is(err, errAllBoardsLost) && !errors.Is(err, pipeline.ErrDisk) {
		return t.rescue(err)
	}
	manifest, commitErr := t.commit(stats, err)
	if commitErr != nil {
		return nil, t.unpublished(errors.Join(err, commitErr))
	}
	return manifest, t.verdict(err)
}

var errAllBoardsLost = errors.New("sampling ended early")

// connect finds the server, or starts the simulated one, and fills in what the run is about.
func (t *trace) connect(ctx context.Context) (closeServer func(), err error) {
	closeServer = func() {}
	key, err := t.layers.key(t.APIKeyFile)
	if err != nil {
		return nil, err
	}
	secure, err := t.tls()
	if err != nil {
		return nil, err
	}
	cfg := nebula.Config{TLS: secure, Endpoint: t.Endpoint, Key: key, Model: t.Model, Seed: schema.Some(t.Seed), Idle: t.Silence, Profile: t.profile}
	if t.Endpoint == "sim" {
		if cfg.Endpoint, closeServer, err = t.startSimulated(); err != nil {
			return nil, err
		}
		started := closeServer // an error's return forgets it
		defer func() {
			if err != nil {
				started()
			}
		}()
	}
	info, err := nebula.Detect(ctx, cfg)
	if err != nil {
		return nil, unserved(err, "--endpoint")
	}
	cfg.Profile = info.Profile
	if cfg.Model, err = chooseModel(info, t.Model, "--model"); err != nil {
		return nil, err
	}
	if t.client, err = nebula.New(cfg); err != nil {
		return nil, usage("--endpoint: %w", err)
	}
	t.config, t.info = cfg, info
	asked := info.Endpoint
	if t.Endpoint == "sim" {
		asked = t.Endpoint // the command is there to be repeated: the simulated server's port changes
	}
	t.record = schema.Run{
		ID: t.RunID, Host: hostname(), Command: commandLine(os.Args, asked), TracerVersion: version, GitCommit: gitCommit(),
		Seed: t.Seed, Kernel: kernel(), CPU: cpu(), Launch: t.launch.id, Rank: t.launch.rank,
		Model: cfg.Model, Server: info.Profile.Name, EngineVersion: info.Version, Endpoint: info.Endpoint, Insecure: t.Insecure, Concurrency: int32(t.Concurrency),
		PeriodAsked: t.period,
	}
	t.record.Simulated = t.simulatedParts() != ""
	if t.resumed != nil {
		root := &t.resumed.root
		t.record.Continues, t.record.Launch, t.record.Rank = root.RunID, root.LaunchID, root.Rank
		for i := range t.resumed.sent {
			t.tally.note(&t.resumed.sent[i].Span)
		}
	}
	if t.options != nil {
		t.options["endpoint"], t.options["model"] = asked, cfg.Model
	}
	return closeServer, nil
}

// unserved is a server that cannot be used; flag names it.
func unserved(err error, flag string) error {
	if errors.Is(err, nebula.ErrEndpoint) {
		return usage("%s: %w", flag, err)
	}
	if errors.Is(err, nebula.ErrUnreachable) {
		err = fmt.Errorf("%w\nStart the server, or name another with %s", err, flag)
	}
	return environment(err)
}

// simulatedParts says what is not real: boards simulated in this process or behind the fake of libnvidia-ml, and the
// simulated server, wherever it runs.
func (t *trace) simulatedParts() string {
	var parts []string
	if slices.ContainsFunc(t.boards.facts(), func(b schema.Board) bool { return b.Simulated }) {
		parts = append(parts, "board")
	}
	if t.record.Server == "sim" {
		parts = append(parts, "server")
	}
	return strings.Join(parts, " and ")
}

func (t *trace) startSimulated() (endpoint string, closeServer func(), err error) {
	name := t.Model
	if name == "" {
		name = catalog.DefaultModel
	}
	model, err := catalog.ModelByName(name)
	if err != nil {
		return "", nil, usage("--model: %w", err)
	}
	return startSimulated("127.0.0.1:0", servesim.Config{Board: t.boards.kind, Model: model, TruthPath: t.truth}, t.boards.simulated)
}

// chooseModel takes the model asked for, or the only one that there is. The name goes to the terminal and into paths.
func chooseModel(info nebula.ServerInfo, asked, flag string) (string, error) {
	var names []string
	for _, m := range info.Models {
		names = append(names, m.ID)
	}
	_, found := info.Find(asked)
	switch {
	case asked == "" && len(names) == 0:
		return "", environment(fmt.Errorf("%s lists no models; give the base URL of an OpenAI-compatible server, or name a model with %s", info.Endpoint, flag))
	case asked == "" && len(names) > 1:
		return "", usage("%s lists %d models; choose one with %s: %s", info.Endpoint, len(names), flag, listed(names))
	case asked == "":
		asked = names[0]
	case !found && len(names) > 0:
		return "", usage("%s %q: %s lists %s", flag, asked, info.Endpoint, listed(names))
	}
	if err := nebula.CheckName(asked); err != nil {
		return "", usage("%s: %w", flag, err)
	}
	return asked, nil
}

// listed are the first of a server's models, quoted and cut to what a screen takes.
func listed(names []string) string {
	const most = 20
	var s strings.Builder
	for i, name := range names[:min(len(names), most)] {
		if i > 0 {
			s.WriteString(", ")
		}
		fmt.Fprintf(&s, "%.100q", name)
	}
	if len(names) > most {
		fmt.Fprintf(&s, " and %d more", len(names)-most)
	}
	return s.String()
}

func (t *trace) pointers(lists ...[]schema.Prompt) []*schema.Prompt {
	var all []*schema.Prompt
	for _, list := range lists {
		for i := range list {
			all = append(all, &list[i])
		}
	}
	return all
}

// open claims the run in the dataset and builds the stations.
func (t *trace) open() (err error) {
	t.readings = ring.New[schema.Reading](ringReadings)
	for range t.boards.hosts {
		t.remote = append(t.remote, ring.New[schema.Reading](ringReadings))
	}
	spans := make([]*ring.SPSC[schema.SpanEvent], t.Concurrency)
	sinks := make([]nebula.EventSink, t.Concurrency)
	for i := range spans {
		spans[i] = ring.New[schema.SpanEvent](ringSpans)
		sinks[i] = &tallied{spans[i], &t.tally}
	}
	t.carryOverhead()
	t.record.Start, t.record.Clock = clock.Read(), clock.Anchor()
	config := pipeline.Config{
		Dir: t.Out, Run: &t.record, Boards: t.boards.facts(), Planned: t.planned(), Job: t.job(), Prompts: t.corpus,
		Readings: t.readings, Remote: t.remote, Spans: spans, Note: func(what string) { fmt.Fprintln(t.err, "note:", what) },
	}
	t.pipeline, err = pipeline.Open(config)
	if _, elsewhere := errors.AsType[*pipeline.ElsewhereError](err); elsewhere { // two hosts began at once
		if err = t.yield(t.terminal, err); err == nil {
			t.record.ID, t.record.Launch, t.record.Rank = t.RunID, t.launch.id, t.launch.rank
			t.pipeline, err = pipeline.Open(config)
		}
	}
	if err != nil && !errors.Is(err, store.ErrRunExists) {
		return unwritable(t.Out, err)
	}
	if err != nil {
		return err
	}
	t.schedule = &nebula.Schedule{RunID: t.RunID, Warmup: t.pointers(t.warmup), Prompts: t.pointers(t.prompts), Sinks: sinks, Gap: t.Pause, Patience: t.Patience}
	return nil
}

// unwritable is a folder that cannot take a dataset.
func unwritable(dir string, err error) error {
	if errors.Is(err, store.ErrNoDataset) {
		return usage("--out: %w", err)
	}
	mend := "choose a folder that you may write to"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		mend = fmt.Sprintf("make room: a run sets %d MiB aside before it begins, and its readings come on top", store.Reserved>>20)
	}
	return environment(fmt.Errorf("--out %s: %w; %s", dir, err, mend))
}

// measure carries out the plan: the boards are sampled while the prompts are sent.
func (t *trace) measure(ctx context.Context, stop context.CancelCauseFunc) (stats sampler.Stats, err error) {
	t.rhythm = fmt.Sprintf("power every %v", t.plan.Power)
	err = t.recorded(stop, func() (err error) {
		stats, err = t.sampled(ctx, stop, t.plan, func() error {
			defer t.showProgress()()
			return t.send(ctx)
		})
		return err
	})
	return stats, err
}

// send waits out the idle baseline, sends every prompt, and lets the boards settle.
func (t *trace) send(ctx context.Context) error {
	if err := wait(ctx, t.Idle); err != nil {
		return err
	}
	if err := t.ask(ctx); err != nil {
		return err
	}
	if err := t.repeat(ctx); err != nil {
		return err
	}
	return wait(ctx, settle)
}

// ask sends the schedule's prompts.
func (t *trace) ask(ctx context.Context) error {
	err := t.schedule.Run(ctx, t.client)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// commit publishes the run.
func (t *trace) commit(stats sampler.Stats, err error) (*store.Manifest, error) {
	t.record.End = clock.Read()
	t.record.Status = schema.StatusComplete
	if err != nil {
		t.record.Status = schema.StatusInterrupted
	}
	t.sampling = t.planned()
	for i, b := range t.sampledBoards(stats) {
		b.into(&t.sampling[i])
		t.judgeBoard(b.BoardStats)
	}
	manifest, err := t.pipeline.Commit(t.sampling, versionLine())
	if err != nil {
		return nil, err
	}
	return &manifest, nil
}
