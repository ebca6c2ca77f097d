package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/clock"
	servesim "github.com/llm-tracer/tracer/nebula/sim"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

// bench is boards behind the fake of libnvidia-ml, with a simulated server that loads them.
type bench struct {
	t       *testing.T
	script  *sim.Script
	library string // its folder
	dir     string
	url     string
	truth   string
}

const benchKind = "H200" // 100 tokens of the default model take it half a second

func newBench(t *testing.T, boards int) *bench {
	t.Helper()
	b := &bench{t: t, library: fakeLibrary(t), dir: t.TempDir()}
	kind, err := catalog.BoardByName(benchKind)
	if err != nil {
		t.Fatal(err)
	}
	specs := make([]sim.Spec, boards)
	for i := range specs {
		specs[i] = sim.Describe(kind, i)
	}
	if b.script, err = sim.Create(filepath.Join(b.dir, "boards"), specs...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.script.Close() })
	model, err := catalog.ModelByName(catalog.DefaultModel)
	if err != nil {
		t.Fatal(err)
	}
	b.truth = filepath.Join(b.dir, "truth.jsonl")
	url, closeServer, err := startSimulated("127.0.0.1:0", servesim.Config{Board: kind, Model: model, TruthPath: b.truth}, b.script.Boards())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeServer)
	b.url = url
	return b
}

// fault adds a fault to a board, from now on, or from a later instant on where it says so.
func (b *bench) fault(board int, f sim.Fault) {
	b.t.Helper()
	f.Scope = sim.EveryScope
	if f.FromNS == 0 {
		f.FromNS = clock.Now()
	}
	if err := b.script.Boards()[board].AddFault(f); err != nil {
		b.t.Fatal(err)
	}
}

// transcript is what a program prints, which can be waited for.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (p *transcript) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
	return p.text.Write(text)
}

func (p *transcript) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// started runs tracer on the bench, in a process of its own, until it has printed something.
func (b *bench) started(until string, args ...string) (*exec.Cmd, *transcript) {
	b.t.Helper()
	cmd := exec.Command(program(b.t), args...)
	cmd.Env = environ("LD_LIBRARY_PATH="+b.library, "TRACER_FAKENVML="+filepath.Join(b.dir, "boards"))
	printed := &transcript{more: make(chan struct{}, 1)}
	cmd.Stdout, cmd.Stderr = printed, printed
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	for !strings.Contains(printed.String(), until) {
		select {
		case <-printed.more:
		case <-deadline:
			_ = cmd.Process.Kill()
			b.t.Fatalf("tracer has not said %q within a minute:\n%s", until, printed)
		}
	}
	return cmd, printed
}

// ended waits for tracer, which must exit with a code and have said some words.
func (b *bench) ended(cmd *exec.Cmd, printed *transcript, code int, says ...string) {
	b.t.Helper()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		b.t.Fatalf("exit code %d, want %d\n%s", got, code, printed)
	}
	for _, want := range says {
		if !strings.Contains(printed.String(), want) {
			b.t.Errorf("tracer does not say %q:\n%s", want, printed)
		}
	}
}

// sampling is what collect prints when the boards begin to be read.
const sampling = "run faulted: "

// collect traces four short decodes after a second of idling, and more where it is told so; break it with breaks, once the
// boards are being read.
func (b *bench) collect(breaks func(), code int, says []string, more ...string) {
	b.t.Helper()
	args := collectArgs(filepath.Join(b.dir, "data"), "faulted", "--endpoint", b.url, "--workload", "decode", "--sizes", "100", "--prompts", "4",
		"--warmup", "0", "--idle", "1s", "--pause", "100ms", "--driver-timeout", "1s")
	cmd, printed := b.started(sampling, append(args, more...)...)
	breaks()
	b.ended(cmd, printed, code, says...)
}

// rows are the run's rows of a table.
func (b *bench) rows(name string) (all []map[string]any) {
	b.t.Helper()
	for _, path := range files(b.t, filepath.Join(b.dir, "data"), name, "faulted") {
		all = append(all, table(b.t, path)...)
	}
	return all
}

// run is a board's row of runs.
func (b *bench) run(board int) map[string]any {
	b.t.Helper()
	uuid := b.script.Boards()[board].Spec().UUID
	for _, r := range b.rows("runs") {
		if r["gpu_uuid"] == uuid {
			return r
		}
	}
	b.t.Fatalf("the run has no row of board %d", board)
	return nil
}

// samples are a board's rows in the order of time.
func (b *bench) samples(board int) []map[string]any {
	b.t.Helper()
	uuid := b.script.Boards()[board].Spec().UUID
	own := slices.DeleteFunc(b.rows("samples"), func(r map[string]any) bool { return r["gpu_uuid"] != uuid })
	slices.SortFunc(own, func(x, y map[string]any) int { return int(instantOf(x) - instantOf(y)) })
	return own
}

func instantOf(row map[string]any) int64 { return row["monotonic_ns"].(int64) }

// list is a column of strings.
func list(t *testing.T, row map[string]any, column string) (all []string) {
	t.Helper()
	if err := json.Unmarshal(row[column].(json.RawMessage), &all); err != nil {
		t.Fatalf("%s: %v", column, err)
	}
	return all
}

// gaps are what runs says of a board's gaps, held against its rows: none lies within.
func (b *bench) gaps(board int) (gaps []schema.Gap) {
	b.t.Helper()
	rows := b.samples(board)
	for _, text := range list(b.t, b.run(board), "gaps") {
		g, err := schema.ParseGap(text)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, r := range rows {
			if ns := instantOf(r); ns > g.FromNS && ns < g.ToNS {
				b.t.Errorf("a row at %d lies within the gap %v", ns, g)
			}
		}
		gaps = append(gaps, g)
	}
	return gaps
}

// oneGap is the only gap of a board, which must be for a reason.
func (b *bench) oneGap(board int, why string) schema.Gap {
	b.t.Helper()
	gaps := b.gaps(board)
	if len(gaps) != 1 || gaps[0].Why != why {
		b.t.Fatalf("gaps of board %d: %v, want one: %s", board, gaps, why)
	}
	return gaps[0]
}

// marked holds the requests that bear a reason code against those that should, and wants some of both, or of the one.
func (b *bench) marked(reason string, should func(startNS, endNS int64) bool) {
	b.t.Helper()
	var bear int
	for _, r := range b.rows("requests") {
		start, end := r["start_monotonic_ns"].(int64), r["end_monotonic_ns"].(int64)
		has := slices.Contains(list(b.t, r, "invalid_reasons"), reason)
		if has != should(start, end) {
			b.t.Errorf("request from %d to %d: %s is %v", start, end, reason, has)
		}
		if has {
			bear++
		}
	}
	if bear == 0 {
		b.t.Errorf("no request is marked %s", reason)
	}
}

func (b *bench) markedIn(g schema.Gap) {
	b.t.Helper()
	b.marked(schema.ReasonGap, func(start, end int64) bool { return start <= g.ToNS && end >= g.FromNS })
}
