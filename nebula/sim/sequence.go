package sim

import (
	"sync/atomic"

	"github.com/llm-tracer/tracer/internal/clock"
)

// sequence is one request on its way through the engine. A handler makes it and reads its tokens; the engine writes its
// times, which the handler may read once tokens is closed.
type sequence struct {
	prompt    int // tokens
	answer    int // tokens that it will be given
	arrivedNS int64
	cancelled atomic.Bool // set by the handler; the engine looks between two pieces of work
	tokens    chan int64  // when each token given is due; room for all of them, so the engine never waits for a client

	made           int // tokens given so far
	prefillStartNS int64
	endNS          int64 // end of the board's work for it
	complete       bool  // every token was given
}

func newSequence(prompt, answer int) *sequence {
	return &sequence{prompt: prompt, answer: answer, arrivedNS: clock.Now(), tokens: make(chan int64, answer)}
}

// context is how many tokens of keys and values the sequence holds, and reserved how many it will come to hold.
func (s *sequence) context() int  { return s.prompt + s.made }
func (s *sequence) reserved() int { return s.prompt + s.answer }

// give hands over the next token, which is due at an instant, and reports whether it was the last.
func (s *sequence) give(dueNS int64) bool {
	s.made++
	s.tokens <- dueNS
	return s.made == s.answer
}

// end closes the sequence at an instant.
func (s *sequence) end(atNS int64) {
	s.endNS = atNS
	s.complete = s.made == s.answer
	close(s.tokens)
}
