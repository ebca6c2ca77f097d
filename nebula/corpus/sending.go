package corpus

import (
	"context"

	"github.com/llm-tracer/tracer/schema"
)

// Sending is how a corpus is sent by one run.
type Sending struct {
	Sent     int     // how often each prompt has been sent before
	Repeat   int     // how often each prompt is sent
	Reopen   bool    // every request begins as no other, since nothing else keeps it out of the server's prefix cache
	Counter  Counter // of the run
	Openings *Openings
}

// Prepare gives one prompt for each request, repetitions after one another, with the tokens that its text has by the run's
// counter. From the second repetition on a prompt is reopened: the server has seen it.
func (s Sending) Prepare(ctx context.Context, prompts []schema.Prompt) ([]schema.Prompt, error) {
	all := make([]schema.Prompt, 0, len(prompts)*s.Repeat)
	for r := range s.Repeat {
		for _, p := range prompts {
			p.Repetition, p.Reopen = int32(s.Sent+r+1), s.Reopen || s.Sent+r > 0
			if !p.Reopen {
				s.Openings.keep(p.Text)
			}
			all = append(all, p)
		}
	}
	return all, each(ctx, all, func(ctx context.Context, i int) error {
		p := &all[i]
		text, added := p.Text, 0
		if p.Reopen {
			text, added = s.Openings.like(p.Text)
		}
		if p.Tokenizer == s.Counter.Name() {
			p.RunTokens = p.TextTokens + int32(added)
			return nil
		}
		n, err := s.Counter.Count(ctx, text)
		p.RunTokens = int32(n)
		return err
	})
}

// Recount has prompts counted by this counter instead of the one that they were made with.
func Recount(ctx context.Context, prompts []schema.Prompt, counter Counter) error {
	return each(ctx, prompts, func(ctx context.Context, i int) error {
		p := &prompts[i]
		n, err := counter.Count(ctx, p.Text)
		p.TextTokens, p.RunTokens, p.Tokenizer = int32(n), int32(n), counter.Name()
		return err
	})
}

// Misfits are the prefill prompts whose text is not their size by the run's counter, openings before it aside.
func Misfits(prompts []schema.Prompt) (misfits, furthest int) {
	for i := range prompts {
		p := &prompts[i]
		if p.Workload != schema.WorkloadPrefill || p.RunTokens == p.TargetTokens {
			continue
		}
		misfits++
		if off := int(p.RunTokens - p.TargetTokens); max(off, -off) > max(furthest, -furthest) {
			furthest = off
		}
	}
	return misfits, furthest
}
