package corpus

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sourcegraph/conc/iter"
)

// The first sentence of a text that has room for it: three names, of 232, make it unique. A shorter text begins with
// one name.
const (
	meeting       = "%s, %s and %s met."
	meetingTokens = 7 // by a vocabulary in which every name is one token
)

// Openings are names that cost the same number of tokens where they stand, so that one opening can take another's place
// without changing a text's size. They may be dealt from several goroutines.
type Openings struct {
	names []string
	next  atomic.Uint64 // of the sentences dealt
	line  int           // tokens that an opening sentence on a line of its own adds to a text

	mu       sync.Mutex
	nextName int
	sent     map[string]bool // texts that one name opens
}

// NewOpenings finds names that the counter counts alike. Where their dealing begins follows from the seed.
func NewOpenings(ctx context.Context, counter Counter, seed uint64) (*Openings, error) {
	o := &Openings{sent: map[string]bool{}}
	var err error
	if o.names, err = alike(ctx, counter, words.names); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	rng.Shuffle(len(o.names), func(i, j int) { o.names[i], o.names[j] = o.names[j], o.names[i] })
	o.next.Store(rng.Uint64N(uint64(len(o.names) * len(o.names))))
	text := Story(100, "a dragon")
	bare, err := counter.Count(ctx, text)
	if err != nil {
		return nil, err
	}
	opened, err := counter.Count(ctx, o.Sentence()+"\n"+text)
	o.line = opened - bare
	return o, err
}

// alike are the words, at the start of a text and within it, of the most common cost.
func alike(ctx context.Context, counter Counter, list []string) ([]string, error) {
	ctx, stop := context.WithCancelCause(ctx) // a counter that fails once is not asked hundreds of times more
	defer stop(nil)
	costs, err := iter.Mapper[string, [2]int]{MaxGoroutines: Workers}.MapErr(list, func(w *string) (cost [2]int, err error) {
		for i, text := range []string{*w, "and " + *w} {
			if err = ctx.Err(); err == nil {
				cost[i], err = counter.Count(ctx, text)
			}
			if err != nil {
				stop(err)
				break
			}
		}
		return cost, err
	})
	if err != nil {
		return nil, context.Cause(ctx)
	}
	groups := map[[2]int][]string{}
	var best [2]int
	for i, cost := range costs {
		groups[cost] = append(groups[cost], list[i])
		if len(groups[cost]) > len(groups[best]) {
			best = cost
		}
	}
	if len(groups[best]) < 3 {
		return nil, refused("%s counts no three names alike", counter.Name())
	}
	return groups[best], nil
}

// Sentence is an opening that was not dealt before: the first two names go through all their pairs.
func (o *Openings) Sentence() string { return o.sentence(o.next.Add(1)) }

func (o *Openings) sentence(i uint64) string {
	n := uint64(len(o.names))
	second, third := 1+i/n%(n-1), 1+(7*i+i/n)%(n-1) // steps from the first
	if third == second {
		third = 1 + third%(n-1)
	}
	return fmt.Sprintf(meeting, o.names[i%n], o.names[(i+second)%n], o.names[(i+third)%n])
}

// Reopen makes a text begin as no other: the opening of a prefill text is replaced by one of as many tokens, and any other
// text gets a line before it. It gives the new text, what is new in it, and how many tokens were added. Where the opening
// is one name, texts differ until all names have been used with what follows.
func (o *Openings) Reopen(text string) (sent, opening string, added int) {
	if rest, ok := afterName(text); ok {
		opening = o.name(text, rest)
		return opening + rest, opening, 0
	}
	return o.reopen(text, o.Sentence())
}

// like is a text of as many tokens as Reopen would give, without dealing an opening.
func (o *Openings) like(text string) (sent string, added int) {
	if rest, ok := afterName(text); ok {
		return o.names[0] + rest, 0
	}
	sent, _, added = o.reopen(text, o.sentence(0))
	return sent, added
}

func (o *Openings) reopen(text, sentence string) (sent, opening string, added int) {
	if length := openingLength(text); ours(text) && length > 0 {
		return sentence + text[length:], sentence, 0
	}
	return sentence + "\n" + text, sentence, o.line
}

// name is one that makes a text which was not sent before, or the next where there is none.
func (o *Openings) name(text, rest string) (name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for range o.names {
		o.nextName++
		next := o.names[o.nextName%len(o.names)]
		if next+rest == text {
			continue
		}
		if name = next; !o.sent[name+rest] {
			break
		}
	}
	o.sent[name+rest] = true
	return name
}

// keep has no text opened with a name become this one, which is sent as it is.
func (o *Openings) keep(text string) {
	if _, ok := afterName(text); ok {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.sent[text] = true
	}
}

// ours says that a text is no file's, which may begin with a name by chance.
func ours(text string) bool { return strings.HasSuffix(text, Instruction) }

// openingLength is how long the opening sentence is; 0 where the text has none.
func openingLength(text string) int {
	end := strings.Index(text, " met.")
	if end < 0 || end > 80 {
		return 0
	}
	first, rest, found := strings.Cut(text[:end], ", ")
	second, third, joined := strings.Cut(rest, " and ")
	if !found || !joined || !isName(first) || !isName(second) || !isName(third) {
		return 0
	}
	return end + len(" met.")
}

// afterName is what follows the name that is a prefill text's opening.
func afterName(text string) (rest string, ok bool) {
	end := strings.IndexAny(text, " .")
	if end < 0 || !ours(text) || !isName(text[:end]) {
		return "", false
	}
	return text[end:], true
}

func isName(word string) bool { return slices.Contains(words.names, word) }
