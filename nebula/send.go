package nebula

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

// Call is which request of a run is sent.
type Call struct {
	RequestID   string
	Attempt     int32 // 1 is the first
	Concurrency int32
	Warmup      bool
	KeepText    bool              // the reply holds the answer's text
	Seed        schema.Opt[int64] // instead of the client's

	dress dress
	learn bool
	heard func(firstTokenNS int64)
}

// Reply is what came of one attempt.
type Reply struct {
	Span *schema.Span
	Text string // the answer without reasoning, where Call.KeepText asked for it

	Retry Retry
	After time.Duration // what the server asked to wait before a retry; 0 where it did not say

	next  dress
	learn bool // the server said that it does not know a field
}

// Retry says whether another attempt makes sense.
type Retry int

// The kinds of retry.
const (
	RetryNever     Retry = iota
	RetryLater           // the server is overloaded or could not be reached
	RetryBarely          // at once, without the fields that the server did not understand
	RetryUntilBack       // later, and however often: a schedule waits for its server
)

// maxErrorBytes bounds what is read of an answer with an error status.
const maxErrorBytes = 64 << 10

// linesFor bounds the lines of an answer, so that a server that never ends one is left within a minute or a few: eight
// events for each token asked for, and 5,000 for what else it may say, keep-alive comments in a queue most of all.
func linesFor(tokens int32) int {
	if tokens <= 0 {
		return 1 << 20
	}
	return 10_000 + 16*int(min(tokens, 1<<16))
}

// exchange is one request on its way.
type exchange struct {
	c      *Client
	ctx    context.Context //nolint:containedctx // of this exchange; cancelled with a cause
	dog    *watchdog
	out    sending
	rec    *recording
	span   *schema.Span
	reply  *Reply
	extras bool
	dress  dress
	learn  bool // a success shows how this server wants to be asked
}

// Send makes one attempt at one prompt and waits until the answer is over. There is always a span: an attempt that fails
// says so in its ErrorType.
func (c *Client) Send(ctx context.Context, p *schema.Prompt, call Call) *Reply {
	reply := &Reply{Span: c.newSpan(p, call)}
	x := &exchange{c: c, span: reply.Span, reply: reply, learn: call.learn}
	x.dress = max(call.dress, dress(c.dressed.Load()))
	body, extras, err := c.body(p, c.opened(p, x.dress, x.span), x.dress, call.Seed)
	if err != nil {
		x.span.StartNS = clock.Now()
		x.fail(ErrTypeBadRequest, err.Error())
		x.close(x.span.StartNS)
		return reply
	}
	x.extras = extras

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if c.cfg.Deadline > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, c.cfg.Deadline, errDeadline)
		defer stop()
	}
	x.dog = startWatchdog(c.cfg.Idle, cancel)
	defer x.dog.stop()
	x.ctx = x.out.follow(ctx)

	x.rec = c.recordings.Get().(*recording)
	x.rec.reset(c.cfg.MaxLineBytes, c.cfg.MaxTotalBytes, linesFor(p.MaxTokens))
	x.rec.heard = call.heard
	defer c.keepRecording(x.rec)
	x.run(body, call.KeepText)
	return reply
}

func (c *Client) newSpan(p *schema.Prompt, call Call) *schema.Span {
	s := &schema.Span{
		RequestID: call.RequestID, Prompt: p, LLM: c.cfg.Model, Endpoint: c.shown, Server: c.cfg.Profile.Name,
		Warmup: call.Warmup, Attempt: max(call.Attempt, 1), Concurrency: call.Concurrency,
	}
	if p.MaxTokens > 0 {
		s.OutputTokensRequested = schema.Some(p.MaxTokens)
	}
	return s
}

// opening is what is known of a request before it is sent.
func (c *Client) opening(p *schema.Prompt, call Call) *schema.Span {
	s := c.newSpan(p, call)
	s.TextTokens = cmp.Or(p.RunTokens, p.TextTokens)
	return s
}

// run makes the exchange and fills the span in. The span's end is the last line's arrival, not the end of the decoding.
func (x *exchange) run(body []byte, keepText bool) {
	response, err := x.post(body)
	if err != nil {
		x.failWithoutResponse(err)
		x.close(clock.Now())
		return
	}
	defer response.Body.Close()
	x.span.StartNS = x.out.startNS()
	x.span.HTTPStatus = schema.Some(int32(response.StatusCode))
	if response.StatusCode/100 != 2 {
		x.refused(response)
		x.close(clock.Now())
		return
	}
	x.listen(response, keepText)
}

func (x *exchange) post(body []byte) (*http.Response, error) {
	target := x.c.endpoint.at(x.c.base + "/chat/completions")
	request, err := http.NewRequestWithContext(x.ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Accept-Encoding", "identity") // compression holds tokens back
	request.Header.Set("User-Agent", "tracer")
	if id := x.span.RequestID; id != "" {
		request.Header.Set("X-Request-Id", id) // finds the request in the server's own log
	}
	x.c.cfg.Key.authorize(request)
	response, err := x.c.http.Do(request)
	if err == nil {
		x.dog.touch(clock.Now())
	}
	return response, err
}

// listen records the stream, then decodes it.
func (x *exchange) listen(response *http.Response, keepText bool) {
	body, err := unpacked(response)
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err == nil {
		err = x.rec.read(body, x.dog)
	} else {
		x.rec.endNS = clock.Now()
	}
	cause := context.Cause(x.ctx)
	if x.rec.finished {
		cause, err = nil, nil // whatever happened after [DONE] is no part of the answer
		x.drain(body)
	}

	events, other := x.rec.events()
	a := decode(events, keepText)
	x.reply.Text = a.text
	x.fill(a)
	x.judge(a, verdict{cause: cause, err: err, other: other, kind: kind})
	x.close(x.rec.endNS)
}

// drain reads the little that may follow [DONE], so that the connection can be kept; a server that keeps the stream open
// beyond a second is hung up on.
func (x *exchange) drain(body io.Reader) {
	hangUp := time.AfterFunc(time.Second, func() { x.dog.cancel(context.Canceled) })
	defer hangUp.Stop()
	_, _ = io.CopyN(io.Discard, body, 4096) // nothing depends on it
}

// unpacked is the body without gzip, which some proxies apply though they were asked not to.
func unpacked(response *http.Response) (io.Reader, error) {
	if !strings.EqualFold(strings.TrimSpace(response.Header.Get("Content-Encoding")), "gzip") {
		return response.Body, nil
	}
	unzipped, err := gzip.NewReader(response.Body)
	if err != nil {
		return nil, fmt.Errorf("unpacking a gzip body: %w", err)
	}
	return unzipped, nil
}

// refused reads an answer with an error status.
func (x *exchange) refused(response *http.Response) {
	var page []byte
	body, err := unpacked(response)
	if err == nil {
		page, err = io.ReadAll(io.LimitReader(body, maxErrorBytes))
	}
	if cause := context.Cause(x.ctx); err != nil && cause != nil {
		x.failOwn(cause)
		return
	}
	r := refusalIn(page)
	if r == nil {
		r = &refusal{message: string(page)}
	}
	status := response.StatusCode
	kind := r.errorType(status)
	message := r.message
	if why := misled(status, response.Header, page, response.Request.URL); why != "" {
		message = why
	}
	if strings.TrimSpace(message) == "" {
		message = http.StatusText(status)
	}
	x.fail(kind, message)
	switch {
	case kind == ErrTypeOverloaded:
		x.reply.Retry, x.reply.After = RetryLater, retryAfter(response.Header, message, time.Now())
	case (status == http.StatusBadRequest || status == http.StatusUnprocessableEntity) && kind != ErrTypeContextLength:
		x.undress(page)
	}
}

// undress asks for one more attempt without the fields that the server may not have understood. stream_options stays
// unless the server names it: without it nothing is counted. Only where the server says what it dislikes is the lesson
// kept for later requests: a 400 may have other reasons, and the extras are worth having.
func (x *exchange) undress(page []byte) {
	x.reply.learn = mentions(string(page), unknownFieldWords)
	switch {
	case x.dress < minimal && x.c.cfg.Profile.Usage && bytes.Contains(page, []byte("stream_options")):
		x.reply.Retry, x.reply.next = RetryBarely, minimal
	case x.extras:
		x.reply.Retry, x.reply.next = RetryBarely, plain
	}
}

func (x *exchange) fail(kind, message string) {
	x.span.ErrorType, x.span.ErrorMessage = kind, x.c.censor.clean(message)
}

// failOwn names a failure that this side caused.
func (x *exchange) failOwn(cause error) {
	x.span.GivenUp = true
	switch {
	case errors.Is(cause, errIdle):
		x.fail(ErrTypeIdle, fmt.Sprintf("no byte for %v; allow more if the server loads or queues for so long", x.c.cfg.Idle))
	case errors.Is(cause, errDeadline):
		x.fail(ErrTypeTimeout, fmt.Sprintf("not done within %v", x.c.cfg.Deadline))
	default:
		x.fail(ErrTypeInterrupted, "stopped before the answer was over")
	}
}

// failWithoutResponse names a failure before any header came.
func (x *exchange) failWithoutResponse(err error) {
	x.span.StartNS = x.out.startNS()
	if cause := context.Cause(x.ctx); cause != nil {
		x.failOwn(cause)
		return
	}
	x.fail(ErrTypeConnect, unanswered(err))
	x.reply.Retry = RetryLater
}

// close ends the span, and lists the reasons against the measurement.
func (x *exchange) close(endNS int64) {
	s := x.span
	s.EndNS = max(endNS, s.StartNS)
	s.Invalid = s.Reasons(schema.Asked{Template: x.c.cfg.Template, MaxContext: x.c.cfg.MaxContext, Exactly: x.asksExactly()})
	if s.ErrorType == "" && x.learn {
		for known := x.c.dressed.Load(); known < int32(x.dress); known = x.c.dressed.Load() {
			x.c.dressed.CompareAndSwap(known, int32(x.dress)) // it answers like that: ask like that from now on
		}
	}
}
