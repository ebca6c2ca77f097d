package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/schema"
)

func TestSequentialOrderIsTheCorpusOverAndOver(t *testing.T) {
	three := 3
	c := collect{corpusFlags: corpusFlags{Sizes: []int{20, 30}, Prompts: &three, ExactLength: true}, target: target{Seed: 1}, Repeat: 2, Order: "sequential", Warmup: 2}
	r, err := c.offline()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.corpus) != 12 || len(r.prompts) != 24 || len(r.warmup) != 2 {
		t.Fatalf("%d prompts, %d requests, %d for warm-up", len(r.corpus), len(r.prompts), len(r.warmup))
	}
	for i, p := range r.prompts {
		if p.ID != r.corpus[i%12].ID || p.Repetition != int32(1+i/12) || p.Reopen != (i >= 12) {
			t.Errorf("request %d is repetition %d of %s", i, p.Repetition, p.ID)
		}
	}
	c.Order = "interleaved"
	mixed, err := c.offline()
	if err != nil {
		t.Fatal(err)
	}
	same := func(a, b schema.Prompt) bool { return a.ID == b.ID && a.Repetition == b.Repetition }
	if slices.EqualFunc(mixed.prompts, r.prompts, same) {
		t.Error("interleaved is the corpus's order")
	}
	for _, p := range r.warmup {
		if p.ID[:7] != "warmup-" || slices.ContainsFunc(r.corpus, func(q schema.Prompt) bool { return q.Text == p.Text }) {
			t.Errorf("warm-up %s has a text of the corpus", p.ID)
		}
	}
	c.ExactLength = false
	loose, err := c.offline()
	if err != nil || slices.ContainsFunc(loose.prompts, func(p schema.Prompt) bool { return p.ExactLength }) {
		t.Errorf("--no-exact-length still asks for exact lengths, or %v", err)
	}
}

// One refusal must not turn off what holds every answer's tokens against its text.
func TestTheTemplateIsAskedForAgainOrToldToBeUnknown(t *testing.T) {
	for name, c := range map[string]struct {
		refusals int
		template schema.Opt[int32]
		told     string
	}{
		"busy once":  {1, schema.Some(int32(9)), ""},
		"busy":       {100, schema.Opt[int32]{}, "what the chat template adds is unknown, so only gross cuts of prompts will be noticed: the question for it failed: overloaded: busy"},
		"never busy": {0, schema.Some(int32(9)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			left := c.refusals
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var q struct {
					Content  string
					Messages []struct{ Content string }
				}
				_ = json.NewDecoder(r.Body).Decode(&q)
				switch {
				case r.URL.Path == "/tokenize":
					fmt.Fprintf(w, `{"count":%d}`, tokens.Count(q.Content))
				case left > 0:
					left--
					http.Error(w, `{"error":"busy"}`, http.StatusServiceUnavailable)
				default:
					w.Header().Set("Content-Type", "text/event-stream")
					fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n", 9+tokens.Count(q.Messages[0].Content))
				}
			}))
			defer s.Close()
			profile, err := nebula.ProfileByName("llamacpp")
			if err != nil {
				t.Fatal(err)
			}
			one := 1
			var said bytes.Buffer
			tr := trace{
				collect:  &collect{corpusFlags: corpusFlags{Sizes: []int{20}, Prompts: &one}, target: target{Seed: 1}, Repeat: 1},
				terminal: &terminal{err: &said},
				config:   nebula.Config{Endpoint: s.URL, Profile: profile, Model: "m", MaxWait: time.Millisecond},
			}
			if tr.client, err = nebula.New(tr.config); err != nil {
				t.Fatal(err)
			}
			if err := tr.ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			if tr.record.Template != c.template || !strings.Contains(said.String(), c.told) || (c.told == "") == strings.Contains(said.String(), "unknown") {
				t.Errorf("template %v; told %s", tr.record.Template, &said)
			}
		})
	}
}
