package analysis

import (
	"fmt"
	"path/filepath"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// Sent is one attempt at a prompt that a run has committed, as far as going on with the run needs it.
type Sent struct {
	schema.Span
	Prompt schema.Prompt // without its text
}

// Sent reads the requests that a run has published, warm-ups left out.
func (d Dataset) Sent(m *store.Manifest) ([]Sent, error) {
	return again(func() ([]Sent, error) { return d.sent(m) })
}

func (d Dataset) sent(m *store.Manifest) ([]Sent, error) {
	catalog, err := store.ReadCatalog(d.Dir)
	if err != nil {
		return nil, err
	}
	var all []Sent
	columns := []string{
		"prompt_id", "repetition", "workload", "target_tokens", "error_type", "warmup", "start_monotonic_ns",
		"prefill_start_monotonic_ns", "first_token_monotonic_ns", "last_token_monotonic_ns", "request_id",
		"run_id", "host",
	}
	for _, file := range catalog.FilesOf(m, schema.Requests.Name) {
		err := eachBatch(filepath.Join(d.Dir, file), columns, func(c []arrow.Array) error {
			repetition, ok1 := c[1].(*array.Int32)
			size, ok2 := c[3].(*array.Int32)
			warmup, ok3 := c[5].(*array.Boolean)
			start, ok4 := c[6].(*array.Int64)
			if !ok1 || !ok2 || !ok3 || !ok4 {
				return fmt.Errorf("reading %s: its columns are not those of requests", file)
			}
			for i := range c[0].Len() {
				if warmup.Value(i) || text(c[11], i) != m.RunID || text(c[12], i) != m.Host {
					continue
				}
				s := Sent{Prompt: schema.Prompt{ID: text(c[0], i), Repetition: repetition.Value(i), Workload: schema.Workload(text(c[2], i)), TargetTokens: size.Value(i)}}
				s.RequestID, s.ErrorType, s.StartNS = text(c[10], i), text(c[4], i), start.Value(i)
				s.PrefillStartNS, s.FirstTokenNS, s.LastTokenNS = instantAt(c[7], i), instantAt(c[8], i), instantAt(c[9], i)
				all = append(all, s)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for i := range all {
		all[i].Span.Prompt = &all[i].Prompt
	}
	return all, nil
}

// instantAt is an instant that may be NULL.
func instantAt(a arrow.Array, i int) (ns schema.Opt[int64]) {
	if v, ok := a.(*array.Int64); ok && v.IsValid(i) {
		ns = schema.Some(v.Value(i))
	}
	return ns
}
