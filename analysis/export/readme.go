package export

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/analysis/query"
)

const readme = "README.md"

// readme writes what the export is of.
func (e *export) readme() error {
	return e.folder.write(readme, func(w io.Writer) error {
		fmt.Fprintf(w, "# A trace as %s\n\nWritten by `tracer export --format %s`.\n\n", e.Format, e.Format)
		if slices.ContainsFunc(e.boards, func(b query.Board) bool { return b.Simulated }) {
			fmt.Fprint(w, "**Simulated: runs marked so describe no real hardware.**\n\n")
		}
		fmt.Fprint(w, "| run | board | model | |\n|---|---|---|---|\n")
		for _, b := range e.boards {
			simulated := ""
			if b.Simulated {
				simulated = "simulated"
			}
			fmt.Fprintf(w, "| %s | %s | %s | %s |\n", cell(b.RunID), cell(b.Name), cell(b.LLM), simulated)
		}
		fmt.Fprint(w, "\n| file | rows |\n|---|---|\n")
		for _, f := range e.files {
			fmt.Fprintf(w, "| %s | %d |\n", f.Name, f.Rows)
		}
		fmt.Fprintln(w)
		for _, note := range e.notes {
			fmt.Fprintf(w, "- %s\n", query.Printable(note))
		}
		return nil
	})
}

// cell is a name, which a server may have given, as it stands in a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "`", "'").Replace(query.Printable(s))
}
