package query

import (
	"path/filepath"
	"strings"
	"testing"
)

// Every file runs as it stands, and grouped otherwise.
func TestEveryFileRuns(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, "one")
	d := open(t, dir)
	paths, err := filepath.Glob("*.sql")
	if err != nil || len(paths) < 7 {
		t.Fatalf("%q, %v", paths, err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(path, ".sql")
		for _, text := range []string{File(name), File(name, "run_id"), File(name, []string{}...), File(name, "run_id", "gpu_name")} {
			csvOf(t, d, text)
		}
	}
	if got := csvOf(t, d, "SELECT seconds, rows, power_updates, p95_power_w FROM ("+Bare("stages")+")"); !strings.HasSuffix(got, "\n1.0,100,0,94.0\n") {
		t.Errorf("100 readings of 0 to 99 W, every 10 ms: %s", got)
	}
}

// What two runs of two boards say together.
func TestEnergiesOfBoardsAndRunsAddUp(t *testing.T) {
	for _, c := range []struct {
		name, runs, folds, want string
	}{
		{
			name:  "the boards of a run add up, and their gains on one side",
			runs:  "('a', 'b0', 0.06), ('a', 'b1', 0.06)",
			folds: "('a', 'b0', 4, 100, sqrt(36 + 16)), ('a', 'b1', 4, 100, sqrt(36 + 9))",
			want:  "200.0,13.0,NULL,4,1", // gains 12 together, noise 4 and 3 in quadrature
		},
		{
			name:  "runs are averaged by their requests; noise shrinks, the gain stays",
			runs:  "('a', 'b0', 0.1), ('b', 'b0', 0.1)",
			folds: "('a', 'b0', 10, 100, sqrt(100 + 3 ** 2)), ('b', 'b0', 30, 100, sqrt(100 + 1 ** 2))",
			want:  "100.0,10.06,0.0,40,2",
		},
		{
			name:  "runs that scatter widen the interval",
			runs:  "('a', 'b0', 0), ('b', 'b0', 0)",
			folds: "('a', 'b0', 10, 98, 0.98), ('b', 'b0', 10, 102, 0.98)",
			want:  "100.0,3.92,5.66,20,2",
		},
		{
			name:  "a board without an energy leaves none to the run",
			runs:  "('a', 'b0', 0), ('a', 'b1', 0)",
			folds: "('a', 'b0', 10, 98, 0.98), ('a', 'b1', 10, NULL, NULL)",
			want:  "",
		},
	} {
		db := duckdbDirect(t)
		for _, statement := range []string{
			"CREATE VIEW runs AS SELECT * FROM (VALUES " + c.runs + ") AS t(run_id, gpu_uuid, sensor_gain_error)",
			"CREATE VIEW folds AS SELECT *, energy_j + half AS energy_j_hi, 'A' AS gpu_name, 'm' AS llm_name, 'prefill' AS workload, 100 AS target_tokens, 'prefill' AS inference_stage, 1 AS requests_resolved FROM (VALUES " + c.folds + ") AS t(run_id, gpu_uuid, requests, energy_j, half)",
		} {
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		var got string
		err := db.QueryRowContext(t.Context(), "SELECT coalesce(string_agg(concat_ws(',', round(energy_j, 2), round(energy_j_half_interval, 2), coalesce(round(scatter, 2)::VARCHAR, 'NULL'), requests, runs), ' '), '') FROM ("+
			Bare("energies")+")").Scan(&got)
		if err != nil || got != c.want {
			t.Errorf("%s: got %s, want %s; %v", c.name, got, c.want, err)
		}
	}
}
