package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
)

// vocabulary is what answers are made of: each word, with the space before it, is one token, so that a client that
// counts the answer's text finds what usage says.
var vocabulary = strings.Fields(`river stone light garden winter letter bridge morning music paper window mountain story
	market ocean summer train village forest teacher island machine shadow silver dream kitchen hospital castle voice
	harbor engine flower`)

func word(i int) string { return " " + vocabulary[i%len(vocabulary)] }

// answer is one request being answered.
type answer struct {
	job
	w       http.ResponseWriter
	id      string
	created int64
	model   string

	gone    bool  // the client went away
	firstNS int64 // when the first token was handed over; 0 until then
	lastNS  int64
}

func newAnswer(j job, w http.ResponseWriter, model string) *answer {
	prefix := "cmpl-"
	if j.chat {
		prefix = "chatcmpl-"
	}
	return &answer{
		job: j, w: w, model: model, created: time.Now().Unix(),
		id: fmt.Sprintf("%s%016x%016x", prefix, rand.Uint64(), rand.Uint64()),
	}
}

// follow hands over the tokens of a sequence until it ends, and has it cancelled when the client goes away.
func (a *answer) follow(ctx context.Context, s *sequence) {
	left := ctx.Done()
	tokens, due := s.tokens, time.NewTimer(0)
	<-due.C
	defer due.Stop()
	for given := 0; ; {
		select {
		case at, more := <-tokens:
			if !more {
				return
			}
			if a.gone {
				continue
			}
			tokens = nil // the next has its turn when this one was handed over
			due.Reset(time.Duration(at - clock.Now()))
		case <-due.C:
			tokens = s.tokens
			if a.gone {
				continue
			}
			a.lastNS = clock.Now() // before it is written: never after the client has it
			if given == 0 {
				a.firstNS = a.lastNS
			}
			if a.stream && a.send(a.chunk(a.piece(word(given)))) != nil {
				a.gone = true
				s.cancelled.Store(true)
			}
			given++
		case <-left:
			left, a.gone = nil, true
			s.cancelled.Store(true)
		}
	}
}

// begin opens a stream. The chunk with the role comes at once, long before any token: a client must not take it for one.
func (a *answer) begin() {
	h := a.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	if a.chat {
		empty := ""
		_ = a.send(a.chunk(choice{Delta: &delta{Role: "assistant", Content: &empty}})) // follow sees a client go
	}
}

// end closes an answer that is complete.
func (a *answer) end(s *sequence) {
	counted, timed := newUsage(a.prompt, s.made), a.timings(s)
	if !a.stream {
		answerJSON(a.w, http.StatusOK, a.whole(s.made, counted, timed))
		return
	}
	last := choice{FinishReason: &a.finish}
	if a.chat {
		last.Delta = &delta{}
	} else {
		last.Text = new(string)
	}
	ending := []*reply{a.chunk(last)}
	if a.usage {
		ending = append(ending, a.chunk())
		ending[1].Usage = counted
	}
	ending[len(ending)-1].Timings = timed
	for _, c := range ending {
		if a.send(c) != nil {
			return
		}
	}
	_ = a.write("[DONE]")
}

// breakOff tells a client that it will get no more. A stream that has begun ends without [DONE].
func (a *answer) breakOff(why *refusal) {
	if !a.stream {
		refuse(a.w, why)
		return
	}
	if body, err := json.Marshal(why.body()); err == nil {
		_ = a.write(string(body))
	}
}

// timings place the stages for the client: prompt_ms before the first token the prefill began.
func (a *answer) timings(s *sequence) *timings {
	const perMS = 1e6
	return &timings{
		PromptN:     a.prompt,
		PromptMS:    float64(a.firstNS-s.prefillStartNS) / perMS,
		PredictedN:  s.made,
		PredictedMS: float64(a.lastNS-a.firstNS) / perMS,
	}
}

// piece is the choice that carries text in a stream.
func (a *answer) piece(text string) choice {
	if a.chat {
		return choice{Delta: &delta{Content: &text}}
	}
	return choice{Text: &text}
}

// chunk is a reply with the given choices, of which the chunk with usage has none.
func (a *answer) chunk(choices ...choice) *reply {
	object := "text_completion"
	if a.chat {
		object = "chat.completion.chunk"
	}
	return &reply{ID: a.id, Object: object, Created: a.created, Model: a.model, Choices: append([]choice{}, choices...)}
}

func (a *answer) whole(made int, counted *usage, timed *timings) *reply {
	var text strings.Builder
	for i := range made {
		text.WriteString(word(i))
	}
	all := text.String()
	only := choice{Text: &all, FinishReason: &a.finish}
	if a.chat {
		only = choice{Message: &message{Role: "assistant", Content: content(all)}, FinishReason: &a.finish}
	}
	r := a.chunk(only)
	if a.chat {
		r.Object = "chat.completion"
	}
	r.Usage, r.Timings = counted, timed
	return r
}

func (a *answer) send(r *reply) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return a.write(string(body))
}

// write sends one event and pushes it out.
func (a *answer) write(event string) error {
	if _, err := fmt.Fprintf(a.w, "data: %s\n\n", event); err != nil {
		return err
	}
	return http.NewResponseController(a.w).Flush()
}
