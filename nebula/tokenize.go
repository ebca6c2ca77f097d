package nebula

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/llm-tracer/tracer/schema"
)

// Tokenizer counts texts by asking the server, which is asked again where it could not be reached.
type Tokenizer struct {
	client  *Client
	context atomic.Int32 // the longest context it named
	short   sync.Map     // counts of texts up to shortText bytes: names and the like, which are asked for again and again
}

const shortText = 64

// Tokenizer is the server's own, where its profile has one.
func (c *Client) Tokenizer() (*Tokenizer, bool) {
	return &Tokenizer{client: c}, c.cfg.Profile.Tokenize != ""
}

// Name is the server's kind and the model, as datasets name it.
func (t *Tokenizer) Name() string { return t.client.cfg.Profile.Name + ":" + t.client.cfg.Model }

// Count is CountTokens, up to five times where the server was busy or not reached.
func (t *Tokenizer) Count(ctx context.Context, text string) (int, error) {
	if n, known := t.short.Load(text); known {
		return n.(int), nil
	}
	n, err := t.ask(ctx, text)
	if err == nil && len(text) <= shortText {
		t.short.Store(text, n)
	}
	return n, err
}

func (t *Tokenizer) ask(ctx context.Context, text string) (int, error) {
	return backoff.Retry(ctx, func() (int, error) {
		n, err := t.client.countTokens(ctx, text, &t.context)
		if no, ok := errors.AsType[*pageError](err); ok && no.status/100 == 4 && no.status != http.StatusTooManyRequests {
			err = backoff.Permanent(err)
		}
		return int(n), err
	}, backoff.WithMaxTries(5))
}

// MaxContext is the model's context where the server told it together with a count.
func (t *Tokenizer) MaxContext() schema.Opt[int32] {
	n := t.context.Load()
	return schema.Opt[int32]{V: n, OK: n > 0}
}

// ErrNoTokenizer is returned for servers that count no tokens on request.
var ErrNoTokenizer = errors.New("the server has no path that counts tokens")

// CountTokens asks the server how many tokens a text is for its model, without a chat template and, where that can be
// asked for, without special tokens. TGI and TensorRT-LLM add those of their tokeniser.
func (c *Client) CountTokens(ctx context.Context, text string) (int32, error) {
	return c.countTokens(ctx, text, new(atomic.Int32))
}

func (c *Client) countTokens(ctx context.Context, text string, longest *atomic.Int32) (int32, error) {
	p := c.cfg.Profile
	if p.Tokenize == "" {
		return 0, fmt.Errorf("counting tokens with %s: %w", p.Name, ErrNoTokenizer)
	}
	question := map[string]any{p.TokenizeField: text}
	if p.TokenizeField == "prompt" {
		question["model"] = c.cfg.Model
	}
	if p.NoSpecial {
		question["add_special_tokens"] = false
	}
	page, err := c.ask(ctx, p.Tokenize, question, 1<<20+128*len(text)) // TGI describes each token in some 60 bytes
	if err != nil {
		return 0, fmt.Errorf("counting tokens with %s: %w", p.Name, err)
	}
	n, context, err := tokensIn(page)
	if err != nil {
		return 0, fmt.Errorf("counting tokens with %s: %w", p.Name, err)
	}
	if context.OK {
		longest.Store(context.V)
	}
	return n, nil
}

// ask posts a JSON question to a path below the root and returns the answer, of at most so many bytes.
func (c *Client) ask(ctx context.Context, path string, question any, most int) ([]byte, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint.at(c.endpoint.root+path), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the endpoint makes no URL")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "tracer")
	c.cfg.Key.authorize(request)
	response, err := c.http.Do(request)
	if err != nil {
		return nil, errors.New(c.censor.clean(unanswered(err)))
	}
	defer response.Body.Close()
	page, err := io.ReadAll(io.LimitReader(response.Body, int64(most)+1))
	if err != nil {
		return nil, errors.New(c.censor.clean(err.Error()))
	}
	if len(page) > most {
		return nil, fmt.Errorf("%w: over %d bytes", errTooLarge, most)
	}
	if response.StatusCode != http.StatusOK {
		r := refusalIn(page)
		if r == nil {
			r = &refusal{message: string(page)}
		}
		return nil, &pageError{response.StatusCode, c.censor.clean(r.message)}
	}
	return page, nil
}

// pageError is a refusal of a question that is no prompt.
type pageError struct {
	status  int
	message string
}

func (e *pageError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.status, e.message) }

// tokensIn counts in {"count":n}, {"tokens":[…]} or a bare list of tokens; vLLM adds the model's context.
func tokensIn(page []byte) (n int32, context schema.Opt[int32], err error) {
	var list []json.RawMessage
	if json.Unmarshal(page, &list) == nil {
		return int32(len(list)), context, nil
	}
	var object struct {
		Count       *float64          `json:"count"`
		Tokens      []json.RawMessage `json:"tokens"`
		MaxModelLen *float64          `json:"max_model_len"`
	}
	if err := unmarshalLoosely(page, &object); err != nil {
		return 0, context, errors.New("the answer is no JSON")
	}
	context = counted(object.MaxModelLen)
	if n := count(object.Count); n.OK {
		return n.V, context, nil
	}
	if object.Tokens == nil {
		return 0, context, errors.New("the answer holds neither count nor tokens")
	}
	return int32(len(object.Tokens)), context, nil
}
