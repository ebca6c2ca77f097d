package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/nebula/corpus"
	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/remote"
	"github.com/llm-tracer/tracer/schema"
)

// longestPeriod is beyond any use: no stage lasts so long without a change.
const longestPeriod = 10 * time.Second

// target is what a trace is taken of, with what, and where it goes: the flags that collect and overhead share.
type target struct {
	Out           string        `default:"datasets" placeholder:"DIR|URL" help:"Dataset to write into: a folder, or s3://bucket/prefix, gs:// or azblob:// (default: ${default})."`
	Endpoint      string        `default:"http://127.0.0.1:8000/v1" placeholder:"URL" help:"OpenAI-compatible server, or sim for the simulated one (default: ${default})."`
	Model         string        `placeholder:"NAME" help:"Model to ask for (default: the only one that the server lists)."`
	Server        string        `placeholder:"NAME" help:"Server profile: ${servers} (default: detected)."`
	GPU           string        `name:"gpu" default:"auto" placeholder:"BOARDS" help:"auto for every board, or those in CUDA_VISIBLE_DEVICES if it is set; 0,2 or GPU-<uuid>,… for some; sim:A10,… for simulated ones; ssh://USER@HOST/0,… for another host's, after this one's (default: ${default})."`
	SSH           string        `name:"ssh" default:"ssh" placeholder:"COMMAND" help:"Command that reaches the hosts of --gpu ssh://… (default: ${default})."`
	Period        string        `default:"auto" placeholder:"TIME" help:"Between readings of power: auto, or a time such as 10ms (default: ${default})."`
	Silence       time.Duration `default:"2m" placeholder:"TIME" help:"Give a request up after so long without a byte: more than the longest prefill and queue (default: ${default})."`
	Patience      time.Duration `default:"5m" placeholder:"TIME" help:"Wait so long for a server, or a host of --gpu, that cannot be reached, or a server that is overloaded, before the run is stopped (default: ${default})."`
	DriverTimeout time.Duration `name:"driver-timeout" default:"10s" placeholder:"TIME" help:"Give a call of the GPU driver up after so long: that board is lost, the others go on (default: ${default})."`
	RunID         string        `name:"run-id" placeholder:"ID" help:"Name of the run (default: date, time and a random part)."`
	Rank          string        `default:"auto" placeholder:"RANK" help:"Which of several processes with one --run-id this is: a number or name, host, none, or auto: from SLURM_PROCID or JOB_COMPLETION_INDEX, else the host where another has that id (default: ${default})."`
	Seed          int64         `default:"1" placeholder:"N" help:"Of the corpus and its order (default: ${default})."`
	APIKeyFile    string        `name:"api-key-file" placeholder:"PATH" help:"File that holds the server's API key (default: the environment's TRACER_API_KEY)."`
	DryRun        bool          `name:"dry-run" help:"Print the plan, send nothing, write nothing."`
	JSON          bool          `name:"json" help:"Print the result as JSON."`
	tlsFlags
	spooled

	launch launch
}

type collect struct {
	target
	corpusFlags
	Repeat      int           `default:"1" placeholder:"N" help:"Send each prompt so often; from the second time on it begins with words of its own (default: ${default})."`
	Order       string        `default:"interleaved" enum:"interleaved,sequential" placeholder:"ORDER" help:"interleaved: random, workloads and sizes spread evenly over the run; sequential: as they stand in the corpus (default: ${default})."`
	Calibrate   string        `default:"auto" enum:"auto,off,active" placeholder:"HOW" help:"Measure the sensors first: auto, active (averaging windows too), off. Kept in the dataset (default: ${default})."`
	Budget      string        `default:"0.5%" placeholder:"SHARE" help:"Of the time that a board's calls may take before it is read less often; with --period auto (default: ${default})."`
	Concurrency int           `default:"1" placeholder:"N" help:"Requests in flight; more than one makes stages overlap (default: ${default})."`
	Warmup      int           `default:"2" placeholder:"N" help:"Requests sent first, marked as warm-up (default: ${default})."`
	Pause       time.Duration `default:"200ms" placeholder:"TIME" help:"Between requests, on the mean; half to one and a half of it, so that stages meet the sensors at all phases and boards settle (default: ${default})."`
	MinUpdates  int           `name:"min-stage-updates" default:"0" placeholder:"N" help:"Repeat prompts until the power sensor has had N new values in each size's own stage (default: ${default}, none)."`
	MaxInvalid  string        `name:"max-invalid" placeholder:"N|P%" help:"End with exit code 3 if more requests than that are not valid, warm-up left out (default: any number)."`
	Idle        time.Duration `default:"5s" placeholder:"TIME" help:"Idle baseline before the first request (default: ${default})."`
	Resume      string        `placeholder:"RUN" help:"Go on with a run that was stopped or broke off, with its own options: recover it, and send what it has not."`
	GoOn        bool          `name:"go-on" help:"Go on with the run of this --run-id if it was begun, else begin it: for jobs that are started again."`

	options map[string]string // the flags as resolved; nil where the run cannot be resumed
	resumed *resumption       // nil where there is nothing to go on with
}

// Help is printed under the flags.
func (*collect) Help() string {
	return `The main job, against a server on this machine:

  tracer collect --endpoint http://127.0.0.1:8000/v1 --out datasets

Without a GPU, everything simulated and named so:

  tracer collect --gpu sim:A10 --endpoint sim --sizes 10,100,1000 --prompts 2`
}

// Run collects one trace.
func (c *collect) Run(t *terminal, l *layers, k *kong.Context) error {
	if err := c.locate(&c.Out); err != nil {
		return err
	}
	defer c.close() //nolint:errcheck // connections
	if err := c.dial(); err != nil {
		return err
	}
	if done, err := c.goOn(t, k); done || err != nil {
		return err
	}
	c.options = optionsOf(k)
	budget, err := parseBudget(c.Budget)
	if err != nil {
		return err
	}
	boards, period, profile, err := c.prepare(t)
	if err != nil {
		return err
	}
	defer boards.closeAll()
	if err := c.resumed.checkBoards(t, boards.facts()); err != nil {
		return err
	}
	c.recall(t, boards)
	plan, err := sampler.PlanFor(boards.facts(), period)
	if err != nil {
		return usage("--period %s: %w", c.Period, err)
	}
	if err := c.checkGiven(l); err != nil {
		return err
	}
	if c.DryRun {
		requests, err := c.offline()
		if err != nil {
			return err
		}
		return c.printPlan(t, boards, plan, requests.prompts, requests.warmup)
	}
	if err := c.checkHost(len(boards.facts())); err != nil {
		return err
	}
	if err := c.begin(t, c.RunID); err != nil {
		return err
	}
	if err := c.offerRecovery(t); err != nil {
		return err
	}
	if err := c.yield(t, pipeline.Free(c.Out, c.RunID, hostname())); err != nil {
		return err
	}
	trace := &trace{
		collect: c, terminal: t, layers: l, boards: boards, plan: plan, period: period, budget: budget, profile: profile, truth: c.truthPath(),
		release: func() {},
	}
	defer func() { trace.release() }()
	manifest, err := trace.run(trace.measure)
	if manifest == nil {
		return err
	}
	return c.finish(t, trace, manifest, err, c.report)
}

// goOn takes up the run that is to be gone on with, if any; done is told where nothing of it is left.
func (c *collect) goOn(t *terminal, k *kong.Context) (done bool, err error) {
	if c.GoOn {
		if err := c.beginOrResume(); err != nil {
			return false, err
		}
	}
	if c.Resume == "" {
		return false, nil
	}
	left, err := c.takeUp(t, k)
	if err != nil || !left {
		return true, errors.Join(err, c.putBack(t))
	}
	return false, nil
}

// dial opens the store that the run goes to, and brings back what going on with one needs.
func (c *collect) dial() error {
	if c.spool == nil || c.DryRun {
		return nil
	}
	ctx, stop := interruptible()
	defer stop()
	id := c.Resume
	if c.GoOn && c.RunID != "" {
		l, err := c.launched()
		if err != nil {
			return err
		}
		id = l.runID()
	}
	err := c.reach(ctx)
	if err == nil && id != "" {
		err = c.spool.Fetch(ctx, c.bucket, id)
	}
	return stopped(ctx, err)
}

// putBack takes out of the spool what was fetched of a run that needs no going on with, once the store is seen to hold it.
func (c *collect) putBack(t *terminal) error {
	if c.spool == nil || c.bucket == nil {
		return nil
	}
	ctx, stop := interruptible()
	defer stop()
	return stopped(ctx, c.spool.Empty(ctx, c.bucket, t.tellPushed(c.spool.At)))
}

// finish brings a run that is committed to where it goes, and says what is in it.
func (c *target) finish(t *terminal, tr *trace, m *store.Manifest, err error, report func(t *terminal, tr *trace, m *store.Manifest, dir string) error) error {
	if c.spool == nil {
		return errors.Join(err, report(t, tr, m, c.Out))
	}
	tr.release() // what is committed in the spool stays: Ctrl-C ends the push
	dir, done, unread := c.spool.Alone(m)
	undelivered := c.deliver(t, m)
	err = errors.Join(undelivered, err, unread)
	if unread == nil {
		err = errors.Join(err, report(t, tr, m, dir), done())
	}
	if undelivered == nil {
		err = errors.Join(err, c.empty(m))
	}
	return err
}

// prepare checks the flags of the target and opens its boards.
func (c *target) prepare(t *terminal) (b *boards, period time.Duration, profile nebula.Profile, err error) {
	if period, err = c.period(); err != nil {
		return nil, 0, profile, err
	}
	if c.launch, err = c.launched(); err != nil {
		return nil, 0, profile, err
	}
	if c.RunID = c.launch.runID(); c.RunID == "" {
		c.RunID = newRunID()
	}
	c.launch.tell(t)
	if err := c.checkSimulation(); err != nil {
		return nil, 0, profile, err
	}
	if _, err := c.tls(); err != nil { // before anything else is touched
		return nil, 0, profile, err
	}
	if c.Server != "" {
		if profile, err = nebula.ProfileByName(c.Server); err != nil {
			return nil, 0, profile, usage("--server: %w", err)
		}
	}
	if b, err = c.openBoards(t); err != nil {
		return nil, 0, profile, err
	}
	b.tell(t)
	for _, board := range b.facts() {
		for _, caveat := range caveats(board) {
			fmt.Fprintln(t.err, "note:", caveat)
		}
	}
	return b, period, profile, nil
}

// truthPath is where the simulated server writes what really happened.
func (c *target) truthPath() string {
	return filepath.Join(c.Out, "_tracer", "truth", c.RunID+".jsonl")
}

// published is the dataset as others find it.
func (c *target) published() string {
	if c.spool != nil {
		return c.spool.At.Plain()
	}
	return c.Out
}

func (c *target) simulated() bool {
	here, _ := remote.Split(c.GPU)
	return strings.Contains(here, simPrefix)
}

// checkSimulation refuses halves: a simulated board knows nothing of what a real server does, and the other way round.
func (c *target) checkSimulation() error {
	switch {
	case c.Out == "":
		return usage("--out is empty; name a folder")
	case c.Endpoint == "":
		return usage("--endpoint is empty; name a server, or sim")
	case c.simulated() && c.Endpoint != "sim":
		return usage("--gpu %s with --endpoint %s: a simulated board sees only the simulated server's load; add --endpoint sim, or name real boards", remote.ShownList(c.GPU), c.Endpoint)
	case !c.simulated() && c.Endpoint == "sim":
		return usage("--endpoint sim with --gpu %s: the simulated server loads only simulated boards; add --gpu sim:A10, or name a real server", remote.ShownList(c.GPU))
	}
	return nil
}

func (c *target) period() (time.Duration, error) {
	if c.Period == "auto" {
		return 0, nil
	}
	d, err := time.ParseDuration(c.Period)
	if err != nil || d < sampler.MinPeriod || d > longestPeriod {
		return 0, usage("--period %s: give auto, or a time between %v and %v such as 10ms", c.Period, sampler.MinPeriod, longestPeriod)
	}
	return d, nil
}

// checkNumbers looks at everything that can be judged without boards and server.
func (c *collect) checkNumbers() error {
	if err := within(
		bound{"--repeat", c.Repeat, 1, maxRepeat, ""},
		bound{"--concurrency", c.Concurrency, 1, 1024, ""},
		bound{"--warmup", c.Warmup, 0, 1000, ""},
		seconds("--pause", c.Pause, 0, 3600),
		bound{"--min-stage-updates", c.MinUpdates, 0, 100_000, ""},
		seconds("--idle", c.Idle, 0, 86_400),
		seconds("--silence", c.Silence, 1, 86_400),
		seconds("--patience", c.Patience, 1, 86_400),
	); err != nil {
		return err
	}
	if _, err := parseMaxInvalid(c.MaxInvalid); err != nil {
		return err
	}
	if _, _, err := c.load(); err != nil { // before anything else is touched
		return err
	}
	spec, err := c.spec(c.Seed)
	if err != nil || c.Endpoint != "sim" || c.Corpus != "" {
		return err
	}
	counter, err := c.localCounter() // as the simulated server counts
	if err == nil {
		err = corpus.Check(context.Background(), spec, counter)
	}
	return notMade(err)
}

// bound is the range that a flag's value must be in.
type bound struct {
	flag               string
	value, least, most int
	unit               string
}

// seconds is the range of a length of time.
func seconds(flag string, d time.Duration, least, most int) bound {
	return bound{flag, int(math.Floor(d.Seconds())), least, most, " s"}
}

func within(bounds ...bound) error {
	for _, b := range bounds {
		if b.value < b.least || b.value > b.most {
			return usage("%s must be between %d and %d%s", b.flag, b.least, b.most, b.unit)
		}
	}
	return nil
}

// newRunID sorts by time and does not collide with another tracer started in the same second.
func newRunID() string {
	var r [3]byte
	_, _ = rand.Read(r[:]) // never fails
	return time.Now().UTC().Format("20060102-150405-") + hex.EncodeToString(r[:])
}

// report prints what was found, read back from the files just published, which are in dir.
func (c *collect) report(t *terminal, tr *trace, m *store.Manifest, dir string) error {
	summary, err := analysis.Dataset{Dir: dir}.Summarize(context.Background(), m.RunID)
	if err != nil {
		return fmt.Errorf("reading run %s back: %w", m.RunID, err)
	}
	limit, err := parseMaxInvalid(c.MaxInvalid)
	if err != nil {
		return err
	}
	partial := limit.check(summary.Counts)
	query := fmt.Sprintf("SELECT stage, count(*) AS rows, round(avg(power_instant_w), 1) AS mean_w FROM read_parquet('%s/samples/**/*.parquet', hive_partitioning = true) WHERE run_id = '%s' GROUP BY stage",
		strings.ReplaceAll(strings.TrimSuffix(c.published(), "/"), "'", "''"), m.RunID)
	if c.JSON {
		return errors.Join(partial, t.json(struct {
			*analysis.Summary
			Simulated bool              `json:"simulated"`
			Status    schema.Status     `json:"status"`
			Dataset   string            `json:"dataset"`
			Files     []store.File      `json:"files"`
			Sampling  []schema.Sampling `json:"sampling"`
			Query     string            `json:"duckdb_query"`
		}{summary, tr.record.Simulated, m.Status, c.published(), m.Files, tr.sampling, query}))
	}
	tr.printHead(m)
	if err := summary.Print(t.out); err != nil {
		return err
	}
	fmt.Fprintln(t.out)
	facts := tr.boards.facts()
	for i, s := range tr.sampling {
		fmt.Fprintf(t.out, "sampling: board %s every %v planned, %.1f readings/s achieved, %d slots missed, %d readings dropped, ticks late by %v p50 / %v p99\n",
			whereabouts(&facts[i]), s.PowerPeriod, s.AchievedHz, s.MissedTicks, s.Dropped, s.LatenessP50.Round(time.Microsecond), s.LatenessP99.Round(time.Microsecond))
	}
	tr.tellClocks()
	tr.tellCalls()
	tr.tellFaults()
	_, err = fmt.Fprintf(t.out, "\nGo on with DuckDB:\n\n  duckdb -c \"%s\"\n", query)
	return errors.Join(partial, err)
}

// printHead begins a report.
func (t *trace) printHead(m *store.Manifest) {
	fmt.Fprintf(t.out, "\nrun %s, %s, in %s\n", m.RunID, m.Status, t.published())
	if what := t.simulatedParts(); what != "" {
		fmt.Fprintf(t.out, "SIMULATED %s: these numbers describe no real hardware.\n", what)
	}
	fmt.Fprintln(t.out)
}

// commandLine is how the run was started, with the endpoint as it may be shown: keys have no flag, but a URL can hold
// user, password and token.
func commandLine(args []string, endpoint string) string {
	const flag = "--endpoint"
	args = slices.Clone(args)
	for i := range args {
		switch {
		case strings.HasPrefix(args[i], flag+"="):
			args[i] = flag + "=" + endpoint
		case args[i] == flag && i+1 < len(args):
			args[i+1] = endpoint
		}
	}
	return strings.Join(args, " ")
}
