package sim

import (
	"encoding/json"
	"errors"
	"strings"
)

// The OpenAI protocol, as far as the server speaks it. Fields that it does not know are ignored, as llama.cpp does.

// request is a body of /v1/chat/completions or /v1/completions.
type request struct {
	Model    string    `json:"model"`
	Messages []message `json:"messages"`
	Prompt   *content  `json:"prompt"`

	Stream        bool `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`

	N                   *int `json:"n"`
	MaxTokens           *int `json:"max_tokens"`
	MaxCompletionTokens *int `json:"max_completion_tokens"` // the newer name
	MinTokens           int  `json:"min_tokens"`
	IgnoreEOS           bool `json:"ignore_eos"`
}

// message is one turn of a chat.
type message struct {
	Role    string  `json:"role,omitempty"`
	Content content `json:"content"`
}

// content is text: written as a string, as a list of strings, or as parts of which those of type text count.
type content string

// UnmarshalJSON reads any of the forms.
func (c *content) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil { // null too, which leaves it empty
		*c = content(text)
		return nil
	}
	var list []string
	if json.Unmarshal(b, &list) == nil && len(list) == 1 {
		*c = content(list[0])
		return nil
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(b, &parts) != nil {
		return errors.New("text must be a string, a list of one string, or a list of parts of type text")
	}
	var all strings.Builder
	for _, p := range parts {
		if p.Type != "text" {
			return errors.New("a part of type " + p.Type + ": this server reads text alone")
		}
		all.WriteString(p.Text)
	}
	*c = content(all.String())
	return nil
}

// reply is a chunk of a stream, or a whole answer.
type reply struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"` // s since the Unix epoch
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`
	Timings *timings `json:"timings,omitempty"`
}

// choice holds a delta (chat, in a stream), a message (chat, whole) or a text (completions).
type choice struct {
	Index        int      `json:"index"`
	Delta        *delta   `json:"delta,omitempty"`
	Message      *message `json:"message,omitempty"`
	Text         *string  `json:"text,omitempty"`
	FinishReason *string  `json:"finish_reason"`
}

type delta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

type usage struct {
	PromptTokens        int `json:"prompt_tokens"`
	CompletionTokens    int `json:"completion_tokens"`
	TotalTokens         int `json:"total_tokens"`
	PromptTokensDetails struct {
		CachedTokens int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

func newUsage(prompt, answer int) *usage {
	return &usage{PromptTokens: prompt, CompletionTokens: answer, TotalTokens: prompt + answer}
}

// timings are the server's own, in llama.cpp's terms: prefill without queueing, then the rest of the answer.
type timings struct {
	CacheN      int     `json:"cache_n"`
	PromptN     int     `json:"prompt_n"`
	PromptMS    float64 `json:"prompt_ms"`
	PredictedN  int     `json:"predicted_n"`
	PredictedMS float64 `json:"predicted_ms"`
}
