// Mkgguf writes a language model of random weights as a GGUF file, for llama.cpp and everything built on it. The model
// and its vocabulary are the project's own: a real inference server can be tested without downloading anybody's weights.
//
//	go run ./internal/mkgguf -out tiny.gguf [-layers 6 -dim 512 -ffn 1024 -heads 8 -kv 4 -ctx 8192 -seed 1]
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/llm-tracer/tracer/internal/gguf"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mkgguf:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	m := gguf.Tiny
	flags := flag.NewFlagSet("mkgguf", flag.ExitOnError)
	out := flags.String("out", "", "file to write (required)")
	flags.IntVar(&m.Layers, "layers", m.Layers, "transformer blocks")
	flags.IntVar(&m.Dim, "dim", m.Dim, "width of the residual stream")
	flags.IntVar(&m.FFN, "ffn", m.FFN, "width of the feed-forward layer")
	flags.IntVar(&m.Heads, "heads", m.Heads, "query heads")
	flags.IntVar(&m.KVHeads, "kv", m.KVHeads, "key and value heads")
	flags.IntVar(&m.Context, "ctx", m.Context, "trained context length, tokens")
	flags.Uint64Var(&m.Seed, "seed", m.Seed, "seed of the weights")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case *out == "":
		return fmt.Errorf("-out is required")
	}
	if err := m.WriteFile(*out); err != nil {
		return err
	}
	_, err := fmt.Fprintln(stdout, *out)
	return err
}
