package llamacpp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestStartWithoutServerSaysHowToGetOne(t *testing.T) {
	t.Setenv(EnvServer, "")
	if _, err := Start(t.Context()); !errors.Is(err, ErrNoServer) {
		t.Errorf("got %v, want ErrNoServer", err)
	}
}

func TestStartReportsAMissingProgram(t *testing.T) {
	t.Setenv(EnvServer, "/no/such/llama-server")
	if _, err := Start(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestStartReportsWhatTheServerSaid(t *testing.T) {
	_, err := Start(t.Context(), "--no-such-flag")
	if errors.Is(err, ErrNoServer) {
		t.Skip(err)
	}
	if err == nil || !strings.Contains(err.Error(), "invalid argument: --no-such-flag") {
		t.Errorf("got %v, want the server's complaint", err)
	}
}

func TestServerAnswers(t *testing.T) {
	s := start(t)

	var models struct{ Data []struct{ ID string } }
	if err := json.Unmarshal(call(t, s.BaseURL+"/models", ""), &models); err != nil {
		t.Fatal(err)
	}
	if len(models.Data) != 1 || models.Data[0].ID != Model {
		t.Errorf("models are %+v, want %s alone", models.Data, Model)
	}

	text := "the power of a graphics board"
	var tokenized struct{ Tokens []int }
	if err := json.Unmarshal(call(t, s.URL+"/tokenize", `{"content":"`+text+`"}`), &tokenized); err != nil {
		t.Fatal(err)
	}
	if n := len(tokenized.Tokens); n <= len(text)/3 || n >= len(text) {
		t.Errorf("%d characters are %d tokens, want about half", len(text), n)
	}
}

func TestChatStreamsToUsageAndTimings(t *testing.T) {
	s := start(t)
	chunks, done := stream(t, s.BaseURL+"/chat/completions", `{"model":"`+Model+`","stream":true,
		"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"measure me"}],
		"max_tokens":32,"ignore_eos":true,"cache_prompt":false}`)
	if !done {
		t.Error("the stream ends without [DONE]")
	}
	var content string
	var last chunk
	for _, c := range chunks {
		for _, choice := range c.Choices {
			content += choice.Delta.Content
		}
		if c.Usage != nil {
			last = c
		}
	}
	if content == "" {
		t.Error("no content came")
	}
	if last.Usage == nil || last.Timings == nil {
		t.Fatalf("usage %v, timings %v in the last chunk, want both", last.Usage, last.Timings)
	}
	if last.Usage.CompletionTokens != 32 || last.Timings.PredictedN != 32 {
		t.Errorf("%+v and %+v, want 32 tokens of completion", *last.Usage, *last.Timings)
	}
	if last.Usage.PromptTokens == 0 || last.Timings.PromptN != last.Usage.PromptTokens {
		t.Errorf("%+v and %+v disagree on the prompt", *last.Usage, *last.Timings)
	}
	if last.Timings.PromptMS <= 0 || last.Timings.PredictedMS <= 0 {
		t.Errorf("%+v: stages take time", *last.Timings)
	}
}

func TestServerEnds(t *testing.T) {
	for name, end := range map[string]func(*Server, context.CancelFunc){
		"with Stop":        func(*Server, context.CancelFunc) {},
		"with its context": func(s *Server, cancel context.CancelFunc) { cancel(); <-s.exited },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := startIn(t, ctx)
			end(s, cancel)
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
			if resp, err := http.Get(s.URL + "/health"); err == nil {
				resp.Body.Close()
				t.Error("it still answers")
			}
		})
	}
}

// BenchmarkStages measures what the shape of the model was chosen for.
func BenchmarkStages(b *testing.B) {
	s := start(b)
	words := strings.Repeat("measure the energy of a board ", 80)
	var prefill, decode float64
	for b.Loop() {
		var answer struct{ Timings timings }
		body := `{"prompt":"` + words[:1950] + `","n_predict":64,"ignore_eos":true,"cache_prompt":false}`
		if err := json.Unmarshal(call(b, s.URL+"/completion", body), &answer); err != nil {
			b.Fatal(err)
		}
		prefill += answer.Timings.PromptMS / float64(answer.Timings.PromptN) * 1000
		decode += answer.Timings.PredictedMS / float64(answer.Timings.PredictedN)
	}
	b.ReportMetric(prefill/float64(b.N), "prefill-ms/1000-tokens")
	b.ReportMetric(decode/float64(b.N), "decode-ms/token")
}

type timings struct {
	PromptN     int     `json:"prompt_n"`
	PromptMS    float64 `json:"prompt_ms"`
	PredictedN  int     `json:"predicted_n"`
	PredictedMS float64 `json:"predicted_ms"`
}

type chunk struct {
	Choices []struct{ Delta struct{ Content string } }
	Usage   *struct {
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
	}
	Timings *timings
}

func start(tb testing.TB) *Server {
	tb.Helper()
	s := startIn(tb, tb.Context())
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func startIn(tb testing.TB, ctx context.Context) *Server {
	tb.Helper()
	s, err := Start(ctx)
	if errors.Is(err, ErrNoServer) {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// send posts the JSON body, or gets where there is none.
func send(tb testing.TB, url, body string) io.ReadCloser {
	tb.Helper()
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	tb.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		tb.Fatalf("%s: %s", url, resp.Status)
	}
	return resp.Body
}

func call(tb testing.TB, url, body string) []byte {
	tb.Helper()
	answer := send(tb, url, body)
	defer answer.Close()
	b, err := io.ReadAll(answer)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func stream(t *testing.T, url, body string) (chunks []chunk, done bool) {
	t.Helper()
	answer := send(t, url, body)
	defer answer.Close()
	for lines := bufio.NewScanner(answer); lines.Scan(); {
		data, isData := strings.CutPrefix(lines.Text(), "data: ")
		if !isData {
			continue
		}
		if data == "[DONE]" {
			return chunks, true
		}
		var c chunk
		if err := json.Unmarshal([]byte(data), &c); err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		chunks = append(chunks, c)
	}
	return chunks, false
}
