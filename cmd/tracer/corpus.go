package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/analysis"
	"github.com/llm-tracer/tracer/internal/tokens"
	"github.com/llm-tracer/tracer/nebula/corpus"
	"github.com/llm-tracer/tracer/schema"
)

// corpusFlags say which prompts there are to be; collect and prompts have them both.
type corpusFlags struct {
	Corpus      string   `placeholder:"PATH" help:"Take the prompts from a file: a corpus (.parquet) of tracer prompts, or .csv, .jsonl (default: make them)."`
	Workload    []string `placeholder:"W,…" help:"prefill (long prompts, one-word answers), decode (short prompts, long answers) (default: prefill,decode, or all of the file)."`
	Sizes       []int    `placeholder:"N,…" help:"Tokens: of the prompt (prefill), of the answer (decode) (default: 10,50,100,1000,10000, or all of the file)."`
	Prompts     *int     `placeholder:"N" help:"Prompts of each workload and size (default: 100, or all of the file)."`
	ExactLength bool     `name:"exact-length" default:"true" negatable:"" help:"Ask for decode answers of exactly their size, where the server can be asked (default: ${default})."`
	order       []string // ids, of a run that is resumed
	Tokenizer   string   `placeholder:"PATH" help:"What counts tokens: a tokenizer.json, o200k_base or cl100k_base (default: the server's own where it has one, else o200k_base)."`
}

var (
	usualWorkloads = []string{string(schema.WorkloadPrefill), string(schema.WorkloadDecode)}
	usualSizes     = []int{10, 50, 100, 1000, 10000}
)

const usualPrompts = 100

// spec is what is to be made, with the usual where nothing is said.
func (f *corpusFlags) spec(seed int64) (corpus.Spec, error) {
	spec := corpus.Spec{Sizes: f.Sizes, PerSize: usualPrompts, Seed: uint64(seed), ExactLength: f.ExactLength}
	if f.Sizes != nil && len(f.Sizes) == 0 {
		return spec, usage("--sizes is empty: name tokens, as in --sizes 10,100, or leave it out for the usual ones")
	}
	if len(spec.Sizes) == 0 {
		spec.Sizes = usualSizes
	}
	if f.Prompts != nil {
		spec.PerSize = *f.Prompts
	}
	if spec.PerSize < 1 || spec.PerSize > 100_000 {
		return spec, usage("--prompts must be between 1 and 100000")
	}
	workloads := f.Workload
	if len(workloads) == 0 {
		workloads = usualWorkloads
	}
	for _, w := range workloads {
		workload := schema.Workload(w)
		if !slices.Contains(usualWorkloads, w) {
			return spec, usage("--workload %s: there are prefill and decode", w)
		}
		if slices.Contains(spec.Workloads, workload) {
			return spec, usage("--workload names %s twice", w)
		}
		spec.Workloads = append(spec.Workloads, workload)
	}
	return spec, nil
}

// localCounter is what counts without a server.
func (f *corpusFlags) localCounter() (corpus.Counter, error) {
	if f.Tokenizer == "" {
		return tokens.Default(), nil
	}
	t, err := tokens.Open(f.Tokenizer)
	if err != nil {
		return nil, usage("--tokenizer: %w", err)
	}
	return t, nil
}

// build gives the prompts: those of the file, or new ones of an author, nil for the built-in one. note is for the screen.
func (f *corpusFlags) build(ctx context.Context, seed int64, counter corpus.Counter, author corpus.Author) (prompts []schema.Prompt, note string, err error) {
	spec, err := f.spec(seed)
	if err != nil {
		return nil, "", err
	}
	if f.Corpus != "" {
		return f.fromFile(ctx, spec, counter)
	}
	prompts, err = corpus.Build(ctx, spec, counter, author)
	return prompts, "", err
}

func (f *corpusFlags) fromFile(ctx context.Context, spec corpus.Spec, counter corpus.Counter) (prompts []schema.Prompt, note string, err error) {
	prompts, entries, err := f.load() //nolint:contextcheck // reading a file is over before anyone could interrupt it
	if err != nil {
		return nil, "", err
	}
	wanted := f.chosen()
	if entries != nil {
		entries = slices.DeleteFunc(entries, func(e corpus.Entry) bool { return !wanted(e.Workload, e.Size) })
		var by corpus.ByBuiltin
		if prompts, by, err = corpus.FromEntries(ctx, entries, spec, counter); err != nil {
			return nil, "", f.refused(err)
		}
		note = noteOn(by, f.Corpus)
	}
	if entries == nil {
		prompts = slices.DeleteFunc(prompts, func(p schema.Prompt) bool { return !wanted(p.Workload, int(p.TargetTokens)) })
		f.reorder(prompts)
	}
	if len(prompts) == 0 {
		return nil, "", usage("--corpus %s holds no prompts of the --workload and --sizes asked for", f.Corpus)
	}
	return prompts, note, nil
}

// reorder brings the prompts of a run that is resumed into the order that it had them in.
func (f *corpusFlags) reorder(prompts []schema.Prompt) {
	place := map[string]int{}
	for i, id := range f.order {
		place[id] = i
	}
	slices.SortStableFunc(prompts, func(a, b schema.Prompt) int { return place[a.ID] - place[b.ID] })
}

func noteOn(by corpus.ByBuiltin, file string) string {
	var notes []string
	if by.Grown > 0 {
		notes = append(notes, fmt.Sprintf("%d texts of %s were shorter than their size; the built-in generator wrote the rest", by.Grown, file))
	}
	if by.Replaced > 0 {
		notes = append(notes, fmt.Sprintf("%d sizes of %s have no room for any of their text; the built-in generator wrote these prompts", by.Replaced, file))
	}
	return strings.Join(notes, "\n")
}

// load reads the file: prompts of a corpus, or entries that prompts are to be made of.
func (f *corpusFlags) load() (prompts []schema.Prompt, entries []corpus.Entry, err error) {
	if f.Corpus == "" {
		return nil, nil, nil
	}
	switch info, err := os.Stat(f.Corpus); {
	case err != nil:
		return nil, nil, usage("--corpus: %w; name a file that is there", err)
	case info.IsDir():
		return nil, nil, usage("--corpus: %s is a folder; name one file in it", f.Corpus)
	}
	if strings.EqualFold(filepath.Ext(f.Corpus), ".parquet") {
		if prompts, err = analysis.ReadCorpus(f.Corpus); err != nil {
			err = usage("--corpus: %w (a .parquet must be a corpus that tracer prompts has written)", err)
		}
		return prompts, nil, err
	}
	if entries, err = readEntries(f.Corpus); err != nil {
		err = f.refused(err)
	}
	return nil, entries, err
}

// refused is the error of a file that holds what cannot be made into prompts.
func (f *corpusFlags) refused(err error) error {
	if e, ok := errors.AsType[*corpus.LineError](err); ok {
		return usage("--corpus: %s:%d: %s", f.Corpus, e.Line, e.What)
	}
	return err
}

// readEntries reads a CSV or JSONL file.
func readEntries(path string) ([]corpus.Entry, error) {
	read := corpus.ReadCSV
	switch strings.ToLower(filepath.Ext(path)) {
	case ".csv":
	case ".jsonl", ".ndjson":
		read = corpus.ReadJSONL
	default:
		return nil, usage("--corpus: %s is neither .parquet, .csv nor .jsonl; name it by what it is", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, usage("--corpus: %w; name a file that you may read", err)
	}
	defer file.Close() //nolint:errcheck // read only
	return read(file)
}

// chosen says of one prompt after another whether the flags ask for it, of a file that may hold more.
func (f *corpusFlags) chosen() func(w schema.Workload, tokens int) bool {
	kept := map[size]int{}
	return func(w schema.Workload, tokens int) bool {
		g := size{w, int32(tokens)}
		if len(f.Workload) > 0 && !slices.Contains(f.Workload, string(w)) ||
			len(f.Sizes) > 0 && !slices.Contains(f.Sizes, tokens) ||
			f.Prompts != nil && kept[g] >= *f.Prompts {
			return false
		}
		kept[g]++
		return true
	}
}
