package tokens

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// The parts of a tokenizer.json that byte-pair vocabularies use, in two families: byte-level (GPT-2, Llama 3, Qwen,
// DeepSeek, …) and SentencePiece's (Llama 2, Mistral, Gemma). Whatever else a file asks for is refused by name: a wrong
// count is worse than none.
type hfFile struct {
	Normalizer   *hfStep   `json:"normalizer"`
	PreTokenizer *hfStep   `json:"pre_tokenizer"`
	Added        []hfAdded `json:"added_tokens"`
	Model        struct {
		Type         string            `json:"type"`
		Vocab        json.RawMessage   `json:"vocab"`
		Merges       []json.RawMessage `json:"merges"`
		ByteFallback bool              `json:"byte_fallback"`
		IgnoreMerges bool              `json:"ignore_merges"`
		FuseUnknown  bool              `json:"fuse_unk"`
		Unknown      *string           `json:"unk_token"`
		Dropout      *float64          `json:"dropout"`
		SubwordStart string            `json:"continuing_subword_prefix"`
		WordEnd      string            `json:"end_of_word_suffix"`
	} `json:"model"`
}

type hfAdded struct {
	Content    string `json:"content"`
	Normalized bool   `json:"normalized"`
}

// hfStep is one normalizer or pre-tokenizer.
type hfStep struct {
	Type          string    `json:"type"`
	Normalizers   []*hfStep `json:"normalizers"`
	PreTokenizers []*hfStep `json:"pretokenizers"`

	Prepend string `json:"prepend"`
	Content string `json:"content"`
	Pattern struct {
		String *string `json:"String"`
		Regex  *string `json:"Regex"`
	} `json:"pattern"`
	Behavior         string `json:"behavior"`
	Invert           bool   `json:"invert"`
	AddPrefixSpace   bool   `json:"add_prefix_space"`
	UseRegex         *bool  `json:"use_regex"`
	IndividualDigits bool   `json:"individual_digits"`
	Replacement      string `json:"replacement"`
	PrependScheme    string `json:"prepend_scheme"`
	Split            *bool  `json:"split"`
}

// readFile reads a tokenizer.json. Its name carries the file's hash: two vocabularies never pass for one.
func readFile(path string) (*Tokenizer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the tokenizer: %w; give the path of a tokenizer.json", err)
	}
	t, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading the tokenizer %s: %w", path, err)
	}
	return t, nil
}

func parse(data []byte) (*Tokenizer, error) {
	var f hfFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("it is no tokenizer.json: %w", err)
	}
	m := &f.Model
	if m.Type != "BPE" || m.Dropout != nil || m.SubwordStart != "" || m.WordEnd != "" {
		return nil, fmt.Errorf("its model is %q; only plain BPE is read. Let the server count, or name o200k_base", m.Type)
	}
	b, err := newBPE(&f)
	if err != nil {
		return nil, err
	}
	p := &pretokenizer{}
	for _, s := range flat(f.Normalizer) {
		if err := p.addNormalizer(s); err != nil {
			return nil, err
		}
	}
	for _, s := range flat(f.PreTokenizer) {
		if err := p.addStep(s); err != nil {
			return nil, err
		}
	}
	if !p.byteLevel {
		if b.crossesSpaces {
			return nil, errors.New("its merges reach across spaces, which is not read; let the server count")
		}
		p.splits = append(p.splits, splitBefore('▁'))
	}
	for _, a := range f.Added {
		p.added = append(p.added, a.Content)
	}
	sum := sha256.Sum256(data)
	return &Tokenizer{fmt.Sprintf("tokenizer.json:%x", sum[:6]), func(text string) int { return p.count(text, b) }}, nil
}

// flat is a step, or those of a sequence.
func flat(s *hfStep) []*hfStep {
	switch {
	case s == nil:
		return nil
	case s.Type != "Sequence":
		return []*hfStep{s}
	}
	var all []*hfStep
	for _, inner := range append(s.Normalizers, s.PreTokenizers...) {
		all = append(all, flat(inner)...)
	}
	return all
}

func (p *pretokenizer) addNormalizer(s *hfStep) error {
	switch {
	case s.Type == "NFC":
		p.normal = append(p.normal, norm.NFC.String)
	case s.Type == "NFKC":
		p.normal = append(p.normal, norm.NFKC.String)
	case s.Type == "Prepend":
		p.normal = append(p.normal, func(text string) string { return prefixed(s.Prepend, text) })
	case s.Type == "Replace" && s.Pattern.String != nil:
		p.normal = append(p.normal, func(text string) string { return strings.ReplaceAll(text, *s.Pattern.String, s.Content) })
	default:
		return fmt.Errorf("its normalizer %s is not read; let the server count", s.Type)
	}
	return nil
}

// prefixed puts something before a text that is there.
func prefixed(prefix, text string) string {
	if text == "" || strings.HasPrefix(text, prefix) && prefix == " " {
		return text
	}
	return prefix + text
}

func (p *pretokenizer) addStep(s *hfStep) error {
	plain := !s.Invert && (s.Split == nil || *s.Split)
	switch {
	case s.Type == "ByteLevel":
		p.byteLevel = true
		p.prefixSpace = s.AddPrefixSpace
		if s.UseRegex == nil || *s.UseRegex {
			return p.addRegex(gpt2Pattern)
		}
	case s.Type == "Split" && plain && s.Behavior == "Isolated" && s.Pattern.Regex != nil:
		return p.addRegex(*s.Pattern.Regex)
	case s.Type == "Split" && plain && s.Behavior == "MergedWithPrevious" && s.Pattern.String != nil && *s.Pattern.String == " ":
		// Gemma: the normalizer has turned spaces into ▁ by now, so this splits nothing
	case s.Type == "Digits" && s.IndividualDigits:
		return p.addRegex(`\p{N}`)
	case s.Type == "Digits":
		return p.addRegex(`\p{N}+`)
	case s.Type == "Metaspace" && s.Replacement == "▁" && s.Split == nil, s.Type == "Metaspace" && s.Replacement == "▁" && plain:
		p.normal = append(p.normal, func(text string) string { return strings.ReplaceAll(text, " ", "▁") })
		if s.PrependScheme != "never" {
			p.normal = append(p.normal, func(text string) string {
				if text == "" || strings.HasPrefix(text, "▁") {
					return text
				}
				return "▁" + text
			})
		}
	default:
		return fmt.Errorf("its pre-tokenizer %s %s is not read; let the server count", s.Type, s.Behavior)
	}
	return nil
}
