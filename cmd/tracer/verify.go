package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/analysis/verify"
)

type verifyCommand struct {
	Dir    string `arg:"" optional:"" default:"datasets" help:"Dataset (default: ${default})."`
	Repair bool   `help:"Set aside what cannot stay, into _tracer/aside; nothing is deleted."`
	Strict bool   `help:"Fail on warnings too: leftovers that no reader sees."`
	JSON   bool   `name:"json" help:"Print the result as JSON."`
}

// Help is printed under the flags.
func (*verifyCommand) Help() string {
	return `Reads every byte of a dataset and holds it against its manifests, its schema and itself. Ends with 0 where readers find
nothing wrong, with 1 where they may. Columns that were added since a file was written are a note, and no fault. A dataset that is being written to is verified as it is committed so far.`
}

// Run verifies, and repairs if asked to.
func (v *verifyCommand) Run(t *terminal) error {
	var report *verify.Report
	moved := []verify.Move{}
	var err error
	if v.Repair {
		report, moved, err = verify.Repair(context.Background(), v.Dir, versionLine())
	} else {
		report, err = verify.Dataset(context.Background(), v.Dir)
	}
	if v.JSON && report != nil {
		err = errors.Join(err, t.json(struct {
			*verify.Report
			Moved []verify.Move `json:"moved"`
		}{report, moved}))
	} else {
		v.print(t, report, moved)
	}
	if err != nil {
		return fmt.Errorf("verifying %s: %w", v.Dir, err)
	}
	failed := report.Count(verify.Error)
	if v.Strict {
		failed += report.Count(verify.Warning)
	}
	if failed > 0 {
		return fmt.Errorf("%s is not as it should be: %d errors, %d warnings", v.Dir, report.Count(verify.Error), report.Count(verify.Warning))
	}
	return nil
}

func (v *verifyCommand) print(t *terminal, r *verify.Report, moved []verify.Move) {
	for _, m := range moved {
		fmt.Fprintf(t.out, "set aside: %s, to %s\n", query.Printable(m.From), query.Printable(m.To))
	}
	if r == nil {
		return
	}
	for i := range r.Findings {
		fmt.Fprintln(t.out, query.Printable(r.Findings[i].String()))
	}
	fmt.Fprintf(t.out, "%s: %d files, %d rows, %d bytes, %d runs in %.1f s: %d errors, %d warnings\n",
		v.Dir, r.Files, r.Rows, r.Bytes, r.Runs, r.Seconds, r.Count(verify.Error), r.Count(verify.Warning))
}
