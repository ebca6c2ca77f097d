// Accuracy measures how well energies of stages are told, by tracer and by others, where the truth is known, and writes
// docs/accuracy.md:
//
//	make accuracy
//
// Two studies. In real time, simulated boards stand behind the fake libnvidia-ml, and tracer's sampler, two pollers and
// Zeus read them at once. In virtual time, the same loads are played with many seeds for the methods that need no program
// of others.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/llm-tracer/tracer/bench/machine"
	"github.com/llm-tracer/tracer/sampler"
)

// config is what a run needs.
type config struct {
	lib     string // folder of the fake library
	python  string
	readers string
	version string
	kinds   []string
}

func main() {
	c := config{kinds: []string{"A100-40", "H100-SXM", "A10"}}
	flag.StringVar(&c.lib, "lib", "build", "folder of the fake libnvidia-ml.so.1")
	flag.StringVar(&c.python, "python", "python3", "interpreter with nvidia-ml-py and zeus")
	flag.StringVar(&c.readers, "readers", filepath.Join("scripts", "accuracy", "readers.py"), "the peers' script")
	flag.StringVar(&c.version, "version", "dev", "of tracer")
	out := flag.String("out", filepath.Join("docs", "accuracy.md"), "the page to write")
	flag.Parse()
	if err := run(&c, *out); err != nil {
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(1)
	}
}

// outcome is all that the page tells.
type outcome struct {
	config   *config
	machine  machine.Machine
	load     string // average over the minute before it began
	versions map[string]string
	races    []race
	stats    sampler.Stats
	studies  []study
}

func run(c *config, out string) (err error) {
	if c.lib, err = filepath.Abs(c.lib); err != nil {
		return err
	}
	o := outcome{config: c, versions: map[string]string{}}
	if o.machine, err = machine.This(); err != nil {
		return err
	}
	averages, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	o.load, _, _ = strings.Cut(string(averages), " ")
	fmt.Fprintf(os.Stderr, "accuracy: real time, about %d s\n", 2*realRequests)
	if o.races, o.stats, err = realTime(c, o.versions); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "accuracy: virtual time, many seeds")
	if o.studies, err = virtual(c.kinds); err != nil {
		return err
	}
	page, err := o.page()
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, page, 0o644); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "accuracy: wrote", out)
	return nil
}
