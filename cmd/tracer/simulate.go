package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/llm-tracer/tracer/internal/catalog"
	servesim "github.com/llm-tracer/tracer/nebula/sim"
	"github.com/llm-tracer/tracer/sampler/sim"
)

type simulate struct {
	Listen     string `default:"127.0.0.1:8000" placeholder:"ADDR" help:"Address to serve on; port 0 takes a free one (default: ${default})."`
	GPU        string `name:"gpu" default:"sim:A10" placeholder:"BOARDS" help:"Simulated boards, all of one kind: sim:A10,… (default: ${default})."`
	Model      string `default:"${model}" placeholder:"NAME" help:"Simulated model (default: ${default})."`
	BoardFile  string `name:"board-file" placeholder:"PATH" help:"File that shows the boards to other processes, through the fake of libnvidia-ml (TRACER_FAKENVML)."`
	Truth      string `placeholder:"PATH" help:"File for the true stage boundaries, as JSON lines."`
	APIKeyFile string `name:"require-key-file" placeholder:"PATH" help:"File that holds a key to ask of clients."`
}

// Help is printed under the flags.
func (*simulate) Help() string {
	return fmt.Sprintf("Simulated boards: %s.\nSimulated models: %s.", names(catalog.Boards(), func(b catalog.Board) string { return b.Name }),
		names(catalog.Models(), func(m catalog.Model) string { return m.Name }))
}

func names[T any](all []T, name func(T) string) string {
	var s strings.Builder
	for i, v := range all {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(name(v))
	}
	return s.String()
}

// Run serves until a signal.
func (s *simulate) Run(t *terminal) error {
	kind, n, err := simulatedKind(s.GPU)
	if err != nil {
		return err
	}
	model, err := catalog.ModelByName(s.Model)
	if err != nil {
		return usage("--model: %w", err)
	}
	cfg := servesim.Config{Board: kind, Model: model, TruthPath: s.Truth}
	if s.APIKeyFile != "" {
		if cfg.Key, err = readKeyFile(s.APIKeyFile); err != nil {
			return usage("--require-key-file: %w", err)
		}
	}
	var boards []*sim.Board
	if s.BoardFile == "" {
		for i := range n {
			boards = append(boards, sim.NewBoard(kind, i))
		}
	} else {
		specs := make([]sim.Spec, n)
		for i := range specs {
			specs[i] = sim.Describe(kind, i)
		}
		script, err := sim.Create(s.BoardFile, specs...)
		if err != nil {
			return environment(err)
		}
		defer script.Close() //nolint:errcheck // unmapping at exit
		boards = script.Boards()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	url, closeServer, err := startSimulated(s.Listen, cfg, boards)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "SIMULATED %s on %d × sim-%s at %s; stop it with Ctrl-C\n", model.Name, n, kind.Name, url)
	<-ctx.Done()
	closeServer()
	return nil
}

// startSimulated serves a simulated model that loads the boards.
func startSimulated(addr string, cfg servesim.Config, boards []*sim.Board) (url string, closeServer func(), err error) {
	for _, b := range boards {
		cfg.Loads = append(cfg.Loads, b)
	}
	server, err := servesim.New(cfg)
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return "", nil, environment(fmt.Errorf("%w; choose a folder that you may write to", err))
	}
	if err != nil {
		return "", nil, usage("--gpu, --model: %w", err)
	}
	if url, err = server.Start(addr); err != nil {
		_ = server.Close()
		return "", nil, environment(fmt.Errorf("starting the simulated server: %w", err))
	}
	return url, func() { _ = server.Close() }, nil
}
