package query

import (
	"embed"
	"regexp"
	"strings"
)

// Queries that tracer asks itself stand in files of their own: docs/cookbook.md shows the same.
//
//go:embed *.sql
var files embed.FS

// grouping is a line of a file that says what its rows are grouped by.
var grouping = regexp.MustCompile(`(?m)^.* -- by$`)

// File is the query of a name: stages, requests, energies and so on. Columns, if any, are what it groups by instead of its own.
func File(name string, columns ...string) string {
	text, err := files.ReadFile(name + ".sql")
	if err != nil {
		panic(err) // a name is a constant of the program
	}
	if columns == nil {
		return string(text)
	}
	return grouping.ReplaceAllLiteralString(string(text), strings.Join(append(columns, ""), ", ")+"-- by")
}

// Bare is a file's query without its semicolon, for use within another.
func Bare(name string) string {
	return strings.TrimSuffix(strings.TrimSpace(File(name)), ";")
}
