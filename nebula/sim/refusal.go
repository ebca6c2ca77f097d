package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// refusal is an error that the client is told, in the shape that llama.cpp gives it.
type refusal struct {
	Code    int    `json:"code"` // the HTTP status
	Message string `json:"message"`
	Type    string `json:"type"`
	Prompt  int    `json:"n_prompt_tokens,omitempty"`
	Context int    `json:"n_ctx,omitempty"`
}

func (r *refusal) body() any { return map[string]*refusal{"error": r} }

func invalid(format string, args ...any) *refusal {
	return &refusal{Code: http.StatusBadRequest, Type: "invalid_request_error", Message: fmt.Sprintf(format, args...)}
}

func unauthorized() *refusal {
	return &refusal{Code: http.StatusUnauthorized, Type: "authentication_error", Message: "Invalid API Key"}
}

func notFound(path string) *refusal {
	return &refusal{Code: http.StatusNotFound, Type: "not_found_error", Message: "no such path: " + path}
}

func unknownModel(asked, served string) *refusal {
	return &refusal{
		Code: http.StatusNotFound, Type: "model_not_found",
		Message: fmt.Sprintf("the model %q does not exist; this server serves %q", asked, served),
	}
}

func tooLong(prompt, context int) *refusal {
	return &refusal{
		Code: http.StatusBadRequest, Type: "exceed_context_size_error", Prompt: prompt, Context: context,
		Message: fmt.Sprintf("request (%d tokens) exceeds the available context size (%d tokens): shorten the prompt",
			prompt, context),
	}
}

func closing() *refusal {
	return &refusal{Code: http.StatusServiceUnavailable, Type: "unavailable_error", Message: "the server is closing"}
}

// answerJSON writes a whole body. A client that went away is no error of the server's.
func answerJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, r *refusal) { answerJSON(w, r.Code, r.body()) }
