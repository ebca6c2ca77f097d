package corpus

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf8"
)

// fillMost is how many words may fill a text up, and probesMost how often one is counted before it is given up: an
// interpolation comes within fillMost after two or three.
const (
	fillMost   = 6
	probesMost = 40
)

// fitter brings texts to an exact number of tokens, by cutting words off and, for the last few tokens, adding words of one
// token each.
type fitter struct {
	seed     uint64
	counter  Counter
	openings *Openings

	bare    int // tokens of the instruction alone
	tail    int // of the instruction after a text
	meeting int // of an opening sentence
	name    int // of an opening name

	oneWordOneToken bool    // the vocabulary that the built-in author writes for
	perWord         float64 // tokens of a word of the built-in author, punctuation included
	perUnit         float64 // and of one token's worth of what it is asked for
	fillers         []string
}

func newFitter(ctx context.Context, seed uint64, counter Counter) (*fitter, error) {
	f := &fitter{seed: seed, counter: counter}
	var err error
	if f.openings, err = NewOpenings(ctx, counter, seed); err != nil {
		return nil, err
	}
	const units = 400
	sample := (&storyteller{rng: rand.New(rand.NewPCG(1, 1))}).tell("Everyone", units)
	var counts [5]int
	for i, text := range []string{Instruction, "It was. " + Instruction, "It was.", sample, f.openings.names[0]} {
		if counts[i], err = counter.Count(ctx, text); err != nil {
			return nil, err
		}
	}
	f.bare, f.tail, f.name = counts[0], counts[1]-counts[2], counts[4]
	f.perWord, f.perUnit = float64(counts[3])/float64(len(strings.Fields(sample))), float64(counts[3])/units
	f.oneWordOneToken = counts[3] == units && len(f.openings.names) == len(words.names)
	if f.meeting, err = counter.Count(ctx, f.openings.sentence(0)); err != nil {
		return nil, err
	}
	if !f.oneWordOneToken {
		f.name++ // its full stop: only the built-in author's own vocabulary is known to do without
	}
	// Letters are for vocabularies that know hardly any words.
	for _, list := range [][]string{words.adverbs[:24], {"now", "then", "so", "too"}, {"a", "I", "o", "e"}} {
		if len(f.fillers) > 1 {
			break
		}
		more, err := f.singles(ctx, list)
		if err != nil {
			return nil, err
		}
		f.fillers = append(f.fillers, more...)
	}
	return f, nil
}

// singles are the words that are one token within a text. Halving finds them in few counts where nearly all are.
func (f *fitter) singles(ctx context.Context, list []string) ([]string, error) {
	const before = "It was"
	bare, err := f.counter.Count(ctx, before)
	if err != nil {
		return nil, err
	}
	var search func(list []string) ([]string, error)
	search = func(list []string) ([]string, error) {
		n, err := f.counter.Count(ctx, before+" "+strings.Join(list, " "))
		if err != nil || n-bare == len(list) {
			return list, err
		}
		if len(list) == 1 {
			return nil, nil
		}
		left, err := search(list[:len(list)/2])
		if err != nil {
			return nil, err
		}
		right, err := search(list[len(list)/2:])
		return slices.Concat(left, right), err
	}
	return search(list)
}

// wordsFor is how many words the built-in author is to write so that some can be cut off.
func (f *fitter) wordsFor(tokens int) int { return int(float64(tokens)/f.perUnit*1.15) + 12 }

func (f *fitter) check(ctx context.Context, text string, size int) error {
	n, err := f.counter.Count(ctx, text)
	if err == nil && n != size {
		err = refused("a text of %d tokens came out as %d: %.80q", size, n, text)
	}
	return err
}

// draft is a text that is cut after so many of its words.
type draft struct {
	before, body string
	ends         []int // of the words in body
	fillers      []string
	first        int // of the fillers
}

// text is the draft with that many words and fillers, and the instruction.
func (d *draft) text(words, fillers int) string {
	body := ""
	if words > 0 {
		body = strings.TrimRight(d.body[:d.ends[words-1]], ",;:-–—")
	}
	body = d.before + body
	body = strings.TrimRight(body, " ")
	if fillers > 0 {
		body = strings.TrimRight(body, ".!?")
		for i := range fillers {
			body += " " + d.fillers[(d.first+i)%len(d.fillers)]
		}
	}
	if last, _ := utf8.DecodeLastRuneInString(body); !strings.ContainsRune(".!?\"。！？", last) {
		body += "."
	}
	return body + " " + Instruction
}

// fit cuts body so that before, what is left of it, fillers and the instruction have size tokens.
// kept is how many words of body are left.
func (f *fitter) fit(ctx context.Context, teller *storyteller, before, body string, size int) (text string, kept int, err error) {
	d := &draft{before: before, body: body, ends: wordEnds(body), fillers: f.shuffled(teller)}
	var (
		floor = 0 // the name stays
		short int // tokens missing with low words
		words = int(float64(size-f.tail-2) / f.perWord)
	)
	if before != "" {
		floor, words = -1, int(float64(size-f.tail-f.meeting-2)/f.perWord)
	}
	low, high := floor, len(d.ends)+1 // with low words it is short, with high words too long
	for probe := 0; probe < probesMost && high-low > 1; probe++ {
		words = min(max(words, low+1, 0), high-1)
		text := d.text(words, 0)
		n, err := f.counter.Count(ctx, text)
		switch missing := size - n; {
		case err != nil || missing == 0:
			return text, words, err
		case missing < 0:
			high = words
		default:
			low, short = words, missing
			if missing > fillMost && words < len(d.ends) && high-low > 1 {
				break
			}
			if text, err := f.fill(ctx, d, words, missing, size); err != nil || text != "" {
				return text, words, err
			}
			high, low = words, floor // it cannot be filled from here: fewer words may do
			words--
			continue
		}
		if words += int(float64(size-n-2) / f.perWord); words <= low || words >= high {
			words = low + (high-low)/2 // its words are not like the built-in author's
		}
	}
	if low > floor { // the next word has more tokens than are missing
		if text, err := f.fill(ctx, d, low, short, size); err != nil || text != "" {
			return text, low, err
		}
	}
	return "", 0, refused("no text of exactly %d tokens of %s was found that begins with %.60q; choose another size", size, f.counter.Name(), before+body)
}

// fill adds words of one token each; empty where that does not meet the size.
func (f *fitter) fill(ctx context.Context, d *draft, words, missing, size int) (string, error) {
	if len(d.fillers) == 0 {
		return "", nil
	}
	fillers := missing
	for d.first = range d.fillers {
		text := d.text(words, fillers)
		n, err := f.counter.Count(ctx, text)
		if err != nil || n == size {
			return text, err
		}
		// The full stop may be part of a word's token, or not.
		fillers = max(1, fillers+size-n)
	}
	return "", nil
}

func (f *fitter) shuffled(teller *storyteller) []string {
	fillers := append([]string(nil), f.fillers...)
	teller.rng.Shuffle(len(fillers), func(i, j int) { fillers[i], fillers[j] = fillers[j], fillers[i] })
	return fillers
}

// ideographs are from here on: scripts that put no spaces between words. Others do neither, nor do data: no word is taken
// to be longer than longestWord, in characters.
const (
	ideographs  = 0x2E80
	longestWord = 16
)

// wordEnds are the positions where the words of a text end.
func wordEnds(text string) []int {
	var ends []int
	length := 0 // of the word so far
	for i, r := range text {
		space := r == ' ' || r == '\n' || r == '\t' || r == '\r'
		if length > 0 && (space || r >= ideographs || length == longestWord) {
			ends = append(ends, i)
			length = 0
		}
		if !space {
			length++
		}
	}
	if length > 0 {
		ends = append(ends, len(text))
	}
	return ends
}
