package nebula

import (
	"errors"
	"fmt"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// fill puts what the stream said into the span.
func (x *exchange) fill(a *answer) {
	s := x.span
	if n := len(a.tokensNS); n > 0 {
		s.FirstTokenNS, s.LastTokenNS = schema.Some(a.tokensNS[0]), schema.Some(a.tokensNS[n-1])
		s.StartNS = min(s.StartNS, a.tokensNS[0])
	}
	s.ITLP50S, s.ITLP99S = a.interTokenLatency()
	s.Model = x.c.censor.clean(a.model)
	s.FinishReason = x.c.censor.clean(a.finish)
	a.countTokens(s)
	a.timeStages(s)
}

// verdict is what is known of a stream's end besides its events.
type verdict struct {
	cause error  // why this side stopped, if it did
	err   error  // how the reading ended
	other bool   // there was something that belongs to no event stream
	kind  string // Content-Type
}

// judge decides whether the answer is whole, and whether it is what was asked for.
func (x *exchange) judge(a *answer, v verdict) {
	page := v.other || v.kind == "text/html" || v.kind == "application/json"
	switch {
	case a.refusal != nil:
		x.span.GivenUp = v.cause != nil
		x.refusedMidStream(a.refusal, len(a.tokensNS) == 0)
	case v.cause != nil:
		x.failOwn(v.cause)
	case a.events == 0 && page:
		x.notAStream(v)
	case errors.Is(v.err, errTooLarge):
		x.span.GivenUp = true
		x.fail(ErrTypeTooLarge, v.err.Error())
	case !x.rec.finished:
		x.span.GivenUp = true // the server may not know that nobody listens any more
		x.fail(ErrTypeStreamBroken, broken(v.err))
	case a.garbage > 0:
		x.fail(ErrTypeBadResponse, fmt.Sprintf("%d of %d events are no JSON", a.garbage, a.events))
	case len(a.tokensNS) == 0 && x.span.OutputTokens.V == 0 && a.finish == "": // a model may choose to say nothing, and says so
		x.fail(ErrTypeEmpty, "the answer has no token, and no reason why it ended")
	}
}

func broken(err error) string {
	if err == nil {
		return "the stream ended without [DONE]"
	}
	return "the stream broke: " + err.Error()
}

// refusedMidStream names an error inside a stream that began as a success. Asked again is only who said nothing yet.
func (x *exchange) refusedMidStream(r *refusal, silent bool) {
	x.fail(ErrTypeStreamError, r.message)
	if silent && r.overload() {
		x.reply.Retry, x.reply.After = RetryLater, retryAfter(nil, r.message, time.Now())
	}
}

// notAStream names an answer that is a page, or an error sent as plain JSON under a status of success.
func (x *exchange) notAStream(v verdict) {
	if r := refusalIn(x.rec.bytes); r != nil {
		x.refusedMidStream(r, true)
		return
	}
	x.span.GivenUp = v.err != nil
	x.fail(ErrTypeBadResponse, fmt.Sprintf(
		"not an event stream (Content-Type %q); give the base URL of an OpenAI-compatible server as the endpoint", v.kind))
}

// asksExactly says whether the server was told to give exactly so many tokens. Where it cannot be told, both lengths are
// in the row and a shorter answer is no fault.
func (x *exchange) asksExactly() bool {
	return x.span.Prompt.ExactLength && x.c.cfg.Profile.IgnoreEOS && x.dress == full
}
