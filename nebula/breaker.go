package nebula

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// DefaultPatience is as long as most servers take to start again and load their model.
const DefaultPatience = 5 * time.Minute

// StopError says that the run stopped early because there is no usable server.
type StopError struct {
	Endpoint  string // without credentials
	ErrorType string
	Message   string
	Failures  int           // in a row
	For       time.Duration // that the server was waited for; 0 where there was nothing to wait for
}

// Error names the endpoint and what to do.
func (e *StopError) Error() string {
	waited := ""
	if e.For > 0 {
		waited = fmt.Sprintf(" over %v", e.For.Round(time.Second))
	}
	return fmt.Sprintf("sending prompts to %s: %s (%s, %d in a row%s): %s", e.Endpoint, e.Message, e.ErrorType, e.Failures, waited, e.mend())
}

func (e *StopError) mend() string {
	switch e.ErrorType {
	case ErrTypeConnect:
		return "start the server or correct the endpoint"
	case ErrTypeOverloaded:
		return "wait until the server has room, or send fewer requests at once"
	case ErrTypeAuth:
		return "check the key"
	case ErrTypeIdle, ErrTypeTimeout:
		return "see whether the server hangs, or allow it more time"
	case "http_404", "http_405", "http_501":
		return "check the endpoint's path and the model's name"
	}
	return "see the server's own log"
}

// breaker stops a run whose server is gone. It knows two kinds of failure in a row, told apart because a server that
// starts again is worth waiting for, and one that answers nonsense is not.
type breaker struct {
	mu       sync.Mutex
	answered bool      // whatever was asked, something usable came
	failed   int       // attempts in a row that the server spoilt
	refused  int       // attempts in a row that it was unreachable or overloaded for
	since    time.Time // of the first of these
}

// misdirected says whether a first failure would meet every other prompt as well: endpoint, key or model's name is wrong.
func misdirected(errorType string) bool {
	switch errorType {
	case ErrTypeConnect, ErrTypeAuth, "http_404", "http_405", "http_501":
		return true
	}
	return strings.HasPrefix(errorType, "http_3")
}

// usable says whether a reply speaks for the server: an answer, or a refusal that is the prompt's own fault.
func usable(s *schema.Span) bool {
	switch s.ErrorType {
	case "", ErrTypeContextLength:
		return true
	}
	return strings.HasPrefix(s.ErrorType, "http_4") && !misdirected(s.ErrorType)
}

// weigh counts the reply to a prompt that was first sent so long ago, and is an error where the run must stop: at the
// first failure, when nothing was ever answered and nothing else can be expected; after most failures in a row; where the
// server is unreachable or overloaded, after so many and patience as well. Until then the prompt is to be asked again,
// however often, unless it has waited for so long while others were answered.
func (b *breaker) weigh(r *Reply, sentFor time.Duration, most int, patience time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	kind := r.Span.ErrorType
	switch {
	case usable(r.Span):
		b.answered, b.failed, b.refused = true, 0, 0
		return nil
	case kind == ErrTypeInterrupted || kind == ErrTypeBadRequest:
		return nil
	case !b.answered && misdirected(kind):
		return b.stop(r.Span, b.failed+1, 0)
	}
	b.answered = b.answered || r.Span.HTTPStatus.OK
	if r.Retry != RetryLater {
		if b.failed, b.refused = b.failed+1, 0; b.failed >= most {
			return b.stop(r.Span, b.failed, 0)
		}
		return nil
	}
	if b.refused++; b.refused == 1 {
		b.since = time.Now()
	}
	if gone := time.Since(b.since); b.refused >= most && gone >= patience {
		return b.stop(r.Span, b.refused, gone)
	}
	if sentFor < patience {
		r.Retry = RetryUntilBack
	}
	return nil
}

func (b *breaker) stop(s *schema.Span, failures int, waited time.Duration) error {
	return &StopError{Endpoint: s.Endpoint, ErrorType: s.ErrorType, Message: s.ErrorMessage, Failures: failures, For: waited}
}

// waiting is since when the server has been away; 0 where it is not.
func (b *breaker) waiting() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refused == 0 {
		return 0
	}
	return time.Since(b.since)
}
