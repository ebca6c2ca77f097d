package nebula

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/llm-tracer/tracer/schema"
)

// probeEvery is the longest wait between two tries that the server did not ask for: it is seen to be back soon enough,
// and five minutes of absence are some thirty rows.
const probeEvery = 15 * time.Second

// Ask makes attempts at one prompt until one succeeds, fails for good, or Config.Tries is used up, and returns the last.
// An overloaded server is asked again after a growing random wait, and never before its own Retry-After; one that does
// not understand a field is asked again at once without it. RetryUntilBack uses no try up, and waits no longer than
// probeEvery unless the server asks to.
//
// Every attempt goes through one, which may be nil for Client.Send: whoever keeps a row of each attempt does it there.
// The second attempt's request id ends in .2, and so on.
func (c *Client) Ask(ctx context.Context, p *schema.Prompt, call Call, one func(Call) *Reply) *Reply {
	if one == nil {
		one = func(call Call) *Reply { return c.Send(ctx, p, call) }
	}
	id, tries := call.RequestID, 1
	wait := backoff.NewExponentialBackOff()
	wait.MaxInterval = min(wait.MaxInterval, c.cfg.MaxWait)
	for call.Attempt = 1; ; call.Attempt++ {
		if call.Attempt > 1 {
			call.RequestID = fmt.Sprintf("%s.%d", id, call.Attempt)
		}
		reply := one(call)
		switch reply.Retry {
		case RetryBarely: // ends: each such retry asks for strictly less
			call.dress, call.learn = reply.next, reply.learn
		case RetryLater:
			if tries++; tries > c.cfg.Tries || !c.hold(ctx, wait.NextBackOff(), reply.After) {
				return reply
			}
		case RetryUntilBack:
			if !c.hold(ctx, min(wait.NextBackOff(), probeEvery), reply.After) {
				return reply
			}
		default:
			return reply
		}
	}
}

// hold waits as long as this side means to, or longer if the server asks for it, and says whether it waited to the end.
func (c *Client) hold(ctx context.Context, own, asked time.Duration) bool {
	return pause(ctx, min(max(own, asked), c.cfg.MaxWait))
}

// pause waits and says whether it waited to the end.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
