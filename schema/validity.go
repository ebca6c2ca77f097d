package schema

// Reason codes of a request that must not be used for calibration without thought.
const (
	ReasonFailed         = "failed"               // no complete answer; error_type says why
	ReasonInterrupted    = "interrupted"          // the run was stopped while it was in flight
	ReasonPrefixCacheHit = "prefix_cache_hit"     // part of the prompt was not prefilled
	ReasonTokensCut      = "tokens_truncated"     // the server counted fewer prompt tokens than were sent
	ReasonTokenCount     = "token_count_mismatch" // the server counted more prompt tokens than text and chat template have
	ReasonLength         = "length_mismatch"      // an exact answer length was asked for and not given
	ReasonOverlap        = "overlap"              // another request was in flight at the same time
	ReasonStreamBroken   = "stream_broken"        // the stream ended without its end mark
	ReasonNoFirstToken   = "no_first_token"       // nothing marks the end of prefill
	ReasonGap            = "gap"                  // a board was not read for a while: runs.gaps
	ReasonThrottled      = "throttled"            // a board was slowed down: ThrottleSlowdown in throttle_reasons
	ReasonForeignLoad    = "foreign_load"         // a board was busy before the run's first request
	ReasonClockStep      = "clock_step"           // the wall clock stepped meanwhile: runs.clock_steps
)

// ThrottleSlowdown are the bits of nvmlClocksEventReasons that make a request throttled: hardware slowdown 0x8, software
// and hardware thermal slowdown 0x20 and 0x40, power brake 0x80. Something was wrong with the board or its supply. The
// power cap 0x4 is not among them: at its power limit, which runs state, a board does what it is meant to do, and long
// prefills on boards of low limits hardly ever do anything else.
const ThrottleSlowdown = 0x8 | 0x20 | 0x40 | 0x80

// Error types that reason codes follow from.
const (
	ErrorInterrupted  = "interrupted"   // the request was in flight when the run was stopped
	ErrorStreamBroken = "stream_broken" // the stream ended without its end mark
)

// Asked is what must be known about a request, beside its own row, to judge its answer.
type Asked struct {
	Template   Opt[int32] // tokens that the chat template adds; absent where another than the model's own tokenizer counted
	MaxContext int32      // tokens; 0 where it is not known
	Exactly    bool       // the server was told to give exactly as many tokens as requested
}

// Reasons are the codes that a request's own numbers call for. Those that need others' (overlap) are left to whoever has
// them.
func (s *Span) Reasons(asked Asked) (codes []string) {
	cut, more := s.miscounted(asked)
	succeeded := s.ErrorType == ""
	for _, rule := range []struct {
		code  string
		holds bool
	}{
		{ReasonFailed, !succeeded && s.ErrorType != ErrorInterrupted},
		{ReasonInterrupted, s.ErrorType == ErrorInterrupted},
		{ReasonPrefixCacheHit, s.CachedInputTokens.V > 0},
		{ReasonTokensCut, cut},
		{ReasonTokenCount, more},
		{ReasonLength, succeeded && s.mismatched(asked.Exactly)},
		{ReasonStreamBroken, s.ErrorType == ErrorStreamBroken},
		{ReasonNoFirstToken, succeeded && !s.FirstTokenNS.OK},
	} {
		if rule.holds {
			codes = append(codes, rule.code)
		}
	}
	return codes
}

// miscounted compares the prompt as counted with the prompt as sent. Where the model's own tokenizer counted it and the
// chat template is known, any difference tells: less is a cut, more a template that adds what it did not add at first.
//
// Another tokenizer's counts differ by up to a tenth or so from the model's; a chat template only ever adds. So a prompt
// was cut when a fifth of it is missing, and when it is shorter than sent and exactly as long as a context can be.
func (s *Span) miscounted(asked Asked) (cut, more bool) {
	sent, seen := s.TextTokens, s.InputTokens
	if asked.Template.OK {
		return seen.OK && seen.V < sent+asked.Template.V, seen.OK && seen.V > sent+asked.Template.V
	}
	if !seen.OK || seen.V >= sent {
		return false, false
	}
	full := seen.V%1024 == 0 || seen.V == asked.MaxContext
	return full || int64(seen.V) < int64(sent)*4/5-16, false
}

// mismatched says whether the answer has another length than was asked: a bound was overstepped or an exact length
// missed. What cannot be known is not held against the request.
func (s *Span) mismatched(exactly bool) bool {
	requested, got := s.OutputTokensRequested, s.OutputTokens
	if !requested.OK || !got.OK {
		return false
	}
	return got.V > requested.V || exactly && got.V != requested.V
}
