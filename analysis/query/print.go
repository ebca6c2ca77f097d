package query

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// tableRows is how many rows a table on the screen may have.
const tableRows = 1000

// DuckDB writes the values: so a number looks as it does in every other client of DuckDB.
const (
	asText = "CAST(COLUMNS(*) AS VARCHAR)"
	asJSON = "CAST(to_json(COLUMNS(*)) AS VARCHAR)"
)

// errEnough ends a scan early.
var errEnough = errors.New("enough rows")

// WriteTable runs a query of the user's and writes it as an aligned table, numbers to the right, at most a thousand rows. It
// says whether there were more.
func (d *Dataset) WriteTable(ctx context.Context, w io.Writer, query string) (cut bool, err error) {
	var rows [][]string
	err = d.texts(ctx, query, asText, func(row []*string) error {
		if len(rows) > tableRows {
			return errEnough
		}
		rows = append(rows, printable(row))
		return nil
	})
	if cut = errors.Is(err, errEnough); err != nil && !cut {
		return false, err
	}
	return cut, align(w, rows)
}

// WriteCSV runs a query of the user's and writes it as CSV; NULL is empty.
func (d *Dataset) WriteCSV(ctx context.Context, w io.Writer, query string) error {
	out := csv.NewWriter(w)
	err := d.texts(ctx, query, asText, func(row []*string) error {
		fields := make([]string, len(row))
		for i, v := range row {
			if v != nil {
				fields[i] = *v
			}
		}
		return out.Write(fields)
	})
	out.Flush()
	return errors.Join(err, out.Error())
}

// WriteJSON runs a query of the user's and writes a JSON object a line; NULL is null, as are NaN and infinity.
func (d *Dataset) WriteJSON(ctx context.Context, w io.Writer, query string) error {
	out := bufio.NewWriter(w)
	var names []string
	err := d.texts(ctx, query, asJSON, func(row []*string) error {
		if names == nil {
			for _, name := range row {
				quoted, err := json.Marshal(*name)
				if err != nil {
					return err
				}
				names = append(names, string(quoted))
			}
			return nil
		}
		for i, v := range row {
			value := "null"
			if v != nil && json.Valid([]byte(*v)) { // not NaN or Infinity, which JSON lacks
				value = *v
			}
			fmt.Fprintf(out, "%c%s:%s", "{,"[min(i, 1)], names[i], value)
		}
		_, err := out.WriteString("}\n")
		return err
	})
	return errors.Join(err, out.Flush())
}

// texts runs a query of the user's with its columns turned into text, and gives their names, then row after row.
func (d *Dataset) texts(ctx context.Context, query, columns string, each func([]*string) error) error {
	query = strings.TrimRight(strings.TrimSpace(query), ";")
	if err := d.Check(ctx, query); err != nil {
		return err
	}
	rows, err := d.Rows(ctx, fmt.Sprintf("SELECT %s FROM (%s\n)", columns, query))
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err tells
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	row, into := make([]*string, len(names)), make([]any, len(names))
	for i := range names {
		row[i], into[i] = &names[i], &row[i]
	}
	if err := each(row); err != nil {
		return err
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := each(row); err != nil {
			return err
		}
	}
	return said(rows.Err())
}

// printable is a row for a terminal: names and texts come from servers, and may hold what moves a cursor.
func printable(row []*string) []string {
	cells := make([]string, len(row))
	for i, v := range row {
		cells[i] = "NULL"
		if v != nil {
			cells[i] = Printable(*v)
		}
	}
	return cells
}

// Printable is a text as a terminal may show it, on one line: what is not a graphic character is escaped.
func Printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) && utf8.ValidString(s) {
		return s
	}
	quoted := strconv.QuoteToGraphic(s)
	return quoted[1 : len(quoted)-1]
}

// PrintableLines is the same for a text of several lines.
func PrintableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = Printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// align writes rows, the first of them the names, in columns as wide as their widest cell.
func align(w io.Writer, rows [][]string) error {
	widths, numbers := make([]int, len(rows[0])), make([]bool, len(rows[0]))
	for i := range widths {
		numbers[i] = true
		for n, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
			if _, err := strconv.ParseFloat(row[i], 64); n > 0 && err != nil && row[i] != "NULL" {
				numbers[i] = false
			}
		}
	}
	out := bufio.NewWriter(w)
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if numbers[i] {
				line.WriteString(pad + cell + "  ")
			} else {
				line.WriteString(cell + pad + "  ")
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
	return out.Flush()
}
