package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFlagsShapeTheModel(t *testing.T) {
	out := filepath.Join(t.TempDir(), "model.gguf")
	args := strings.Fields("-layers 1 -dim 16 -ffn 16 -heads 2 -kv 1 -ctx 64 -seed 7 -out " + out)
	var stdout bytes.Buffer
	if err := run(args, &stdout); err != nil {
		t.Fatal(err)
	}
	if stdout.String() != out+"\n" {
		t.Errorf("printed %q, want the path", stdout.String())
	}
	model, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(model, []byte("GGUF")) || len(model) < 4*2*959*16 {
		t.Errorf("%d bytes starting with %q", len(model), model[:4])
	}
}

func TestBadCallsAreRefused(t *testing.T) {
	for _, args := range []string{"", "-out x.gguf -heads 3", "-out x.gguf extra"} {
		if err := run(strings.Fields(args), &bytes.Buffer{}); err == nil {
			t.Errorf("mkgguf %s was accepted", args)
		}
	}
}
