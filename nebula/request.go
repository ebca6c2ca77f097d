package nebula

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/llm-tracer/tracer/schema"
)

// maxNebulaContext is the largest num_ctx that Nebula serves.
const maxNebulaContext = 32768

// chatRequest is the body of a streaming chat/completions request. What stands below the line is extra: a server may
// refuse it.
type chatRequest struct {
	Model         string         `json:"model"`
	Messages      []chatMessage  `json:"messages"`
	Stream        bool           `json:"stream"`
	StreamOptions *streamOptions `json:"stream_options,omitempty"`
	MaxTokens     int32          `json:"max_tokens,omitempty"`
	Temperature   float64        `json:"temperature"`

	Seed           *int64         `json:"seed,omitempty"`
	IgnoreEOS      bool           `json:"ignore_eos,omitempty"`
	MinTokens      int32          `json:"min_tokens,omitempty"`
	CacheSalt      string         `json:"cache_salt,omitempty"`
	CachePrompt    *bool          `json:"cache_prompt,omitempty"`
	IncludeMetrics bool           `json:"include_metrics,omitempty"`
	Options        *ollamaOptions `json:"options,omitempty"`
}

type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type ollamaOptions struct {
	NumPredict  int32   `json:"num_predict,omitempty"`
	NumCtx      int32   `json:"num_ctx,omitempty"`
	Temperature float64 `json:"temperature"`
	Seed        *int64  `json:"seed,omitempty"`
}

// dress says how much may be asked of the server beyond the fields that all servers know.
type dress int32

const (
	full    dress = iota // the profile's extras
	plain                // no extras
	minimal              // no extras, and no stream_options either
)

// body writes the request for p; extras says whether it holds fields that only some servers know.
func (c *Client) body(p *schema.Prompt, text string, d dress, seed schema.Opt[int64]) (body []byte, extras bool, err error) {
	r := chatRequest{
		Model: c.cfg.Model, Stream: true, MaxTokens: p.MaxTokens, Temperature: c.cfg.Temperature,
	}
	pr := c.cfg.Profile
	r.Messages = []chatMessage{{Role: "user", Content: text}}
	if pr.Usage && d != minimal {
		r.StreamOptions = &streamOptions{IncludeUsage: true}
	}
	if d == full {
		extras = c.dressUp(&r, p, first(seed, c.cfg.Seed))
	}
	body, err = json.Marshal(r)
	if err != nil {
		return nil, false, fmt.Errorf("writing the request for prompt %s: %w", p.ID, err)
	}
	return body, extras, nil
}

// opened is the text to send: the prompt's own, or one that begins as no other.
func (c *Client) opened(p *schema.Prompt, d dress, s *schema.Span) (text string) {
	s.TextTokens = cmp.Or(p.RunTokens, p.TextTokens)
	if c.cfg.Reopen == nil || !p.Reopen && c.cfg.Profile.fresh(d) {
		return p.Text
	}
	text, opening, added := c.cfg.Reopen(p.Text)
	if s.Opening = opening; !p.Reopen { // otherwise it is counted in RunTokens
		s.TextTokens += int32(added)
	}
	return text
}

func (c *Client) dressUp(r *chatRequest, p *schema.Prompt, seed schema.Opt[int64]) (extras bool) {
	pr := c.cfg.Profile
	if seed.OK {
		r.Seed, extras = &seed.V, true
	}
	if p.ExactLength && p.MaxTokens > 0 {
		r.IgnoreEOS = pr.IgnoreEOS
		if pr.MinTokens {
			r.MinTokens = p.MaxTokens
		}
	}
	if pr.CacheSalt {
		r.CacheSalt = salt(16)
	}
	if pr.CachePrompt {
		r.CachePrompt = new(bool)
	}
	r.IncludeMetrics = pr.Metrics
	if pr.Options {
		r.Options = &ollamaOptions{
			NumPredict: p.MaxTokens, NumCtx: c.cfg.ContextTokens, Temperature: c.cfg.Temperature, Seed: r.Seed,
		}
	}
	return extras || pr.IgnoreEOS || pr.MinTokens || pr.CacheSalt || pr.CachePrompt || pr.Metrics || pr.Options
}

// salt is n random lower-case letters and digits.
func salt(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567" // 32 of them: no bias
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails since Go 1.24
	for i := range b {
		b[i] = letters[b[i]%32]
	}
	return string(b)
}

// ContextFor is the context that all of the prompts fit in, answers and chat template included, in steps of 1,024 tokens
// and no more than Nebula serves. Ollama loads the model anew whenever num_ctx changes, so a run keeps to one.
func ContextFor(prompts []*schema.Prompt) int32 {
	need := int64(2048) // Ollama's own default
	for _, p := range prompts {
		// A tenth for a tokeniser that splits finer than the corpus's, 256 tokens for the chat template.
		text := int64(max(p.TextTokens, p.RunTokens))
		need = max(need, min(text+text/10+int64(p.MaxTokens)+256, maxNebulaContext))
	}
	return int32((need + 1023) / 1024 * 1024)
}
