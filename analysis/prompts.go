package analysis

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/llm-tracer/tracer/schema"
)

// ReadCorpus reads a corpus back, in the file's order, and holds every text against its hash.
func ReadCorpus(path string) ([]schema.Prompt, error) {
	var prompts []schema.Prompt
	ids := map[string]bool{}
	columns := []string{
		"prompt_id", "workload", "target_tokens", "element", "text", "text_tokens", "tokenizer", "max_tokens", "exact_length",
		"source", "written_by", "sha256", "created",
	}
	err := eachBatch(path, columns, func(c []arrow.Array) error {
		size, ok1 := c[2].(*array.Int32)
		tokens, ok2 := c[5].(*array.Int32)
		most, ok3 := c[7].(*array.Int32)
		exact, ok4 := c[8].(*array.Boolean)
		created, ok5 := c[12].(*array.Timestamp)
		if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
			return fmt.Errorf("reading %s: its columns are not those of a corpus; write it with tracer prompts", path)
		}
		for i := range c[0].Len() {
			p := schema.Prompt{
				ID: text(c[0], i), Workload: schema.Workload(text(c[1], i)), TargetTokens: size.Value(i), Element: text(c[3], i),
				Text: text(c[4], i), TextTokens: tokens.Value(i), Tokenizer: text(c[6], i), MaxTokens: most.Value(i),
				ExactLength: exact.Value(i), Source: text(c[9], i), WrittenBy: text(c[10], i), SHA256: text(c[11], i),
			}
			if created.IsValid(i) {
				p.CreatedUnixMS = int64(created.Value(i)) / 1000
			}
			sum := sha256.Sum256([]byte(p.Text))
			switch {
			case p.ID == "" || ids[p.ID]:
				return fmt.Errorf("reading %s: prompt_id %q of row %d is there twice, or empty; write the corpus with tracer prompts", path, p.ID, len(prompts)+1)
			case hex.EncodeToString(sum[:]) != p.SHA256:
				return fmt.Errorf("reading %s: the text of %s is not what its sha256 says; the file was changed, make it anew with tracer prompts", path, p.ID)
			case p.TargetTokens < 1 || p.MaxTokens < 1 || p.MaxTokens > math.MaxInt32/2 || p.Workload != schema.WorkloadPrefill && p.Workload != schema.WorkloadDecode:
				return fmt.Errorf("reading %s: %s has workload %q, target_tokens %d and max_tokens %d, which cannot be sent", path, p.ID, p.Workload, p.TargetTokens, p.MaxTokens)
			}
			ids[p.ID] = true
			prompts = append(prompts, p)
		}
		return nil
	})
	if err == nil && len(prompts) == 0 {
		err = fmt.Errorf("reading %s: it holds no prompts", path)
	}
	return prompts, err
}
