package sim

import (
	"encoding/csv"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/llm-tracer/tracer/internal/catalog"
)

// published reads two columns of a file in testdata: a count of tokens and the latency in seconds.
func published(t *testing.T, file string, tokens, latency int) map[int]float64 {
	t.Helper()
	f, err := os.Open("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	all := map[int]float64{}
	for _, row := range rows[1:] {
		n, err := strconv.Atoi(row[tokens])
		if err != nil {
			t.Fatal(err)
		}
		if all[n], err = strconv.ParseFloat(row[latency], 64); err != nil {
			t.Fatal(err)
		}
	}
	if len(all) != 9 {
		t.Fatalf("%s has %d rows, want 9", file, len(all))
	}
	return all
}

// within checks a latency against the published one.
func within(t *testing.T, gotS, wantS float64) {
	t.Helper()
	const bound = 0.10
	off := gotS/wantS - 1
	t.Logf("%.3f s, published %.3f s: %+.1f %%", gotS, wantS, 100*off)
	if off < -bound || off > bound {
		t.Errorf("%.3f s is %.1f %% off the published %.3f s", gotS, 100*off, wantS)
	}
}

// The request of the published decode rows: its own length is not published, and is of no weight.
const publishedDecodePrompt = 12

func TestPublishedPrefillLatencies(t *testing.T) {
	for n, want := range published(t, "a10_llama3-8b_prefill.csv", 1, 2) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inFakeTime(t, func(b *bed) {
				g := b.ask(body(n, 1))
				if g.usage == nil || g.usage.PromptTokens != n || g.usage.CompletionTokens != 1 {
					t.Fatalf("usage %+v", g.usage)
				}
				within(t, g.latency().Seconds(), want)
			})
		})
	}
}

func TestPublishedDecodeLatencies(t *testing.T) {
	for n, want := range published(t, "a10_llama3-8b_decode.csv", 1, 2) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inFakeTime(t, func(b *bed) {
				g := b.ask(body(publishedDecodePrompt, n))
				if g.tokens != n || g.usage == nil || g.usage.CompletionTokens != n {
					t.Fatalf("%d chunks with text, usage %+v", g.tokens, g.usage)
				}
				within(t, g.latency().Seconds(), want)
			})
		})
	}
}

func TestOneRequestTakesExactlyItsTime(t *testing.T) {
	timing := NewTiming(board(t, "A10"), model(t, catalog.DefaultModel))
	for _, c := range []struct{ prompt, answer int }{{1, 1}, {10, 50}, {1000, 3}, {4096, 200}} {
		inFakeTime(t, func(b *bed) {
			g := b.ask(body(c.prompt, c.answer))
			if got, want := g.latency(), timing.Request(c.prompt, c.answer); got != want {
				t.Errorf("%d + %d tokens took %v, want %v", c.prompt, c.answer, got, want)
			}
			if got, want := g.toFirst(), timing.Prefill(c.prompt); got != want {
				t.Errorf("%d + %d tokens: first token after %v, want %v", c.prompt, c.answer, got, want)
			}
		})
	}
}
