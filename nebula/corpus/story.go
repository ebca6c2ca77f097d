package corpus

import (
	"math/rand/v2"
	"strings"
)

// Lengths of a sentence in tokens, its full stop included. A text that fits in the longest is one sentence.
const (
	shortestSentence = 4
	longestSentence  = 22
	paragraph        = 7 // sentences
)

// storyteller writes English of exact length: grammatical sentences of past events, without sense.
type storyteller struct {
	rng *rand.Rand
	out strings.Builder
}

// tell writes a text of n tokens that begins with opener. It ends in a full stop unless n is 1.
func (s *storyteller) tell(opener string, n int) string {
	s.out.Reset()
	if n == 1 {
		return opener
	}
	s.out.WriteString(opener)
	left := n - 1 // the opener is written
	for sentence := 1; ; sentence++ {
		length := left
		if left > longestSentence {
			// what is left must hold another sentence
			most := min(longestSentence, left-shortestSentence)
			length = shortestSentence + s.rng.IntN(most-shortestSentence+1)
		}
		left -= length
		stop := "."
		if left > 0 && sentence%paragraph == 0 {
			stop = ".\n\n" // one token, like the stop alone
		}
		if sentence == 1 {
			s.clauseAfterSubject(length - 1)
		} else {
			s.sentence(length - 1)
		}
		s.out.WriteString(stop)
		if left == 0 {
			return s.out.String()
		}
	}
}

// sentence writes one of n words, n of at least 3, and no full stop.
func (s *storyteller) sentence(n int) {
	switch s.rng.IntN(3) {
	case 0:
		s.begin(s.pick(words.openers))
		s.clauseAfterSubject(n - 1)
	case 1:
		s.begin("The")
		s.words(s.pick(words.nouns))
		s.clauseAfterSubject(n - 2)
	default:
		if n < 4 {
			s.begin("They")
			s.clauseAfterSubject(n - 1)
			return
		}
		s.begin("The")
		s.words(s.pick(words.adjectives), s.pick(words.nouns))
		s.clauseAfterSubject(n - 3)
	}
}

// clauseAfterSubject writes a predicate and whatever follows it: n tokens, commas counted.
func (s *storyteller) clauseAfterSubject(n int) {
	left := n
	switch kind := s.rng.IntN(3); {
	case left == 0:
		return
	case kind == 0 || left < 3:
		s.words(s.pick(words.rested))
		left--
	case kind == 1 || left < 4:
		s.words(s.pick(words.met), "the", s.pick(words.nouns))
		left -= 3
	default:
		s.words(s.pick(words.met), "the", s.pick(words.adjectives), s.pick(words.nouns))
		left -= 4
	}
	for left > 0 {
		left -= s.tail(left)
	}
}

// tail writes a phrase of at most `most` tokens and says how many it took.
func (s *storyteller) tail(most int) int {
	// An adverb is the only phrase of one token: kept for where nothing else fits, and for the luck of the draw.
	switch size := 1 + s.rng.IntN(min(most, 5)); size {
	case 1:
		s.words(s.pick(words.adverbs))
		return 1
	case 2:
		s.words(s.pick(words.times))
		return 2
	case 3:
		s.words(s.pick(words.prepositions), "the", s.pick(words.nouns))
		return 3
	case 4:
		s.words(s.pick(words.prepositions), "the", s.pick(words.adjectives), s.pick(words.nouns))
		return 4
	default:
		s.out.WriteByte(',')
		s.words(s.pick(words.joiners), "the", s.pick(words.nouns), s.pick(words.rested))
		return 5
	}
}

// begin writes the first word of a sentence that follows another.
func (s *storyteller) begin(word string) {
	if !strings.HasSuffix(s.out.String(), "\n") {
		s.out.WriteByte(' ')
	}
	s.out.WriteString(word)
}

func (s *storyteller) words(list ...string) {
	for _, w := range list {
		s.out.WriteByte(' ')
		s.out.WriteString(w)
	}
}

func (s *storyteller) pick(list []string) string { return list[s.rng.IntN(len(list))] }

// Topic is what the text of a slot is about, for authors that need one.
func Topic(seed uint64, s Slot) string {
	t := storyteller{rng: s.random(seed)}
	return "the " + t.pick(words.adjectives) + " " + t.pick(words.nouns) + " and the " + t.pick(words.adjectives) + " " + t.pick(words.nouns)
}

// Authored says whether a size has room for an author's words, between an opening sentence and the instruction, reckoned
// by the built-in author's vocabulary. Smaller texts are the built-in author's.
func Authored(size int) bool { return size >= meetingTokens+shortestSentence+8 }
