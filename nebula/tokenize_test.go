package nebula

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/llm-tracer/tracer/schema"
)

func answers(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}

func TestABusyServerIsAskedToCountAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := client(t, inTurn(refuses(503, `{"error":"loading"}`), refuses(429, "slow down"), answers(`{"count":7,"max_model_len":4096,"tokens":[]}`), refuses(400, "once is enough")),
			func(cfg *Config) { cfg.Profile = profileNamed("vllm") })
		counter, ok := c.Tokenizer()
		if n, err := counter.Count(t.Context(), "x"); !ok || n != 7 || err != nil || counter.Name() != "vllm:m" {
			t.Errorf("%s counts %d, %v", counter.Name(), n, err)
		}
		if n, err := counter.Count(t.Context(), "x"); n != 7 || err != nil {
			t.Errorf("a short text counts %d the second time, %v", n, err)
		}
		if counter.MaxContext() != schema.Some[int32](4096) {
			t.Errorf("context %v", counter.MaxContext())
		}
	})
}

func TestARefusalToCountIsNotRepeated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var asked atomic.Int32
		no := refuses(400, `{"error":"no"}`)
		c := client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			no.ServeHTTP(w, r)
		}), func(cfg *Config) { cfg.Profile = profileNamed("vllm") })
		counter, _ := c.Tokenizer()
		if _, err := counter.Count(t.Context(), "x"); err == nil || asked.Load() != 1 {
			t.Errorf("asked %d times: %v", asked.Load(), err)
		}
		if _, ok := client(t, no, nil).Tokenizer(); ok {
			t.Error("a generic server has a tokenizer")
		}
	})
}
