package nebula

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// The error types of a span. An HTTP status that means none of them is http_ and its number.
const (
	ErrTypeConnect       = "connect"                // no connection, or none that became a response
	ErrTypeIdle          = "timeout_idle"           // no byte for longer than Config.Idle
	ErrTypeTimeout       = "timeout"                // not done within Config.Deadline
	ErrTypeOverloaded    = "overloaded"             // the server asks to come back later
	ErrTypeContextLength = "context_length"         // the prompt does not fit the model's context
	ErrTypeAuth          = "auth"                   // the key is missing, wrong or not allowed
	ErrTypeStreamError   = "stream_error"           // an error inside a stream that began as a success
	ErrTypeStreamBroken  = schema.ErrorStreamBroken // the stream ended without [DONE]
	ErrTypeBadResponse   = "bad_response"           // not an event stream, or events that are no JSON
	ErrTypeEmpty         = "empty_answer"           // neither a token nor a finish reason
	ErrTypeTooLarge      = "too_large"              // a line or the whole answer exceeds its bound
	ErrTypeInterrupted   = schema.ErrorInterrupted  // the run was stopped
	ErrTypeBadRequest    = "bad_request"            // the request could not be written
)

// refusal is an error in a server's own words.
type refusal struct {
	message string
	kind    string // the server's own type, such as exceed_context_size_error
	code    int    // 0 where it gave none
}

// refusalIn reads the ways in which servers write an error: {"error":{…}} (OpenAI, llama.cpp, vLLM), {"error":"…"}
// (Ollama, TGI), {"detail":…} (Open WebUI and whatever else is FastAPI), {"object":"error","message":…} (older vLLM,
// SGLang, TensorRT-LLM), or bare {"code":…,"message":…}. It is nil for anything else.
func refusalIn(data []byte) *refusal {
	var outer struct {
		Error   json.RawMessage `json:"error"`
		Detail  json.RawMessage `json:"detail"`
		Message string          `json:"message"`
		Type    string          `json:"type"`
		Kind    string          `json:"error_type"` // TGI
		Code    json.RawMessage `json:"code"`
	}
	if unmarshalLoosely(data, &outer) != nil {
		return nil
	}
	switch {
	case given(outer.Error):
		r := inner(outer.Error)
		if r.kind == "" {
			r.kind = outer.Kind
		}
		return r
	case given(outer.Detail):
		return inner(outer.Detail)
	case outer.Message != "":
		return &refusal{message: outer.Message, kind: outer.Type, code: codeIn(outer.Code)}
	default:
		return nil
	}
}

func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

func inner(raw json.RawMessage) *refusal {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return &refusal{message: text}
	}
	var object struct {
		Message string          `json:"message"`
		Type    string          `json:"type"`
		Code    json.RawMessage `json:"code"`
	}
	if unmarshalLoosely(raw, &object) == nil && object.Message != "" {
		return &refusal{message: object.Message, kind: object.Type, code: codeIn(object.Code)}
	}
	return &refusal{message: string(raw)} // FastAPI lists what is wrong with each field
}

// codeIn reads a code that is a number or a number in quotes.
func codeIn(raw json.RawMessage) int {
	n, err := strconv.Atoi(strings.Trim(string(raw), `"`))
	if err != nil {
		return 0
	}
	return n
}

var (
	contextWords = []string{
		"exceed_context_size", "context_length_exceeded", "context length", "context size", "context window",
		"maximum context", "prompt is too long", "input is too long", "inputs must have less than",
		"`max_new_tokens` must be", "max_seq_len", "max_num_tokens",
	}
	overloadWords = []string{
		"cooldown", "no deployments", "try again", "overloaded", "too many requests", "rate limit", "rate_limit",
		"server busy", "at capacity", "queue is full", "loading model", "maximum pending requests",
	}
	unknownFieldWords = []string{
		"extra_forbidden", "extra inputs", "unknown field", "unknown parameter", "unrecognized", "unexpected field",
		"unexpected keyword", "unsupported param", "unsupported field", "ignore_eos", "min_tokens", "cache_salt",
		"cache_prompt", "include_metrics", "stream_options", "num_ctx", "num_predict", "seed",
	}
)

func mentions(text string, words []string) bool {
	text = strings.ToLower(text)
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// busy says whether a status asks to come back later. 502 and 504 are a gateway's, before a server that restarts or is too
// slow to answer; 529 is a cloud's.
func busy(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, 529:
		return true
	}
	return false
}

// errorType names a refusal that came with an HTTP status. Status alone does not do: Nebula says 400 when it is
// overloaded, and a prompt that is too long is a 400, 413, 422 or 500.
func (r *refusal) errorType(status int) string {
	words := r.kind + " " + r.message
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return ErrTypeAuth
	case busy(status):
		return ErrTypeOverloaded
	case (status == 400 || status == 413 || status == 422 || status == 500) && mentions(words, contextWords):
		return ErrTypeContextLength
	case (status == 400 || status >= 500) && mentions(words, overloadWords):
		return ErrTypeOverloaded
	default:
		return "http_" + strconv.Itoa(status)
	}
}

// overload says whether an error in the middle of a stream is the server's asking to come back later.
func (r *refusal) overload() bool {
	return busy(r.code) || mentions(r.kind+" "+r.message, overloadWords)
}

var tryAgainIn = regexp.MustCompile(`(?i)try again in (\d{1,6}(?:\.\d{1,3})?) ?s`)

// retryAfter is how long the server asks to wait: by its Retry-After header, else by its own words, else 0.
func retryAfter(header http.Header, words string, now time.Time) time.Duration {
	value := strings.TrimSpace(header.Get("Retry-After"))
	if value != "" {
		if n, err := strconv.ParseFloat(value, 64); err == nil && n >= 0 && n < 1e6 {
			return time.Duration(n * float64(time.Second))
		}
		if at, err := http.ParseTime(value); err == nil {
			return max(0, at.Sub(now))
		}
	}
	if found := tryAgainIn.FindStringSubmatch(words); found != nil {
		n, _ := strconv.ParseFloat(found[1], 64) // the pattern admits nothing else
		return time.Duration(n * float64(time.Second))
	}
	return 0
}
