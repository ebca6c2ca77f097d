package tokens

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tiktoken-go/tokenizer/codec"
)

// Tokenizer counts texts by one vocabulary. It may be used from several goroutines.
type Tokenizer struct {
	name  string
	count func(string) int
}

// Name is the vocabulary, as datasets name it.
func (t *Tokenizer) Name() string { return t.name }

// Count is the number of tokens of text, without those that a chat template adds.
func (t *Tokenizer) Count(_ context.Context, text string) (int, error) { return t.count(text), nil }

// FromFile says whether it was read from a tokenizer.json: a served model's own, then, and not one of ours.
func (t *Tokenizer) FromFile() bool { return !slices.Contains(embedded, t) }

// Default is the tokenizer that needs neither a server nor a file.
func Default() *Tokenizer { return embedded[0] }

// cl100k is built when it is first asked for, like o200k.
var cl100k = sync.OnceValue(codec.NewCl100kBase)

// embedded are the vocabularies inside the program.
var embedded = []*Tokenizer{
	{Name, Count},
	{"cl100k_base", func(text string) int {
		n, err := cl100k().Count(text)
		if err != nil {
			panic("counting tokens: " + err.Error()) // see Count
		}
		return n
	}},
}

// Open finds an embedded vocabulary by its name, or reads a Hugging Face tokenizer.json.
func Open(nameOrPath string) (*Tokenizer, error) {
	if i := slices.IndexFunc(embedded, func(t *Tokenizer) bool { return t.name == nameOrPath }); i >= 0 {
		return embedded[i], nil
	}
	if !strings.ContainsAny(nameOrPath, "./") {
		return nil, fmt.Errorf("no tokenizer %q; give the path of a tokenizer.json, %s or %s", nameOrPath, embedded[0].name, embedded[1].name)
	}
	return readFile(nameOrPath)
}
