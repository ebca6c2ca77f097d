// Package corpus makes the prompts of a run: texts of exact sizes that ask for work of one kind.
//
// A prefill prompt is a long text that ends in Instruction, so that the model reads much and answers a word. A decode
// prompt asks for a long story in a few words. An Author writes the long texts: the built-in one from word lists of its
// own, which needs no service and gives the same texts for the same Spec on every machine; a language model; a file.
//
// Sizes are counted in tokens by a Counter, before any chat template. Whatever the author wrote is cut, or grown by the
// built-in author, to exactly the size asked for: the opening that keeps it out of prefix caches and the instruction are
// part of it.
package corpus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/sourcegraph/conc/pool"

	"github.com/llm-tracer/tracer/schema"
)

// The origins of a prompt's text.
const (
	SourceBuiltin = "builtin"
	SourceNebula  = "nebula"
	SourceFile    = "file"
)

// maxSize bounds a size, in tokens: ten times what any catalogued model reads.
const maxSize = 1 << 20

// Spec says which prompts to make.
type Spec struct {
	Workloads []schema.Workload
	Sizes     []int // tokens: of the prompt (prefill) or of the answer (decode)
	PerSize   int   // prompts for each workload and size
	Seed      uint64
	// ExactLength has decode requests ask the server for exactly as many tokens as the size, where it can. Without it
	// the size is a ceiling, and the model may end its story earlier.
	ExactLength bool
}

// Counter counts texts in tokens, before any chat template.
type Counter interface {
	Name() string
	Count(ctx context.Context, text string) (int, error)
}

// Slot is one prefill prompt to be written.
type Slot struct {
	Size   int // tokens, of the whole prompt
	Number int // within its size, from 0
}

// Text is running text for a prompt, and where it comes from.
type Text struct {
	Body          string
	WrittenBy     string // the model, where one wrote it
	CreatedUnixMS int64  // 0 where that is not known
}

// Author writes texts of at least so many tokens, roughly, and may write less when it has no more. Build calls it from
// several goroutines, once for each slot.
type Author interface {
	Source() string
	Write(ctx context.Context, s Slot, tokens int) (Text, error)
}

// Workers is how many prompts are made at once, and so how many requests an author or a counter sees.
const Workers = 4

// Build makes the prompts of spec, ordered by workload, size and number. No two prefill prompts begin alike, so that a
// server's prefix cache finds nothing to reuse. The author may be nil for the built-in one.
func Build(ctx context.Context, spec Spec, counter Counter, author Author) ([]schema.Prompt, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	prompts := make([]schema.Prompt, 0, len(spec.Workloads)*len(spec.Sizes)*spec.PerSize)
	for _, w := range spec.Workloads {
		var made []schema.Prompt
		var err error
		switch w {
		case schema.WorkloadPrefill:
			var slots []Slot
			for _, size := range spec.Sizes {
				for number := range spec.PerSize {
					slots = append(slots, Slot{size, number})
				}
			}
			made, err = prefill(ctx, spec.Seed, slots, counter, author)
		case schema.WorkloadDecode:
			made, err = decode(ctx, spec, counter)
		}
		if err != nil {
			return nil, err
		}
		prompts = append(prompts, made...)
	}
	return prompts, nil
}

// SpecError is a corpus that cannot be made as it was asked for.
type SpecError struct {
	what string
	slot Slot // whose prompt it is; the zero Slot where it is no one's
}

func (e *SpecError) Error() string { return e.what }

func refused(format string, args ...any) error { return &SpecError{what: fmt.Sprintf(format, args...)} }

// Check says whether a spec can be built, without building it.
func Check(ctx context.Context, spec Spec, counter Counter) error {
	if err := spec.check(); err != nil || !slices.Contains(spec.Workloads, schema.WorkloadPrefill) {
		return err
	}
	f, err := newFitter(ctx, spec.Seed, counter)
	for _, size := range spec.Sizes {
		if err == nil {
			err = f.roomFor(spec.PerSize, size)
		}
	}
	return err
}

func (s Spec) check() error {
	if len(s.Workloads) == 0 || len(s.Sizes) == 0 || s.PerSize < 1 {
		return refused("no prompts asked for: %d workloads, %d sizes and %d prompts a size; each must be 1 or more",
			len(s.Workloads), len(s.Sizes), s.PerSize)
	}
	for i, w := range s.Workloads {
		if w != schema.WorkloadPrefill && w != schema.WorkloadDecode {
			return refused("no workload %q; there are %s and %s", w, schema.WorkloadPrefill, schema.WorkloadDecode)
		}
		if slices.Contains(s.Workloads[:i], w) {
			return refused("workload %q is listed twice; list it once", w)
		}
	}
	for i, size := range s.Sizes {
		if size < 1 || size > maxSize {
			return refused("size %d is not between 1 and %d tokens", size, maxSize)
		}
		if slices.Contains(s.Sizes[:i], size) {
			return refused("size %d is listed twice; list it once", size)
		}
	}
	return nil
}

// each makes prompts side by side; every one depends on its index alone, so the result does not depend on who was first.
func each(ctx context.Context, prompts []schema.Prompt, fill func(ctx context.Context, i int) error) error {
	group := pool.New().WithContext(ctx).WithCancelOnError().WithFirstError().WithMaxGoroutines(Workers)
	for i := range prompts {
		if ctx.Err() != nil {
			break
		}
		group.Go(func(ctx context.Context) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fill(ctx, i)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// seal fills in what follows from the text.
func seal(p *schema.Prompt, size, number, tokens int, counter Counter) {
	sum := sha256.Sum256([]byte(p.Text))
	p.ID = fmt.Sprintf("%s-%05d-%04d", p.Workload, size, number)
	p.TargetTokens = int32(size)
	p.TextTokens = int32(tokens)
	p.RunTokens = p.TextTokens
	p.Tokenizer = counter.Name()
	p.SHA256 = hex.EncodeToString(sum[:])
}

// random is a source of numbers of one slot's own.
func (s Slot) random(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(s.Size)<<32|uint64(s.Number)))
}
