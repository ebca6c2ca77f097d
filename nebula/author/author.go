// Package author has a language model write the texts of a corpus.
//
// A server cuts long answers (Open WebUI's context is 2,048 tokens by default, and a bound on the answer may get lost on
// the way), so a long text is grown section by section, each an answer of at most some 700 tokens. What is asked follows
// from the seed alone, never from an earlier answer. Every answer is written down and synced before it is used, under the
// hash of its question: a run that is broken off, however abruptly, asks only for what it does not have.
package author

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/nebula/corpus"
	"github.com/llm-tracer/tracer/schema"
)

const (
	// ContextTokens is the context to ask for: question and answer fit twice. Ollama loads a model anew when it changes.
	ContextTokens = 4096

	sectionTokens = 700  // wanted of one answer
	tokensPerWord = 1.33 // of English prose
	reasoning     = 512  // more tokens are allowed, for models that think before they write
	triesBroken   = 5    // for an answer that broke off or was empty
	triesRepeated = 4    // for an answer that another question got as well
)

// Model writes texts. Its methods may be called from several goroutines.
type Model struct {
	client *nebula.Client
	name   string
	seed   uint64
	store  *Store

	asked, tokens atomic.Int64
}

// New makes an author of the model that the client asks.
func New(client *nebula.Client, name string, seed uint64, store *Store) *Model {
	return &Model{client: client, name: name, seed: seed, store: store}
}

// Source is nebula, whatever server it is.
func (*Model) Source() string { return corpus.SourceNebula }

// Asked is how many requests were answered so far, and how many tokens they took.
func (m *Model) Asked() (requests, tokens int64) { return m.asked.Load(), m.tokens.Load() }

// Write grows a text of at least so many tokens.
func (m *Model) Write(ctx context.Context, s corpus.Slot, need int) (corpus.Text, error) {
	text := corpus.Text{WrittenBy: m.name}
	planned := sections(s.Size)
	for section := range 3*planned + 3 {
		if tokens.Count(text.Body) >= need+need/50+8 { // other vocabularies take more tokens, hardly ever fewer
			return text, nil
		}
		p, err := m.passage(ctx, s, section)
		if err != nil {
			return text, err
		}
		text.Body = strings.TrimSpace(text.Body + " " + p.Text)
		text.CreatedUnixMS = max(text.CreatedUnixMS, p.CreatedMS)
	}
	return text, fmt.Errorf("%s writes too little: %d answers gave %d of %d tokens; %s", m.name, 3*planned+3, tokens.Count(text.Body), need, m.anew())
}

// passage is one section: the stored answer, or a new one that no other question got.
func (m *Model) passage(ctx context.Context, s corpus.Slot, section int) (Passage, error) {
	for attempt := range triesRepeated {
		q := m.question(s, section, attempt)
		p, found := m.store.find(q.key())
		if !found {
			var err error
			if p, err = m.ask(ctx, q); err != nil {
				return p, fmt.Errorf("asking %s for a text of %d tokens: %w", m.name, s.Size, err)
			}
		}
		if !p.Repeated {
			return p, nil
		}
	}
	return Passage{}, fmt.Errorf("%s gave %d different questions the same answer; %s", m.name, triesRepeated, m.anew())
}

// anew is what to do about answers that will not do: as they are stored, the same questions are not asked again.
func (m *Model) anew() string {
	return fmt.Sprintf("choose another model; or another seed, since %s keeps its answers", m.store.file.Name())
}

// question is one request for a section.
type question struct {
	model string
	text  string
	most  int // tokens
	seed  int64
}

func (q question) key() string {
	return hashOf(fmt.Sprintf("%q %q %d %d", q.model, q.text, q.most, q.seed))
}

// sections is how many answers a text of a size should take.
func sections(size int) int { return (size + size/10 + sectionTokens - 1) / sectionTokens }

func (m *Model) question(s corpus.Slot, section, attempt int) question {
	words := int(float64(s.Size+s.Size/10)/float64(sections(s.Size))/tokensPerWord) + 10
	h := fnv.New32a()
	fmt.Fprint(h, m.seed, s.Size, s.Number, section, attempt)
	return question{
		model: m.name,
		text: fmt.Sprintf("Write about %s. Deal with %s. Write about %d words of plain English prose in full sentences, "+
			"without headings, lists or any formatting, and begin at once.",
			corpus.Topic(m.seed, s), aspects[(s.Number+section)%len(aspects)], words),
		most: int(float64(words)*tokensPerWord*1.5) + reasoning,
		seed: int64(h.Sum32() >> 1),
	}
}

var aspects = []string{
	"how it began", "a morning with it", "the people around it", "what it is made of", "what it costs", "a mistake and what followed",
	"how it is looked after", "a journey", "what strangers say of it", "a dispute over it", "how it changes with the seasons",
	"what children learn from it", "a night when something happened", "the tools that go with it", "how it sounds and smells",
	"what was tried before", "a letter about it", "the rules that it follows", "how it is repaired", "what may become of it",
}

// transient are the failures that another try may mend; an overloaded server has been waited for by the client.
func transient(kind string) bool {
	return slices.Contains([]string{nebula.ErrTypeStreamBroken, nebula.ErrTypeStreamError, nebula.ErrTypeIdle, nebula.ErrTypeTimeout, nebula.ErrTypeBadResponse}, kind) ||
		strings.HasPrefix(kind, "http_5")
}

// ask sends a question and stores the answer.
func (m *Model) ask(ctx context.Context, q question) (Passage, error) {
	prompt := &schema.Prompt{ID: q.key(), Text: q.text, TextTokens: int32(tokens.Count(q.text)), MaxTokens: int32(q.most)}
	return backoff.Retry(ctx, func() (Passage, error) {
		if ctx.Err() != nil {
			return Passage{}, backoff.Permanent(context.Cause(ctx))
		}
		reply := m.client.Ask(ctx, prompt, nebula.Call{RequestID: q.key(), Concurrency: corpus.Workers, KeepText: true, Seed: schema.Some(q.seed)}, nil)
		s, text := reply.Span, prose(reply.Text)
		switch {
		case s.ErrorType == nebula.ErrTypeInterrupted:
			return Passage{}, backoff.Permanent(context.Cause(ctx))
		case s.ErrorType != "":
			err := error(&RefusedError{s.ErrorType, s.ErrorMessage})
			if !transient(s.ErrorType) {
				err = backoff.Permanent(err)
			}
			return Passage{}, err
		case slices.Contains(s.Invalid, schema.ReasonTokensCut):
			return Passage{}, backoff.Permanent(fmt.Errorf("the server cut a question of %d tokens to %d: its context is too short", s.TextTokens, s.InputTokens.V))
		case text == "":
			return Passage{}, errors.New("the answer holds no full sentence; a model that reasons at length does not do")
		}
		m.asked.Add(1)
		m.tokens.Add(int64(s.InputTokens.V + s.OutputTokens.V))
		p, err := m.store.add(Passage{Key: q.key(), Model: m.name, Text: text, CreatedMS: time.Now().UnixMilli(), Input: s.InputTokens.V, Output: s.OutputTokens.V})
		if err != nil {
			err = backoff.Permanent(err) // asking again would not make room on the disk
		}
		return p, err
	}, backoff.WithMaxTries(triesBroken), backoff.WithMaxElapsedTime(0))
}

// RefusedError is an answer that did not come.
type RefusedError struct {
	ErrorType string // as in nebula
	Message   string
}

func (e *RefusedError) Error() string { return e.ErrorType + ": " + e.Message }

// Cost is what a corpus takes.
type Cost struct {
	Requests int `json:"requests"`      // at least: short answers are asked to go on
	Stored   int `json:"stored"`        // more that need not be made again
	Input    int `json:"input_tokens"`  // about
	Output   int `json:"output_tokens"` // about
	Most     int `json:"most_output_tokens"`
}

// Cost says what the prefill texts of a spec would take, beyond what is stored.
func (m *Model) Cost(spec corpus.Spec) Cost {
	var c Cost
	if !slices.Contains(spec.Workloads, schema.WorkloadPrefill) {
		return c
	}
	for _, size := range spec.Sizes {
		if !corpus.Authored(size) {
			continue
		}
		for number := range spec.PerSize {
			for section := range sections(size) {
				q := m.question(corpus.Slot{Size: size, Number: number}, section, 0)
				if _, found := m.store.find(q.key()); found {
					c.Stored++
					continue
				}
				c.Requests++
				c.Input += tokens.Count(q.text) + 20 // for a chat template
				c.Output += size / sections(size)
				c.Most += q.most
			}
		}
	}
	return c
}
