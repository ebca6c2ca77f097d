package sampler

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// recorded reads a series of testdata/recorded as the renewals that its reader saw.
func recorded(t *testing.T, name string) []edge {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "recorded", name+".csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var edges []edge
	last := int64(-1)
	for _, row := range rows[1:] {
		from, err1 := strconv.ParseInt(row[0], 10, 64)
		to, err2 := strconv.ParseInt(row[1], 10, 64)
		if err1 != nil || err2 != nil || from <= last {
			t.Fatalf("%s: row %v", name, row)
		}
		if last >= 0 {
			edges = append(edges, edge{last * 1e6, from * 1e6})
		}
		last = to
	}
	return edges
}

// The A100's own clock is slow: its 30 renewals from 1,148 to 4,183 ms are 101.2 ms apart. The V100's are 20.04 ms apart
// while it idles and 19.84 ms under load, which costs its fit confidence.
func TestThePeriodsOfRecordedBoardsAreFound(t *testing.T) {
	for name, want := range map[string]float64{"A100": 101.17, "V100": 20, "RTX3090": 100, "RTX3090-average": 100} {
		r, ok := fitRhythm(recorded(t, name))
		t.Logf("%-16s %d changes, period %.2f ms, R %.3f", name, len(recorded(t, name)), r.periodNS/1e6, r.confidence)
		if off := r.periodNS/1e6/want - 1; !ok || off < -0.01 || off > 0.01 {
			t.Errorf("%s: period %.2f ms (found: %t), want %.2f", name, r.periodNS/1e6, ok, want)
		}
	}
}
