package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/llm-tracer/tracer/analysis/listing"
)

type publishCommand struct {
	Dir       string `arg:"" optional:"" default:"datasets" help:"Dataset (default: ${default})."`
	Iceberg   bool   `xor:"what" help:"Register its committed files in Iceberg tables, by the program tracer-publish."`
	List      bool   `xor:"what" help:"Print its committed files, with tables, columns and partitions, as JSON."`
	Warehouse string `placeholder:"DIR" help:"Folder of the Iceberg tables (default: _tracer/iceberg in the dataset)."`
	Namespace string `default:"tracer" help:"Namespace of the tables (default: ${default})."`
}

// Help is printed under the flags.
func (*publishCommand) Help() string {
	return `Tells other engines which files of a dataset are committed: its manifests say so, a glob does not know. Iceberg tables get
one commit each, with what they lack and what a compaction replaced; run it again after each run. The files stay where they
are, and belong to the dataset.

  tracer publish datasets --iceberg
  tracer publish datasets --list | jq -r '.dataset as $d | .tables[] | select(.name == "samples").files[] | "\($d)/\(.path)"'`
}

// publisher is the program that knows Iceberg: a module of its own, whose Parquet package cannot share a program with ours.
const publisher = "tracer-publish"

// Run lists a dataset's committed files, or has them registered.
func (p *publishCommand) Run(t *terminal) error {
	if !p.List && !p.Iceberg {
		return usage("say how: --iceberg or --list; see tracer publish --help")
	}
	if p.List && (p.Warehouse != "" || p.Namespace != "tracer") {
		return usage("--warehouse and --namespace are about --iceberg, not --list")
	}
	if err := local(p.Dir, p.Dir, "publish the folder that was pushed, or a copy: paths in its list are the store's keys"); err != nil {
		return err
	}
	if is, err := os.Stat(p.Dir); err != nil {
		return usage("%w; give a dataset's folder", err)
	} else if !is.IsDir() {
		return usage("%s is no folder; give a dataset's", p.Dir)
	}
	l, err := listing.Of(p.Dir)
	if errors.Is(err, listing.ErrNoManifests) {
		return usage("%s: %w; publish the dataset itself, not a copy of its tables", p.Dir, err)
	}
	if err != nil {
		return fmt.Errorf("listing %s: %w", p.Dir, err)
	}
	if p.List {
		return t.json(l)
	}
	return p.iceberg(t, l)
}

func (p *publishCommand) iceberg(t *terminal, l *listing.Listing) error {
	program, err := findPublisher()
	if err != nil {
		return environment(err)
	}
	warehouse := p.Warehouse
	if warehouse == "" {
		warehouse = filepath.Join(p.Dir, "_tracer", "iceberg")
	}
	if warehouse, err = filepath.Abs(warehouse); err != nil {
		return err
	}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "--warehouse", warehouse, "--namespace", p.Namespace)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), t.out, t.err
	var failed *exec.ExitError
	switch err := cmd.Run(); {
	case errors.As(err, &failed) && failed.ExitCode() > 0:
		return &codedError{failed.ExitCode(), fmt.Errorf("publishing %s: %s ended with %d; what it committed before stays, and publishing again goes on", p.Dir, publisher, failed.ExitCode())}
	case err != nil:
		return environment(fmt.Errorf("running %s: %w", program, err))
	}
	_, err = fmt.Fprintf(t.out, "tables: %s\n", filepath.Join(append([]string{warehouse}, strings.Split(p.Namespace, ".")...)...))
	return err
}

// findPublisher looks beside this program, then in the PATH.
func findPublisher() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), publisher)
	if is, err := os.Stat(beside); err == nil && is.Mode().IsRegular() {
		return beside, nil
	}
	found, err := exec.LookPath(publisher)
	if err != nil {
		return "", fmt.Errorf("%s is neither at %s nor in the PATH: build it with make publish (in tracer's source), and put it beside tracer", publisher, beside)
	}
	return found, nil
}
