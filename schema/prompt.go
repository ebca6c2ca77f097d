package schema

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
)

// CorpusID names a corpus by its contents: SHA-256, in hex, over what each prompt asks and who counted and wrote it. The
// order of the prompts and the time of their making do not count.
func CorpusID(prompts []Prompt) string {
	sorted := slices.SortedFunc(slices.Values(prompts), func(a, b Prompt) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Text, b.Text))
	})
	h := sha256.New()
	for _, p := range sorted {
		fmt.Fprintf(h, "%q %q %d %q %d %t %d %q %q %q\n", p.ID, p.Workload, p.TargetTokens, p.Text, p.MaxTokens, p.ExactLength,
			p.TextTokens, p.Tokenizer, p.Source, p.WrittenBy)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Prompts is the table of corpora: what the runs sent.
var Prompts = Table[Prompt]{
	Name:    "prompts",
	Doc:     "one row per prompt of a corpus",
	SortKey: "prompt_id",
	Columns: []Column[Prompt]{
		{Name: "prompt_id", Type: typeString, Doc: "unique in its corpus", bind: required(func(p *Prompt) string { return p.ID })},
		{Name: "workload", Type: typeString, Encoding: Dictionary, Doc: "prefill or decode", bind: required(func(p *Prompt) string { return string(p.Workload) })},
		{Name: "target_tokens", Type: typeInt32, Encoding: Delta, Unit: "tokens", Doc: "the size asked for: of the prompt (prefill) or of the answer (decode)", bind: required(func(p *Prompt) int32 { return p.TargetTokens })},
		{Name: "element", Type: typeString, Nullable: true, Encoding: Dictionary, Doc: "what a decode prompt asks a story about", bind: optional(func(p *Prompt) Opt[string] { return named(p.Element) })},
		{Name: "text", Type: typeString, Doc: "before any chat template; requests.opening says where a request began otherwise", bind: required(func(p *Prompt) string { return p.Text })},
		{Name: "text_tokens", Type: typeInt32, Encoding: Delta, Unit: "tokens", Doc: "of text, by tokenizer", bind: required(func(p *Prompt) int32 { return p.TextTokens })},
		{Name: "tokenizer", Type: typeString, Encoding: Dictionary, Doc: "what counted text_tokens", bind: required(func(p *Prompt) string { return p.Tokenizer })},
		{Name: "max_tokens", Type: typeInt32, Encoding: Delta, Unit: "tokens", Doc: "bound sent with the request", bind: required(func(p *Prompt) int32 { return p.MaxTokens })},
		{Name: "exact_length", Type: typeBool, Doc: "exactly max_tokens were asked for", bind: required(func(p *Prompt) bool { return p.ExactLength })},
		{Name: "source", Type: typeString, Encoding: Dictionary, Doc: "builtin, nebula or file", bind: required(func(p *Prompt) string { return p.Source })},
		{Name: "written_by", Type: typeString, Nullable: true, Encoding: Dictionary, Doc: "the model that wrote text; NULL where none did", bind: optional(func(p *Prompt) Opt[string] { return named(p.WrittenBy) })},
		{Name: "sha256", Type: typeString, Doc: "of text, hexadecimal", bind: required(func(p *Prompt) string { return p.SHA256 })},
		{
			Name: "created", Type: typeTimestamp, Nullable: true, Encoding: Delta, Unit: "µs since 1970, UTC", Doc: "when text was written; NULL where it follows from the seed, or came from a file that does not say",
			bind: optional(func(p *Prompt) Opt[arrow.Timestamp] {
				return Opt[arrow.Timestamp]{V: instant(p.CreatedUnixMS * 1e6), OK: p.CreatedUnixMS != 0}
			}),
		},
	},
}
