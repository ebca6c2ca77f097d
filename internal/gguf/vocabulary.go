package gguf

const (
	endOfText      = "<|endoftext|>"
	digraphFirsts  = " abcdefghijklmnopqrstuvwxyz"
	digraphSeconds = "abcdefghijklmnopqrstuvwxyz"
	vocabularySize = 256 + len(digraphFirsts)*len(digraphSeconds) + 1

	// token types of llama.cpp
	tokenNormal  = 1
	tokenControl = 3
)

// vocabulary is a byte-pair vocabulary of its own: the 256 bytes, so that any text is a legal prompt, the digraphs of
// lower-case English, and the end of text. English comes to about two characters a token.
type vocabulary struct {
	tokens []string
	types  []int32
	merges []string // "a b": the pair that becomes the token "ab", most wanted first
}

func newVocabulary() vocabulary {
	var v vocabulary
	chars := byteChars()
	for _, c := range chars {
		v.add(c, tokenNormal)
	}
	for _, first := range []byte(digraphFirsts) {
		for _, second := range []byte(digraphSeconds) {
			v.add(chars[first]+chars[second], tokenNormal)
			v.merges = append(v.merges, chars[first]+" "+chars[second])
		}
	}
	v.add(endOfText, tokenControl)
	return v
}

func (v *vocabulary) add(token string, tokenType int32) {
	v.tokens = append(v.tokens, token)
	v.types = append(v.types, tokenType)
}

// end is the id of the end of text.
func (v *vocabulary) end() int { return len(v.tokens) - 1 }

// byteChars is GPT-2's map from bytes to printable characters, which its kind of vocabulary is written in: printable
// Latin-1 stands for itself, the other bytes for the characters from U+0100 on.
func byteChars() [256]string {
	var chars [256]string
	next := rune(256)
	for b := range chars {
		printable := b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE
		if printable {
			chars[b] = string(rune(b))
			continue
		}
		chars[b] = string(next)
		next++
	}
	return chars
}
