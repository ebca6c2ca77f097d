package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"strings"

	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/nebula/corpus"
)

const (
	maxBody = 1 << 20 // bytes: ten times the English that fits in a context
	// ownAccord is how many tokens an answer has when neither a bound nor the prompt says: there is no model to end it.
	ownAccord = 256
)

// job is a request understood: how much to read, how much to answer, and in which form.
type job struct {
	chat   bool
	stream bool
	usage  bool // asked for in the stream
	prompt int  // tokens of the text, no chat template counted
	answer int  // tokens
	finish string
}

// readJSON reads a body to its end: only then does the HTTP server watch for a client that goes away.
func readJSON(w http.ResponseWriter, r *http.Request, into any) *refusal {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return &refusal{
			Code: http.StatusRequestEntityTooLarge, Type: "invalid_request_error",
			Message: fmt.Sprintf("the body is larger than %d bytes: shorten the prompt", maxBody),
		}
	}
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return invalid("reading the request: %v", err)
	}
	return nil
}

// understand reads a body and says how the request will go.
func (s *Server) understand(w http.ResponseWriter, r *http.Request, chat bool) (job, *refusal) {
	var q request
	if no := readJSON(w, r, &q); no != nil {
		return job{}, no
	}
	if q.Model != "" && q.Model != s.config.Model.Name {
		return job{}, unknownModel(q.Model, s.config.Model.Name)
	}
	if q.N != nil && *q.N != 1 {
		return job{}, invalid("n is %d: this server gives one answer to a request", *q.N)
	}
	j := job{chat: chat, stream: q.Stream, usage: q.StreamOptions.IncludeUsage}
	last := ""
	switch {
	case chat && len(q.Messages) == 0:
		return job{}, invalid("messages is empty: send one or more")
	case chat:
		for _, m := range q.Messages {
			last = string(m.Content)
			j.prompt += tokens.Count(last)
		}
	case q.Prompt == nil:
		return job{}, invalid("prompt is missing")
	default:
		last = string(*q.Prompt)
		j.prompt = tokens.Count(last)
	}
	if j.prompt >= s.context {
		return job{}, tooLong(j.prompt, s.context)
	}
	return j, j.bound(&q, last, s.context-j.prompt)
}

// bound says how long the answer gets: as long as it may where the end of the answer is ignored, a word or two where a
// word was asked for, and otherwise as long as it may, since nothing else would end it.
func (j *job) bound(q *request, last string, room int) *refusal {
	most := ownAccord
	for _, asked := range []*int{q.MaxTokens, q.MaxCompletionTokens} {
		if asked == nil {
			continue
		}
		if *asked < 1 {
			return invalid("max_tokens is %d: ask for one or more", *asked)
		}
		most = *asked
	}
	if q.MinTokens < 0 || q.MinTokens > most {
		return invalid("min_tokens is %d: it must lie between 0 and max_tokens (%d)", q.MinTokens, most)
	}
	most = min(most, room)
	j.answer, j.finish = most, "length"
	if q.IgnoreEOS || !strings.HasSuffix(strings.TrimSpace(last), corpus.Instruction) {
		return nil
	}
	if n := max(oneOrTwo(last), q.MinTokens); n <= most {
		j.answer, j.finish = n, "stop"
	}
	return nil
}

// oneOrTwo is how many tokens the one word of the answer to a prompt has, the same at every asking.
func oneOrTwo(prompt string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(prompt))
	return 1 + int(h.Sum32()>>16&1)
}
