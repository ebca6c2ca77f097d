package schema

import (
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
)

// Markdown is docs/schema.md: every table and column, from the lists in this package.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Columns\n\nGenerated from the code (`go test ./schema -update`); a test compares it. Schema version " + Version + `.

A value that was not read, is not supported or failed is NULL: never 0, never −1. Instants named ` + "`*_monotonic_ns`" + ` are
CLOCK_MONOTONIC of the host, in nanoseconds; ` + "`*timestamp`" + ` columns are the same instants on the wall clock. Partition keys
(` + "`gpu`, `llm`, `stage`" + `) are slugs in the path; exact names are columns.
`)
	markdown(&b, Samples)
	markdown(&b, Requests)
	markdown(&b, Folds)
	markdown(&b, Runs)
	markdown(&b, Prompts)
	return b.String()
}

func markdown[R any](b *strings.Builder, t Table[R]) {
	fmt.Fprintf(b, "\n## %s\n\n%s; each file sorted by `%s`.\n\n| column | type | unit | meaning |\n|---|---|---|---|\n", t.Name, t.Doc, t.SortKey)
	for _, c := range t.Columns {
		doc := c.Doc
		if c.OTel != "" {
			doc += " (" + c.OTel + ")"
		}
		null := ""
		if c.Nullable {
			null = ", null"
		}
		fmt.Fprintf(b, "| `%s` | %s%s | %s | %s |\n", c.Name, typeName(c.Type), null, c.Unit, doc)
	}
}

func typeName(t arrow.DataType) string {
	switch t {
	case typeString:
		return "string"
	case typeTimestamp:
		return "timestamp(µs, UTC)"
	case typeStrings:
		return "list of string"
	case typeNumbers:
		return "list of double"
	default:
		return t.String()
	}
}
