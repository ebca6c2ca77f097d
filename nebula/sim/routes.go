package sim

import (
	"cmp"
	"net/http"

	"github.com/llm-tracer/tracer/internal/tokens"
)

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /v1/models", s.keyed(s.models))
	mux.HandleFunc("POST /tokenize", s.keyed(s.tokenize))
	mux.HandleFunc("POST /v1/chat/completions", s.keyed(func(w http.ResponseWriter, r *http.Request) {
		s.complete(w, r, true)
	}))
	mux.HandleFunc("POST /v1/completions", s.keyed(func(w http.ResponseWriter, r *http.Request) {
		s.complete(w, r, false)
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { refuse(w, notFound(r.URL.Path)) })
	return mux
}

// keyed asks for the bearer key, where there is one.
func (s *Server) keyed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.config.Key != "" && r.Header.Get("Authorization") != "Bearer "+s.config.Key {
			refuse(w, unauthorized())
			return
		}
		next(w, r)
	}
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	type model struct {
		ID          string `json:"id"`
		Object      string `json:"object"`
		Created     int64  `json:"created"`
		OwnedBy     string `json:"owned_by"`
		MaxModelLen int    `json:"max_model_len"` // tokens, prompt and answer
	}
	answerJSON(w, http.StatusOK, map[string]any{
		"object": "list",
		"data":   []model{{s.config.Model.Name, "model", s.started, "tracer-sim", s.context}},
	})
}

// tokenize takes llama.cpp's content or vLLM's prompt.
func (s *Server) tokenize(w http.ResponseWriter, r *http.Request) {
	var q struct{ Content, Prompt *string }
	if no := readJSON(w, r, &q); no != nil {
		refuse(w, no)
		return
	}
	text := cmp.Or(q.Content, q.Prompt)
	if text == nil {
		refuse(w, invalid("content (or prompt) is missing"))
		return
	}
	ids := append([]uint{}, tokens.Encode(*text)...)
	answerJSON(w, http.StatusOK, map[string]any{"tokens": ids, "count": len(ids), "max_model_len": s.context})
}

// complete answers a request, and writes down its truth before the client hears that it is done.
func (s *Server) complete(w http.ResponseWriter, r *http.Request, chat bool) {
	s.answers.RLock()
	defer s.answers.RUnlock()
	j, no := s.understand(w, r, chat)
	if no != nil {
		refuse(w, no)
		return
	}
	seq := newSequence(j.prompt, j.answer)
	if !s.engine.submit(seq) {
		refuse(w, closing())
		return
	}
	a := newAnswer(j, w, s.config.Model.Name)
	if j.stream {
		a.begin()
	}
	a.follow(r.Context(), seq)
	truth := Truth{
		RequestID:      cmp.Or(r.Header.Get("X-Request-Id"), a.id),
		PrefillStartNS: seq.prefillStartNS,
		FirstTokenNS:   a.firstNS,
		EndNS:          seq.endNS,
	}
	if a.firstNS != 0 {
		truth.EndNS = max(truth.EndNS, a.firstNS) // a token is handed over a little after the work for it
	}
	s.ledger.write(truth)
	switch {
	case a.gone:
	case seq.complete:
		a.end(seq)
	default:
		a.breakOff(closing())
	}
}
