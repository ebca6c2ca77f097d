// Command tracer traces what an LLM costs a GPU, stage by stage.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/pipeline/bucket"
	"github.com/llm-tracer/tracer/pipeline/store"
)

// The exit codes. Scripts rely on them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitPartial     = 3
	exitEnvironment = 4
	exitConflict    = 5
	exitInterrupted = 130
)

// codedError is an error that knows its exit code.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// usage is a mistake in what the user asked for.
func usage(format string, args ...any) error {
	return &codedError{exitUsage, fmt.Errorf(format, args...)}
}

// environment is something that the machine lacks.
func environment(err error) error { return &codedError{exitEnvironment, err} }

// version is set by the build.
var version = "dev"

type commands struct {
	Collect   collect          `cmd:"" help:"Send prompts to a model server, sample the boards meanwhile, write the labelled trace."`
	Campaign  campaignCommand  `cmd:"" help:"Carry out a plan of many runs: boards, models, workloads, sizes, repetitions; or write it as jobs for Slurm or Kubernetes."`
	Watch     watchCommand     `cmd:"" help:"Watch a run in progress, from another terminal."`
	Recover   recoverCommand   `cmd:"" help:"Publish what the journals of runs hold that broke off: killed, out of power, out of disk."`
	Push      pushCommand      `cmd:"" help:"Put a local dataset, or what a spool holds, into an object store."`
	Prompts   prompts          `cmd:"" help:"Make a corpus of prompts and store it: offline, by a model, or from a file."`
	Overhead  overhead         `cmd:"" help:"Measure what sampling costs the requests: blocks without it, and at several periods, in random order."`
	Verify    verifyCommand    `cmd:"" help:"Read every byte of a dataset and hold it against its manifests, its schema and itself."`
	Compact   compactCommand   `cmd:"" help:"Join a dataset's small files into large ones, with the same rows."`
	Doctor    doctor           `cmd:"" help:"Say what works here: driver, boards, sensors, endpoint, clock, disk; each with a mend."`
	Calibrate calibrateCommand `cmd:"" help:"Measure how the boards' sensors behave: update periods, averaging windows, cost of each call."`
	Summary   summaryCommand   `cmd:"" help:"Sum a dataset up: power by stage, latency and energy by workload and size."`
	Compare   compareCommand   `cmd:"" help:"Hold two runs, boards or models against each other: ratios with intervals."`
	Query     queryCommand     `cmd:"" help:"Ask a dataset in SQL."`
	Report    reportCommand    `cmd:"" help:"Write a dataset as one page for a browser: figures and tables, offline."`
	Plot      plotCommand      `cmd:"" help:"Draw the figures of a paper from a dataset: SVG, PDF, PNG."`
	Card      cardCommand      `cmd:"" help:"Write the README of a dataset: what is in it, how it was measured, limits, checksums."`
	Fit       fitCommand       `cmd:"" help:"Fit the constants that simulators want: latencies, joules, watts; Kavier's and OpenDC's, each with its interval."`
	Export    exportCommand    `cmd:"" help:"Write a dataset as other programs want it: CSV, OpenDC, Kavier, JSON lines."`
	Publish   publishCommand   `cmd:"" help:"Tell other engines which files are committed: as Iceberg tables, or as a list."`
	Sim       simulate         `cmd:"" help:"Run a simulated model server that drives simulated boards, for trying tracer out."`
	Agent     agent            `cmd:"" help:"Read the boards of this host for a tracer elsewhere: collect --gpu ssh://HOST starts it."`
	Version   versionPrint     `cmd:"" help:"Print the version."`
}

const description = `Traces what an LLM costs a GPU, stage by stage.

Flags can also be set as TRACER_<FLAG> in the environment or in .env, and by name in tracer.yaml; the command line comes
first, then the environment, .env, tracer.yaml. The server's API key is TRACER_API_KEY there, or a file.

Exit codes: 0 ok, 1 failure, 2 usage, 3 partial data, 4 environment, 5 dataset conflict, 130 interrupted and committed.`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program; testscript calls it too.
func run(args []string, stdout, stderr io.Writer) (code int) {
	var c commands
	t := &terminal{out: stdout, err: stderr}
	exited := -1
	layers, err := readLayers()
	if err != nil {
		return complain(stderr, err, exitUsage)
	}
	parser, err := newParser(&c, layers, t, func(code int) { exited = code })
	if err != nil {
		return complain(stderr, err, exitFailure)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if exited >= 0 { // --help has printed itself
		return exited
	}
	if err != nil {
		return complain(stderr, fmt.Errorf("%w; see tracer %s--help", reworded(err), commandOf(parser, args)), exitUsage)
	}
	t.outlive(ctx.Selected().Name)
	if err := ctx.Run(); err != nil {
		return complain(stderr, err, exitCode(err))
	}
	return exitOK
}

// newParser reads command lines into c, with the layers under them.
func newParser(c *commands, l *layers, t *terminal, exit func(code int)) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("tracer"), kong.Description(description), kong.Writers(t.out, t.err), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.Exit(exit), kong.Resolvers(l),
		kong.Bind(t), kong.Bind(l), kong.Vars{"model": catalog.DefaultModel, "servers": strings.Join(nebula.Names(), ", ")},
	)
}

// complain says what went wrong. Names of files and runs stand in it, which may hold what a terminal obeys.
func complain(stderr io.Writer, err error, code int) int {
	fmt.Fprintln(stderr, "tracer:", query.PrintableLines(err.Error()))
	return code
}

// commandOf is the command that the arguments begin with, for pointing at its help.
func commandOf(parser *kong.Kong, args []string) string {
	if len(args) > 0 && slices.ContainsFunc(parser.Model.Children, func(n *kong.Node) bool { return n.Name == args[0] }) {
		return args[0] + " "
	}
	return ""
}

func exitCode(err error) int {
	var coded *codedError
	known := errors.As(err, &coded)
	switch {
	case denied(err) && (!known || coded.code == exitUsage || coded.code == exitFailure):
		return exitEnvironment
	case known:
		return coded.code
	case errors.Is(err, store.ErrNoDataset), errors.Is(err, syscall.ENOTDIR): // a file where the user named a folder
		return exitUsage
	case errors.Is(err, store.ErrRunExists), errors.Is(err, store.ErrBusy), errors.Is(err, bucket.ErrConflict), errors.Is(err, bucket.ErrOtherSpool), errors.Is(err, bucket.ErrNoSpool):
		return exitConflict
	case errors.As(err, new(*bucket.RequestError)):
		return exitEnvironment
	default:
		return exitFailure
	}
}

// denied says that the machine does not let tracer read or write something that is there.
func denied(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// dashed is what kong says of a value that begins as a flag does.
var dashed = regexp.MustCompile(`^(--[a-z-]+): expected .* but got "(-[^"]*)" \(.*$`)

// unparsed is what kong says of a value that its type does not take.
var unparsed = regexp.MustCompile(`^(--[a-z0-9-]+|<[a-z-]+>): expected (?:an? )?(?:valid \d+ bit u?(int|float)|(int|float|duration))\b.*? but got ("[^"]*")`)

// reworded says how a value below 0 is written, where one was taken for a flag, and what a number or a time looks like.
func reworded(err error) error {
	if m := dashed.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s %s: %[2]s is taken for a flag; a value that begins with - is written %[1]s=%[2]s, and few may", m[1], m[2])
	}
	if m := unparsed.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s %s: give %s", m[1], m[4], map[string]string{"int": "a whole number", "float": "a number", "duration": "a time, such as 20ms or 1h30m"}[m[2]+m[3]])
	}
	return err
}

// terminal is where a command writes: results to out, progress and complaints to err.
type terminal struct{ out, err io.Writer }

// json prints a result for programs.
func (t *terminal) json(v any) error {
	e := json.NewEncoder(t.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

type versionPrint struct{}

// Run prints the version and what the program was built from.
func (versionPrint) Run(t *terminal) error {
	_, err := fmt.Fprintln(t.out, "tracer", versionLine())
	return err
}

func versionLine() string {
	if commit := gitCommit(); commit != "" {
		return version + " (" + commit + ")"
	}
	return version
}

// commit is set by the build where Go's own stamp is switched off.
var commit = ""

func gitCommit() string {
	if commit != "" {
		return commit
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return ""
}
