package nebula

import (
	"math"

	"github.com/llm-tracer/tracer/schema"
)

// usage is how many tokens the server counted. Open WebUI adds Ollama's durations, in ns, for Ollama's models.
type usage struct {
	PromptTokens     *float64 `json:"prompt_tokens"`
	CompletionTokens *float64 `json:"completion_tokens"`
	ReasoningTokens  *float64 `json:"reasoning_tokens"` // SGLang's place for it

	PromptDetails struct {
		CachedTokens *float64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionDetails struct {
		ReasoningTokens *float64 `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`

	PromptEvalCount    *float64 `json:"prompt_eval_count"`
	PromptEvalDuration *float64 `json:"prompt_eval_duration"`
	EvalDuration       *float64 `json:"eval_duration"`
}

// timings are llama.cpp's: ms of prefill (queueing excluded) and of decoding, tokens prefilled, taken from the cache and
// generated.
type timings struct {
	PromptMS    *float64 `json:"prompt_ms"`
	PredictedMS *float64 `json:"predicted_ms"`
	PromptN     *float64 `json:"prompt_n"`
	CacheN      *float64 `json:"cache_n"`
	PredictedN  *float64 `json:"predicted_n"`
}

// metrics are vLLM's: ms waited for the scheduler, ms from being scheduled to the first token (so without the wait), ms
// from the first to the last token. Source: vLLM, docs/features/per_request_metrics.md.
type metrics struct {
	QueueMS      *float64 `json:"queue_time_ms"`
	FirstTokenMS *float64 `json:"time_to_first_token_ms"`
	GenerationMS *float64 `json:"generation_time_ms"`
}

// count is a number of tokens; a number that is none stays absent.
func count(v *float64) schema.Opt[int32] {
	if v == nil || *v < 0 || *v > math.MaxInt32 || *v != math.Trunc(*v) {
		return schema.Opt[int32]{}
	}
	return schema.Some(int32(*v))
}

// counted is a number of tokens that cannot have been zero: zero means that nobody counted.
func counted(v *float64) schema.Opt[int32] {
	if n := count(v); n.V > 0 {
		return n
	}
	return schema.Opt[int32]{}
}

// seconds is a duration told in some unit; absent when it was not told, and when it is zero or no duration at all: Open
// WebUI writes 0 for what Ollama left out.
func seconds(v *float64, unit float64) schema.Opt[float64] {
	if v == nil || *v <= 0 || *v*unit > 1e6 {
		return schema.Opt[float64]{}
	}
	return schema.Some(*v * unit)
}

func first[T any](values ...schema.Opt[T]) schema.Opt[T] {
	for _, v := range values {
		if v.OK {
			return v
		}
	}
	return schema.Opt[T]{}
}

// countTokens fills in what the server counted. Chunks are never counted instead: they hold several tokens each, or none.
func (a *answer) countTokens(s *schema.Span) {
	output := count
	if len(a.tokensNS) > 0 {
		output = counted // something was said, so zero is no count
	}
	if u := a.usage; u != nil {
		s.InputTokens = counted(u.PromptTokens)
		s.OutputTokens = output(u.CompletionTokens)
		s.CachedInputTokens = count(u.PromptDetails.CachedTokens)
		s.ReasoningTokens = first(count(u.CompletionDetails.ReasoningTokens), count(u.ReasoningTokens))
		if u.PromptEvalCount != nil && s.ReasoningTokens.V == 0 {
			s.ReasoningTokens = schema.Opt[int32]{} // Open WebUI writes 0 there for Ollama, which does not count them
		}
	}
	if s.InputTokens.OK || s.OutputTokens.OK {
		s.TokenCountSource = "usage"
	}
	t := a.timings
	if t == nil {
		return
	}
	s.CachedInputTokens = first(s.CachedInputTokens, count(t.CacheN))
	if s.TokenCountSource != "" {
		return
	}
	if fresh, cached := count(t.PromptN), count(t.CacheN); fresh.OK && fresh.V+cached.V > 0 {
		s.InputTokens = schema.Some(fresh.V + cached.V)
	}
	s.OutputTokens = output(t.PredictedN)
	if s.InputTokens.OK || s.OutputTokens.OK {
		s.TokenCountSource = "timings"
	}
}

// timeStages fills in what the server said of its own timing.
func (a *answer) timeStages(s *schema.Span) {
	const ms, ns = 1e-3, 1e-9
	if m := a.metrics; m != nil {
		s.ServerPrefillS, s.ServerDecodeS = seconds(m.FirstTokenMS, ms), seconds(m.GenerationMS, ms)
		if m.QueueMS != nil && *m.QueueMS >= 0 && *m.QueueMS < 1e9 { // no wait is a wait of 0
			s.QueueS = schema.Some(*m.QueueMS * ms)
		}
	}
	if t := a.timings; t != nil {
		s.ServerPrefillS = first(s.ServerPrefillS, seconds(t.PromptMS, ms))
		s.ServerDecodeS = first(s.ServerDecodeS, seconds(t.PredictedMS, ms))
	}
	if u := a.usage; u != nil {
		s.ServerPrefillS = first(s.ServerPrefillS, seconds(u.PromptEvalDuration, ns))
		s.ServerDecodeS = first(s.ServerDecodeS, seconds(u.EvalDuration, ns))
	}
	if s.ServerPrefillS.OK && s.FirstTokenNS.OK {
		began := s.FirstTokenNS.V - int64(math.Round(s.ServerPrefillS.V*1e9))
		s.PrefillStartNS = schema.Some(max(s.StartNS, began))
	}
}
