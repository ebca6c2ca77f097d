package schema

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
)

// hive is how Trino's hive connector names a column's type.
func hive(t arrow.DataType) string {
	switch t := t.(type) {
	case *arrow.ListType:
		return "array(" + hive(t.Elem()) + ")"
	case *arrow.TimestampType:
		return "timestamp(3)"
	}
	switch t.ID() {
	case arrow.FLOAT32:
		return "real"
	case arrow.FLOAT64:
		return "double"
	case arrow.INT32:
		return "integer"
	case arrow.INT64:
		return "bigint"
	case arrow.BOOL:
		return "boolean"
	default:
		return "varchar"
	}
}

func TestTrinosTablesHaveTheColumnsInTheirOrder(t *testing.T) {
	sql, err := os.ReadFile("../deploy/trino/hive.sql")
	if err != nil {
		t.Fatal(err)
	}
	for name, layout := range map[string]*arrow.Schema{
		Samples.Name: Samples.Schema(), Requests.Name: Requests.Schema(), Folds.Name: Folds.Schema(), Runs.Name: Runs.Schema(), Prompts.Name: Prompts.Schema(),
	} {
		columns := make([]string, layout.NumFields())
		for i, f := range layout.Fields() {
			columns[i] = fmt.Sprintf("    %s %s", f.Name, hive(f.Type))
		}
		_, table, _ := strings.Cut(string(sql), "hive.tracer."+name+" (\n")
		if want := strings.Join(columns, ",\n"); !strings.HasPrefix(table, want) {
			t.Errorf("deploy/trino/hive.sql: %s is not\n%s", name, want)
		}
	}
}
