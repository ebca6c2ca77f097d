package nebula

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// ErrNoTokenizer is returned for servers that count no tokens on request.
var ErrNoTokenizer = errors.New("the server has no path that counts tokens")

// CountTokens asks the server how many tokens a text is for its model, without a chat template and, where that can be
// asked for, without special tokens. TGI and TensorRT-LLM add those of their tokeniser.
func (c *Client) CountTokens(ctx context.Context, text string) (int32, error) {
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
	page, err := c.ask(ctx, p.Tokenize, question)
	if err != nil {
		return 0, fmt.Errorf("counting tokens with %s: %w", p.Name, err)
	}
	n, err := tokensIn(page)
	if err != nil {
		return 0, fmt.Errorf("counting tokens with %s: %w", p.Name, err)
	}
	return n, nil
}

// ask posts a JSON question to a path below the root and returns the answer.
func (c *Client) ask(ctx context.Context, path string, question any) ([]byte, error) {
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
		if asked, ok := errors.AsType[*url.Error](err); ok {
			err = asked.Err
		}
		return nil, errors.New(c.censor.clean(err.Error()))
	}
	defer response.Body.Close()
	page, err := io.ReadAll(io.LimitReader(response.Body, int64(c.cfg.MaxTotalBytes)))
	if err != nil {
		return nil, errors.New(c.censor.clean(err.Error()))
	}
	if response.StatusCode != http.StatusOK {
		r := refusalIn(page)
		if r == nil {
			r = &refusal{message: string(page)}
		}
		return nil, fmt.Errorf("HTTP %d: %s", response.StatusCode, c.censor.clean(r.message))
	}
	return page, nil
}

// tokensIn counts in {"count":n}, {"tokens":[…]} or a bare list of tokens.
func tokensIn(page []byte) (int32, error) {
	var list []json.RawMessage
	if json.Unmarshal(page, &list) == nil {
		return int32(len(list)), nil
	}
	var object struct {
		Count  *float64          `json:"count"`
		Tokens []json.RawMessage `json:"tokens"`
	}
	if err := unmarshalLoosely(page, &object); err != nil {
		return 0, errors.New("the answer is no JSON")
	}
	if n := count(object.Count); n.OK {
		return n.V, nil
	}
	if object.Tokens == nil {
		return 0, errors.New("the answer holds neither count nor tokens")
	}
	return int32(len(object.Tokens)), nil
}
