package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/tokens"
)

const nebulaKey = "sk-nebula-0123456789abcdef"

// openWebUI is a server shaped as the university's: /api, a bearer key, several models, answers within a context of 2,048
// tokens unless options say otherwise, max_tokens lost on the way, and 400 when it is overloaded.
type openWebUI struct {
	*httptest.Server
	t       *testing.T
	moody   bool          // it cools down, asks to wait and breaks streams
	parrot  bool          // it answers everything alike
	longest int           // context, whatever is asked for
	gate    int           // so many answers are given; what comes after waits for open
	open    chan struct{} // nil: no gate
	waiting chan struct{}

	mu       sync.Mutex
	requests int
	inFlight int
	busiest  int
	answered map[string]int // full answers by question
	asked    map[string]int
	notUntil map[string]time.Time
	early    int // asked again before Retry-After was over
}

type webQuestion struct {
	Model     string `json:"model"`
	MaxTokens int    `json:"max_tokens"`
	Messages  []struct{ Content string }
	Options   *struct {
		NumPredict int   `json:"num_predict"`
		NumCtx     int   `json:"num_ctx"`
		Seed       int64 `json:"seed"`
	}
}

func startOpenWebUI(t *testing.T, adjust func(*openWebUI)) *openWebUI {
	t.Helper()
	s := &openWebUI{t: t, answered: map[string]int{}, asked: map[string]int{}, notUntil: map[string]time.Time{}, waiting: make(chan struct{}, 100)}
	if adjust != nil {
		adjust(s)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/config", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"status":true,"name":"Nebula (Open WebUI)","version":"0.6.30","features":{"auth":true}}`)
	})
	mux.HandleFunc("GET /api/models", func(w http.ResponseWriter, r *http.Request) {
		if s.allowed(w, r) {
			fmt.Fprint(w, `{"data":[{"id":"FAST.gpt-oss:120b","owned_by":"ollama"},{"id":"SURF.Qwen3.5 122B A10B NVFP4","owned_by":"openai"}]}`)
		}
	})
	mux.HandleFunc("POST /api/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		if s.allowed(w, r) {
			s.complete(w, r)
		}
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *openWebUI) allowed(w http.ResponseWriter, r *http.Request) bool {
	if r.Header.Get("Authorization") == "Bearer "+nebulaKey {
		return true
	}
	http.Error(w, fmt.Sprintf(`{"detail":"Your token has expired: %s"}`, r.Header.Get("Authorization")), http.StatusUnauthorized)
	return false
}

func (s *openWebUI) complete(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var q webQuestion
	if err == nil {
		err = json.Unmarshal(body, &q)
	}
	if err != nil || len(q.Messages) != 1 || q.Options == nil || q.Options.Seed == 0 {
		s.t.Errorf("question %s: %v", body, err)
		return
	}
	key := fmt.Sprintf("%x", sha256.Sum256(body))
	mood, refused := s.enter(w, key)
	defer s.leave()
	if refused {
		return
	}
	text := s.answer(q)
	// Its model has another vocabulary than ours, and a chat template.
	counted := min(20+tokens.Count(q.Messages[0].Content)*103/100, s.context(q))
	usage := fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"prompt_eval_duration":5000000,"eval_duration":9000000}`, counted, tokens.Count(text))
	w.Header().Set("Content-Type", "text/event-stream")
	half := len(text) / 2
	s.say(w, text[:half])
	if mood == "broken" {
		panic(http.ErrAbortHandler)
	}
	s.say(w, text[half:])
	fmt.Fprintf(w, "data: {\"model\":%q,\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":%s}\n\ndata: [DONE]\n\n", q.Model, usage)
	if r.Context().Err() == nil {
		s.mu.Lock()
		s.answered[key]++
		s.mu.Unlock()
	}
}

func (s *openWebUI) say(w http.ResponseWriter, text string) {
	chunk, _ := json.Marshal(map[string]any{"choices": []any{map[string]any{"delta": map[string]string{"content": text}}}})
	fmt.Fprintf(w, "data: %s\n\n", chunk)
	_ = http.NewResponseController(w).Flush()
}

// enter lets a question in, or refuses it in one of the server's ways.
func (s *openWebUI) enter(w http.ResponseWriter, key string) (mood string, refused bool) {
	s.mu.Lock()
	s.requests++
	s.inFlight++
	s.busiest = max(s.busiest, s.inFlight)
	s.asked[key]++
	first, n := s.asked[key] == 1, s.requests
	if until := s.notUntil[key]; time.Now().Before(until) {
		s.early++
	}
	if s.moody && first && n%9 == 3 {
		s.notUntil[key] = time.Now().Add(time.Second)
	}
	over := s.open != nil && n > s.gate
	s.mu.Unlock()
	switch {
	case over:
		s.waiting <- struct{}{}
		<-s.open
		return "", true
	case !s.moody || !first:
	case n%9 == 3:
		w.Header().Set("Retry-After", "1")
		http.Error(w, `{"detail":"litellm.RateLimitError: cooldown"}`, http.StatusBadRequest)
		return "", true
	case n%9 == 5:
		http.Error(w, `{"detail":"No deployments available for selected model, Try again in 0.1 seconds."}`, http.StatusBadRequest)
		return "", true
	case n%9 == 7:
		return "broken", false
	}
	return "", false
}

func (s *openWebUI) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
}

func (s *openWebUI) context(q webQuestion) int {
	if s.longest > 0 {
		return s.longest
	}
	return cmp.Or(q.Options.NumCtx, 2048)
}

// answer is prose that follows from the question, with some formatting, cut where context or bound end.
func (s *openWebUI) answer(q webQuestion) string {
	most := q.Options.NumPredict
	if most == 0 { // max_tokens got lost
		most = s.context(q)
	}
	most = max(8, min(most, s.context(q)-tokens.Count(q.Messages[0].Content), 900))
	h := fnv.New64a()
	if !s.parrot {
		fmt.Fprint(h, q.Messages[0].Content, q.Options.Seed)
	}
	rng := rand.New(rand.NewPCG(h.Sum64(), 1))
	words := strings.Fields("the river crossed old stones before anyone in town woke and carried small boats past quiet gardens while bells rang twice")
	var b strings.Builder
	b.WriteString("## A heading\n\n**Once** upon a time ")
	for n := 1; tokens.Count(b.String()) < most; n++ {
		for range 5 + rng.IntN(9) {
			b.WriteString(words[rng.IntN(len(words))] + " ")
		}
		fmt.Fprintf(&b, "and so on %d. ", rng.IntN(1000))
	}
	text := b.String()
	for tokens.Count(text) > most {
		text = text[:strings.LastIndexByte(text[:len(text)-1], ' ')+1]
	}
	return text
}

func (s *openWebUI) seen() (requests, busiest, early int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests, s.busiest, s.early
}

func (s *openWebUI) counts() (answered int, repeated []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, n := range s.answered {
		answered += n
		if n > 1 {
			repeated = append(repeated, key)
		}
	}
	return answered, repeated
}
