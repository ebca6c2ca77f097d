package main

import (
	"io"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/internal/campaign"
	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/pipeline/bucket"
)

// checkFile finds what is wrong with a campaign's file as far as that can be told without boards and servers, so that none of
// its runs ends by it hours later.
func checkFile(file *campaign.File, l *layers) error {
	if bucket.IsRemote(file.Out) {
		if _, err := place(file.Out); err != nil {
			return usage("%w", file.At("$.out", "out: %v", err))
		}
	}
	for i := range file.Boards {
		if err := checkSpec(file.Boards[i].GPU); err != nil {
			return usage("%w", file.BoardError(i, "gpu", "boards: %v", err))
		}
	}
	for i := range file.Models {
		if err := checkModel(file, i, l); err != nil {
			return err
		}
	}
	return checkPairs(file, l)
}

// checkModel has each flag in the collect sections read as the command line's would be, and then all together.
func checkModel(file *campaign.File, i int, l *layers) error {
	m := &file.Models[i]
	if m.Endpoint == "sim" {
		if _, err := catalog.ModelByName(m.Model); m.Model != "" && err != nil {
			return usage("%w", file.ModelError(i, "model", "models: model: %v", err))
		}
	} else if err := nebula.CheckEndpoint(m.On(1).Endpoint); err != nil {
		return usage("%w", file.ModelError(i, "endpoint", "models: endpoint: %v", err))
	}
	flags := file.Flags(m)
	for _, f := range flags {
		if slices.Contains(campaign.OfOneInvocation, f.Name) {
			return usage("%w", file.CollectError(f.Model, f.Name, "collect: %s is the campaign's to set", f.Name))
		}
		if _, _, err := parseCollect([]string{"collect", f.Argument()}, l); err != nil {
			return usage("%w", file.CollectError(f.Model, f.Name, "collect: %v", err))
		}
	}
	whole := campaign.Cell{Board: &file.Boards[0], Model: m, Workload: strings.Join(file.Workloads, ","), Size: file.Sizes[0], Repetition: 1}
	parsed, _, err := parseCollect(file.Arguments(&whole), l)
	if err == nil {
		parsed.Sizes = file.Sizes
		err = parsed.checkAlone()
	}
	if err == nil {
		return nil
	}
	for _, f := range flags { // that it is about
		if strings.HasPrefix(err.Error(), "--"+f.Name+" ") {
			return usage("%w", file.CollectError(f.Model, f.Name, "collect: %v", err))
		}
	}
	return usage("%w", file.CollectError(i, "", "model %s: %v", m.Name, err))
}

// checkPairs refuses a simulated board with a real server, and the other way round, where a run would have both.
func checkPairs(file *campaign.File, l *layers) error {
	seen := map[[2]string]bool{}
	for _, b := range file.Blocks() {
		pair := [2]string{b.Board.Name, b.Model.Name}
		if seen[pair] {
			continue
		}
		seen[pair] = true
		parsed, _, err := parseCollect(file.Arguments(&b.Cells[0]), l)
		if err == nil {
			err = parsed.checkSimulation()
		}
		if err != nil {
			i := slices.IndexFunc(file.Models, func(m campaign.Model) bool { return m.Name == b.Model.Name })
			return usage("%w", file.ModelError(i, "endpoint", "models: %s on board %s: %v, or exclude {board: %s, model: %[1]s}", b.Model.Name, b.Board.Name, err, b.Board.Name))
		}
	}
	return nil
}

// checkAlone looks at every flag that can be judged without boards and server.
func (c *collect) checkAlone() error {
	if _, err := c.period(); err != nil {
		return err
	}
	if _, err := parseBudget(c.Budget); err != nil {
		return err
	}
	if err := checkDriverTimeout(c.DriverTimeout); err != nil {
		return err
	}
	if c.Server != "" {
		if _, err := nebula.ProfileByName(c.Server); err != nil {
			return usage("--server %s: %w", c.Server, err)
		}
	}
	return c.checkNumbers()
}

// parseCollect reads a command line of collect without running it, and gives its options as a run keeps them.
func parseCollect(args []string, l *layers) (*collect, map[string]string, error) {
	var all commands
	t := &terminal{out: io.Discard, err: io.Discard}
	parser, err := newParser(&all, &layers{Files: l.Files, found: map[string]bool{}}, t, func(int) {})
	if err != nil {
		return nil, nil, err
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return nil, nil, err
	}
	return &all.Collect, optionsOf(ctx), nil
}
