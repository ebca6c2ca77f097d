package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// gpt2Pattern splits text where ByteLevel is told to use its own expression.
const gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// pretokenizer turns a text into the words that merges stay within.
type pretokenizer struct {
	normal      []func(string) string
	splits      []func(string) []string
	added       []string // tokens that stand for themselves wherever they occur
	byteLevel   bool
	prefixSpace bool
}

func (p *pretokenizer) count(text string, b *bpe) int {
	n := 0
	for text != "" {
		at, token := p.nextAdded(text)
		n += p.countPlain(text[:at], b)
		if token == "" {
			break
		}
		n++
		text = text[at+len(token):]
	}
	return n
}

// nextAdded finds the first added token, the longest of those that begin there.
func (p *pretokenizer) nextAdded(text string) (at int, token string) {
	at = len(text)
	for _, a := range p.added {
		if i := strings.Index(text, a); a != "" && i >= 0 && (i < at || i == at && len(a) > len(token)) {
			at, token = i, a
		}
	}
	return at, token
}

func (p *pretokenizer) countPlain(text string, b *bpe) int {
	for _, f := range p.normal {
		text = f(text)
	}
	if p.prefixSpace {
		text = prefixed(" ", text)
	}
	if text == "" {
		return 0
	}
	pieces := []string{text}
	for _, split := range p.splits {
		var finer []string
		for _, piece := range pieces {
			finer = append(finer, split(piece)...)
		}
		pieces = finer
	}
	n := 0
	for _, piece := range pieces {
		if p.byteLevel {
			piece = byteLevel(piece)
		}
		n += b.count(piece)
	}
	return n
}

// addRegex isolates what the expression matches, and what lies between.
func (p *pretokenizer) addRegex(pattern string) error {
	expression, err := regexp2.Compile(pattern, regexp2.Unicode)
	if err != nil {
		return fmt.Errorf("its expression %q is not read: %w; let the server count", pattern, err)
	}
	p.splits = append(p.splits, func(text string) []string {
		matches, err := expression.FindAllStringIndex(text, -1)
		if err != nil {
			panic("splitting text: " + err.Error()) // on a time limit alone, and none is set
		}
		var pieces []string
		from := 0
		cut := func(to int) {
			if to > from {
				pieces = append(pieces, text[from:to])
			}
			from = to
		}
		for _, m := range matches {
			cut(m[0])
			cut(m[1])
		}
		cut(len(text))
		return pieces
	})
	return nil
}

// splitBefore cuts where a run of the mark begins: no token of such a vocabulary holds one after another character.
func splitBefore(mark rune) func(string) []string {
	return func(text string) []string {
		var pieces []string
		from, last := 0, mark
		for i, r := range text {
			if r == mark && last != mark {
				pieces = append(pieces, text[from:i])
				from = i
			}
			last = r
		}
		return append(pieces, text[from:])
	}
}

// byteChars are GPT-2's printable stand-ins for the 256 bytes: printable Latin-1 for itself, the rest from U+0100 on.
var byteChars = func() (chars [256]string) {
	next := rune(256)
	for b := range chars {
		if b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE {
			chars[b] = string(rune(b))
			continue
		}
		chars[b] = string(next)
		next++
	}
	return chars
}()

func byteLevel(text string) string {
	var b strings.Builder
	for i := range len(text) {
		b.WriteString(byteChars[text[i]])
	}
	return b.String()
}

// bpe merges the characters of a word, the pair most wanted first, until none is left that the vocabulary wants.
type bpe struct {
	vocabulary    map[string]int
	rank          map[[2]string]int
	byteFallback  bool
	ignoreMerges  bool
	fuseUnknown   bool
	crossesSpaces bool
	counted       sync.Map // word to tokens: texts repeat their words
}

func newBPE(f *hfFile) (*bpe, error) {
	m := &f.Model
	b := &bpe{rank: make(map[[2]string]int, len(m.Merges)), byteFallback: m.ByteFallback, ignoreMerges: m.IgnoreMerges, fuseUnknown: m.FuseUnknown}
	if err := json.Unmarshal(m.Vocab, &b.vocabulary); err != nil {
		return nil, fmt.Errorf("its vocabulary cannot be read: %w", err)
	}
	if len(b.vocabulary) == 0 {
		return nil, errors.New("its vocabulary is empty; take the file that lies beside the served model's weights")
	}
	for i, raw := range m.Merges {
		var pair [2]string
		if json.Unmarshal(raw, &pair) != nil { // the older form: both in one string
			var joined string
			if err := json.Unmarshal(raw, &joined); err != nil {
				return nil, fmt.Errorf("its merge %d cannot be read: %w", i, err)
			}
			left, right, found := strings.Cut(joined, " ")
			if !found {
				return nil, fmt.Errorf("its merge %d is no pair: %q", i, joined)
			}
			pair = [2]string{left, right}
		}
		b.rank[pair] = i
		b.crossesSpaces = b.crossesSpaces || strings.Contains(strings.TrimLeft(pair[0]+pair[1], "▁"), "▁")
	}
	return b, nil
}

func (b *bpe) count(word string) int {
	if n, ok := b.counted.Load(word); ok {
		return n.(int)
	}
	n := b.merge(word)
	b.counted.Store(word, n)
	return n
}

func (b *bpe) merge(word string) int {
	if _, whole := b.vocabulary[word]; whole && b.ignoreMerges {
		return 1
	}
	parts := make([]string, 0, len(word))
	unknown := false // the part before was one
	for _, r := range word {
		c := string(r)
		_, known := b.vocabulary[c]
		switch {
		case known:
			parts = append(parts, c)
		case b.byteFallback && b.hasBytes(c):
			for i := range len(c) {
				parts = append(parts, fmt.Sprintf("<0x%02X>", c[i]))
			}
		case !unknown || !b.fuseUnknown:
			parts = append(parts, "")
		}
		unknown = !known && !(b.byteFallback && b.hasBytes(c))
	}
	for {
		best, at := len(b.rank), -1
		for i := range len(parts) - 1 {
			if rank, ok := b.rank[[2]string{parts[i], parts[i+1]}]; ok && rank < best {
				best, at = rank, i
			}
		}
		if at < 0 {
			return len(parts)
		}
		parts[at] += parts[at+1]
		parts = append(parts[:at+1], parts[at+2:]...)
	}
}

func (b *bpe) hasBytes(c string) bool {
	for i := range len(c) {
		if _, ok := b.vocabulary[fmt.Sprintf("<0x%02X>", c[i])]; !ok {
			return false
		}
	}
	return utf8.ValidString(c)
}
