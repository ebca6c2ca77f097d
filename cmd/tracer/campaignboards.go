package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/llm-tracer/tracer/internal/campaign"
	"github.com/llm-tracer/tracer/sampler/nvml"
	"github.com/llm-tracer/tracer/sampler/remote"
)

// tellBoards says which boards of this host the plan's names mean, before anything is run on them. A name that means none is an
// error; what else is in the way is told, for it may be of one board alone, or of this host.
func (r *campaigning) tellBoards() error {
	told := map[string]bool{}
	for i := range r.blocks {
		b := r.blocks[i].Board
		here, hosts := remote.Split(b.GPU)
		if told[b.Name] || strings.Contains(here, simPrefix) {
			continue
		}
		told[b.Name] = true
		for _, h := range hosts {
			fmt.Fprintf(r.err, "board %s: %s, which is looked at when its runs begin, and between them not at all\n", b.Name, remote.Shown(h))
		}
		if here != "" {
			if err := r.tellBoard(b, here); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *campaigning) tellBoard(b *campaign.Board, here string) error {
	boards, err := openBoards(here, driverPatience)
	if err != nil {
		what, _, _ := strings.Cut(err.Error(), "\n")
		if exitCode(err) == exitUsage && !errors.Is(err, nvml.ErrSilent) {
			return usage("%w", r.file.BoardNamed(b.Name, "%s", what))
		}
		fmt.Fprintf(r.err, "board %s (%s) cannot be looked at here: %s\n", b.Name, here, what)
		return nil
	}
	defer boards.close()
	var all []string
	for _, f := range boards.here() {
		all = append(all, fmt.Sprintf("%d %s %s", f.Index, f.Name, f.UUID))
	}
	meant := here
	switch {
	case boards.said != "":
		meant = boards.said
	case here == "auto" && len(all) > 1:
		meant = fmt.Sprintf("auto is all %d boards of this host", len(all))
	}
	fmt.Fprintf(r.err, "board %s: %s: %s\n", b.Name, meant, strings.Join(all, ", "))
	return nil
}
