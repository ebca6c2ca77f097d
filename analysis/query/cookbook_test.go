package query

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// docs/cookbook.md shows the files themselves.
func TestTheCookbookShowsTheQueriesThatTracerAsks(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "cookbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob("*.sql")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, path := range paths {
		name := strings.TrimSuffix(path, ".sql")
		files[strings.TrimSpace(File(name))] = name
	}
	shown := 0
	for _, block := range strings.Split(string(text), "```sql\n")[1:] {
		query, _, _ := strings.Cut(block, "\n```")
		if strings.HasPrefix(query, "CREATE VIEW") {
			continue
		}
		if shown++; files[strings.TrimSpace(query)] == "" {
			t.Errorf("no file of this package is\n%s", query)
		}
	}
	if questions := strings.Count(string(text), "\n## "); shown != questions || shown < 10 {
		t.Errorf("%d questions, %d answers in SQL", questions, shown)
	}
}
