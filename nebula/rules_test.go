package nebula

import (
	"math"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// The rules are those that real servers taught: what their streams look like, and what they do not say.

// Rule 1: the first token is the first delta with something in it.

func TestFirstTokenIsTheFirstDeltaThatSaysSomething(t *testing.T) {
	for _, c := range []struct {
		transcript  string
		first, last time.Duration
	}{
		{"llama-chat-usage", 60 * time.Millisecond, 120 * time.Millisecond},    // after a role
		{"llama-chat-progress", 80 * time.Millisecond, 110 * time.Millisecond}, // after two of progress and a role
		{"llama-completions", 50 * time.Millisecond, 80 * time.Millisecond},    // text
		{"ollama-chat-usage", 50 * time.Millisecond, 90 * time.Millisecond},    // role and content at once
		{"llama-reasoning.timed", millis(128.0), millis(132.8)},                // reasoning_content
		{"llama-queued-keepalive.timed", millis(11206.5), millis(11212.9)},     // after comments
		{"llama-sigterm.timed", millis(700.3), millis(1103.8)},                 // of a stream that broke
		{"ollama-truncated", 50 * time.Millisecond, 90 * time.Millisecond},     // silently
		{"llama-chat-nousage", 60 * time.Millisecond, 130 * time.Millisecond},  // nothing but timings
		{"ollama-chat-nousage", 50 * time.Millisecond, 110 * time.Millisecond}, // nothing counted
		{"llama-chat-cached", 60 * time.Millisecond, 100 * time.Millisecond},   // from the cache
	} {
		t.Run(c.transcript, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := send(t, transcript(t, c.transcript), hello, nil).Span
				if got := since(t, s, s.FirstTokenNS); got != c.first {
					t.Errorf("first token after %v, want %v", got, c.first)
				}
				if got := since(t, s, s.LastTokenNS); got != c.last {
					t.Errorf("last token after %v, want %v", got, c.last)
				}
			})
		})
	}
}

func TestEveryFieldThatCarriesTokensCounts(t *testing.T) {
	for _, field := range []string{
		`"delta":{"content":"x"}`, `"delta":{"reasoning_content":"x"}`, `"delta":{"reasoning":"x"}`,
		`"delta":{"thinking":"x"}`, `"delta":{"tool_calls":[{"index":0,"function":{"arguments":""}}]}`, `"text":"x"`,
		`"delta":{"content":[{"type":"text","text":"x"}]}`,
	} {
		bubble(t, func(t *testing.T) {
			s := send(t, stream(roleOnly, `data: {"choices":[{`+field+`}]}`, done), hello, nil).Span
			if got := since(t, s, s.FirstTokenNS); got != firstEvent+eventGap {
				t.Errorf("%s: first token after %v", field, got)
			}
		})
	}
}

func TestWhatIsNoTokenDoesNotCount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := send(t, stream(
			": keep-alive",
			roleOnly,
			`data: {"choices":[{"delta":{"role":"assistant","content":""}}]}`,
			`data: {"choices":[{"delta":{"content":"","reasoning_content":null,"tool_calls":[]}}]}`,
			`data: {"choices":[{"delta":{"content":null}}],"prompt_progress":{"total":34,"processed":34}}`,
			`data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":0}}`,
			"event: ping\nid: 4\nretry: 100\ndata:",
			says("x"), done), hello, nil).Span
		if got := since(t, s, s.FirstTokenNS); got != firstEvent+7*eventGap {
			t.Errorf("first token after %v", got)
		}
	})
}

func TestHeadersAreNoFirstToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := send(t, stream(roleOnly, finished, done), hello, nil).Span
		succeeded(t, s)
		if s.FirstTokenNS.OK || !slices.Contains(s.Invalid, schema.ReasonNoFirstToken) {
			t.Errorf("an empty answer has first token %v and reasons %v", s.FirstTokenNS, s.Invalid)
		}
	})
}

// Rule 2: the server counts tokens, chunks do not; what it counts is compared with what was asked.

func TestTokensAreCountedByTheServer(t *testing.T) {
	absent := schema.Opt[int32]{}
	for _, c := range []struct {
		transcript            string
		source                string
		input, output, cached schema.Opt[int32]
	}{
		{"ollama-chat-usage", "usage", schema.Some[int32](34), schema.Some[int32](8), absent}, // in 5 chunks
		{"llama-chat-usage", "usage", schema.Some[int32](34), schema.Some[int32](8), schema.Some[int32](0)},
		{"llama-chat-cached", "usage", schema.Some[int32](34), schema.Some[int32](8), schema.Some[int32](33)},
		{"llama-chat-nousage", "timings", schema.Some[int32](34), schema.Some[int32](8), schema.Some[int32](33)},
		{"llama-completions", "usage", schema.Some[int32](7), schema.Some[int32](4), schema.Some[int32](0)},
		{"ollama-chat-nousage", "", absent, absent, absent},
		{"llama-sigterm.timed", "", absent, absent, absent},
	} {
		t.Run(c.transcript, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := send(t, transcript(t, c.transcript), hello, nil).Span
				if s.TokenCountSource != c.source || s.InputTokens != c.input || s.OutputTokens != c.output || s.CachedInputTokens != c.cached {
					t.Errorf("got %q in %v out %v cached %v", s.TokenCountSource, s.InputTokens, s.OutputTokens, s.CachedInputTokens)
				}
			})
		})
	}
}

func TestZeroIsNoCountWhereSomethingWasSaid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := send(t, stream(says("x"), usageOf(0, 0), done), hello, nil).Span
		if s.InputTokens.OK || s.OutputTokens.OK || s.TokenCountSource != "" {
			t.Errorf("counted %v and %v by %q", s.InputTokens, s.OutputTokens, s.TokenCountSource)
		}
	})
}

func TestRunningUsageIsReplacedByTheLast(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := send(t, stream(says("x"), usageOf(7, 1), says("y"), usageOf(7, 8), finished, done), hello, nil).Span
		if s.OutputTokens != schema.Some[int32](8) {
			t.Errorf("output tokens %v", s.OutputTokens)
		}
	})
}

func TestSilentlyTruncatedPromptIsMarked(t *testing.T) {
	for _, c := range []struct {
		sent int32
		cut  bool
	}{{9862, true}, {4200, true}, {4096, false}, {3900, false}} {
		bubble(t, func(t *testing.T) {
			p := &schema.Prompt{ID: "long", Text: "…", TextTokens: c.sent, MaxTokens: 5}
			s := send(t, transcript(t, "ollama-truncated"), p, nil).Span // counted as 4,096
			succeeded(t, s)
			if slices.Contains(s.Invalid, schema.ReasonTokensCut) != c.cut {
				t.Errorf("%d tokens sent, 4096 counted: reasons %v", c.sent, s.Invalid)
			}
		})
	}
}

func TestOtherTokenisersCountsAreNoTruncation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &schema.Prompt{ID: "p", Text: "…", TextTokens: 1000, MaxTokens: 8}
		s := send(t, stream(says("x"), usageOf(890, 1), done), p, nil).Span
		if len(s.Invalid) > 0 {
			t.Errorf("reasons %v", s.Invalid)
		}
		s = send(t, stream(says("x"), usageOf(700, 1), done), p, nil).Span
		if !slices.Contains(s.Invalid, schema.ReasonTokensCut) {
			t.Errorf("reasons %v", s.Invalid)
		}
	})
}

func TestCountsThatDifferFromTextAndTemplateAreMarked(t *testing.T) {
	for _, c := range []struct {
		counted int
		want    []string
	}{
		{1011, nil},
		{1010, []string{schema.ReasonTokensCut}},  // the model's own tokenizer counts: one missing tells
		{1012, []string{schema.ReasonTokenCount}}, // a template that adds what it did not add at first
	} {
		bubble(t, func(t *testing.T) {
			p := &schema.Prompt{ID: "p", Text: "…", TextTokens: 950, RunTokens: 1000, MaxTokens: 8}
			s := send(t, stream(says("x"), usageOf(c.counted, 1), done), p, func(cfg *Config) { cfg.Template = schema.Some[int32](11) }).Span
			if !slices.Equal(s.Invalid, c.want) || s.TextTokens != 1000 {
				t.Errorf("%d counted: reasons %v, %d text tokens", c.counted, s.Invalid, s.TextTokens)
			}
		})
	}
}

func TestAnswerOfAnotherLengthIsMarked(t *testing.T) {
	for _, c := range []struct {
		server string
		exact  bool
		output int
		marked bool
	}{
		{"vllm", true, 8, false},
		{"vllm", true, 7, true},
		{"vllm", true, 9, true},
		{"vllm", false, 3, false},
		{"vllm", false, 9, true},
		{"ollama", true, 7, false},
		{"ollama", true, 9, true}, // it cannot be told an exact length
	} {
		bubble(t, func(t *testing.T) {
			p := &schema.Prompt{ID: "p", Text: "x", MaxTokens: 8, ExactLength: c.exact}
			s := send(t, stream(says("x"), usageOf(10, c.output), done), p, func(cfg *Config) { cfg.Profile, _ = ProfileByName(c.server) }).Span
			if slices.Contains(s.Invalid, schema.ReasonLength) != c.marked {
				t.Errorf("%s, exact %v, 8 asked, %d counted: reasons %v", c.server, c.exact, c.output, s.Invalid)
			}
		})
	}
}

// Rule 3: prompt caches fake prefill.

func TestPrefixCacheHitIsMarked(t *testing.T) {
	for transcriptName, hit := range map[string]bool{
		"llama-chat-cached": true, "llama-chat-nousage": true, "llama-chat-usage": false, "llama-chat-progress": false,
	} {
		bubble(t, func(t *testing.T) {
			s := send(t, transcript(t, transcriptName), hello, nil).Span
			if slices.Contains(s.Invalid, schema.ReasonPrefixCacheHit) != hit {
				t.Errorf("%s: reasons %v", transcriptName, s.Invalid)
			}
		})
	}
}

// Rule 6: server-side prefill, where given, beats time to first token.

func TestPrefillBeginsWhenTheServerSaysSo(t *testing.T) {
	for _, c := range []struct {
		name    string
		h       http.Handler
		prefill time.Duration // before the first token
		queue   schema.Opt[float64]
		decode  float64
	}{
		{"llama.cpp", transcript(t, "llama-chat-usage"), millis(14.811), schema.Opt[float64]{}, 0.004847},
		{"llama.cpp reasoning", transcript(t, "llama-reasoning.timed"), millis(98.128), schema.Opt[float64]{}, 0.002794},
		{
			"vLLM", stream(says("a"), finished,
				`data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1},"metrics":{"time_to_first_token_ms":20.5,"generation_time_ms":7,"queue_time_ms":12.25,"mean_itl_ms":null}}`, done),
			20500 * time.Microsecond, schema.Some(0.01225), 0.007,
		},
		{
			"Open WebUI", stream(says("a"), finished,
				`data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"response_token/s":"N/A","total_duration":60000000,"prompt_eval_count":9,"prompt_eval_duration":30000000,"eval_duration":5000000,"completion_tokens_details":{"reasoning_tokens":0}}}`, done),
			30 * time.Millisecond,
			schema.Opt[float64]{},
			0.005,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := send(t, c.h, hello, nil).Span
				succeeded(t, s)
				if got := time.Duration(s.FirstTokenNS.V - s.PrefillStartNS.V); got != c.prefill {
					t.Errorf("prefill lasts %v, want %v", got, c.prefill)
				}
				if !near(s.ServerPrefillS, c.prefill.Seconds()) || s.QueueS != c.queue || !near(s.ServerDecodeS, c.decode) {
					t.Errorf("server: prefill %v, queue %v, decode %v", s.ServerPrefillS, s.QueueS, s.ServerDecodeS)
				}
				if s.ReasoningTokens.OK {
					t.Errorf("%v reasoning tokens, which nobody counted", s.ReasoningTokens.V)
				}
			})
		})
	}
}

// near compares what went through ms and ns.
func near(got schema.Opt[float64], want float64) bool { return got.OK && math.Abs(got.V-want) < 1e-12 }

func TestPrefillNeverBeginsBeforeTheRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := send(t, stream(says("a"), `data: {"choices":[],"timings":{"prompt_ms":5000}}`, done), hello, nil).Span
		if s.PrefillStartNS != schema.Some(s.StartNS) {
			t.Errorf("prefill starts %v, the request %v", s.PrefillStartNS, s.StartNS)
		}
	})
}

func TestWithoutServerTimingPrefillStartIsAbsent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := send(t, transcript(t, "ollama-chat-usage"), hello, nil).Span
		if s.PrefillStartNS.OK || s.ServerPrefillS.OK || s.ServerDecodeS.OK || s.QueueS.OK {
			t.Errorf("%+v", s)
		}
	})
}

// Rule 7: requests overlap, and another's prefill stops a stream.

func TestOverlappingRequestsLieOnOneClock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		stalled := stream(says("a"), says("b"), says("c"), done)
		for i := 2; i < len(stalled.steps); i++ {
			stalled.steps[i].at += 1200 * time.Millisecond // while the other prefills
		}
		other := stream(says("x"), done)
		for i := range other.steps {
			other.steps[i].at += 1200 * time.Millisecond
		}
		c := client(t, inTurn(stalled, other), nil)
		var first, second *schema.Span
		var both sync.WaitGroup
		both.Go(func() { first = c.Send(t.Context(), hello, Call{RequestID: "a"}).Span })
		time.Sleep(65 * time.Millisecond) // fake time: the first stream has begun
		both.Go(func() { second = c.Send(t.Context(), hello, Call{RequestID: "b"}).Span })
		both.Wait()
		if second.StartNS < first.StartNS || second.StartNS > first.EndNS {
			t.Errorf("spans [%d, %d] and [%d, %d] do not overlap", first.StartNS, first.EndNS, second.StartNS, second.EndNS)
		}
		if first.ITLP50S != schema.Some(0.010) || first.ITLP99S != schema.Some(1.21) {
			t.Errorf("inter-token latency p50 %v p99 %v", first.ITLP50S, first.ITLP99S)
		}
	})
}

// An answer without a token, and without a reason why it ended, is none: where all are like that the run stops.
func TestAnEmptyAnswerIsAFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, empty := range []string{done, roleOnly + "\n\n" + done} {
			s := send(t, stream(empty), hello, nil).Span
			if s.ErrorType != ErrTypeEmpty || !slices.Contains(s.Invalid, schema.ReasonFailed) || usable(s) {
				t.Errorf("%q: %q, %v", empty, s.ErrorType, s.Invalid)
			}
		}
	})
}
