package query

import (
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func TestFilesAreGroupedByTheirColumns(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for i, columns := range []string{"1 AS a, 'x' AS b", "2 AS a", "1 AS a, 'y' AS b", "1::BIGINT AS a, 'y' AS b"} {
		path := filepath.Join(dir, string(rune('0'+i))+".parquet")
		if _, err := duckdbDirect(t).ExecContext(t.Context(), "COPY (SELECT "+columns+") TO "+quote(path)+" (FORMAT parquet)"); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	groups, err := shaped(t.Context(), files)
	if err != nil || len(groups) != 3 || len(groups[0]) != 2 || groups[0][0] != files[0] || groups[0][1] != files[2] {
		t.Errorf("%v, %v", groups, err)
	}
}

func TestDamagedFootersEndInAnError(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, "one")
	body, err := os.ReadFile(filepath.Join(dir, "runs", "one-host.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) { // none panics; a byte that is changed may mean as much as before
		footer := append([]byte{}, body[len(body)/2:]...)
		for range rapid.IntRange(1, 8).Draw(t, "changes") {
			footer[rapid.IntRange(0, len(footer)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "is")
		}
		_, _ = columnsIn(t.Context(), footer[:rapid.IntRange(0, len(footer)).Draw(t, "cut")])
	})
	for _, broken := range [][]byte{nil, []byte("PAR1"), []byte("\xff\xff\xff\x7fPAR1"), []byte("\x00\x00\x00\x00PAR1"), body[:len(body)-1]} {
		path := filepath.Join(dir, "broken.parquet")
		if err := os.WriteFile(path, broken, 0o644); err != nil {
			t.Fatal(err)
		}
		if s, err := shapeOf(t.Context(), path); err == nil {
			t.Errorf("%q has the shape %q", broken, s)
		}
	}
}
