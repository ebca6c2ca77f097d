package analysis

import (
	"path/filepath"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// Measured are the boards that a run has published rows of, by name and UUID.
func (d Dataset) Measured(m *store.Manifest) ([]schema.Board, error) {
	return again(func() ([]schema.Board, error) { return d.measured(m) })
}

func (d Dataset) measured(m *store.Manifest) ([]schema.Board, error) {
	catalog, err := store.ReadCatalog(d.Dir)
	if err != nil {
		return nil, err
	}
	var all []schema.Board
	for _, file := range catalog.FilesOf(m, schema.Runs.Name) {
		err := eachBatch(filepath.Join(d.Dir, file), []string{"gpu_name", "gpu_uuid", "run_id", "host"}, func(c []arrow.Array) error {
			for i := range c[0].Len() {
				if text(c[2], i) == m.RunID && text(c[3], i) == m.Host {
					all = append(all, schema.Board{Name: text(c[0], i), UUID: text(c[1], i)})
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
