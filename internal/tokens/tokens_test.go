package tokens

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The numbers are those of the published o200k_base vocabulary.
func TestEncodingIsO200kBase(t *testing.T) {
	for _, c := range []struct {
		text string
		want []uint
	}{
		{"", nil},
		{"hello world", []uint{24912, 2375}},
		{"hello  world", []uint{24912, 220, 2375}},
		{"<|endoftext|>", []uint{27, 91, 419, 1440, 919, 91, 29}},
	} {
		if got := Encode(c.text); !slices.Equal(got, c.want) {
			t.Errorf("Encode(%q) = %v, want %v", c.text, got, c.want)
		}
	}
}

func TestCountIsTheLengthOfTheEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		if got, want := Count(text), len(Encode(text)); got != want {
			t.Errorf("Count(%q) = %d, but it encodes to %d tokens", text, got, want)
		}
	})
}

func BenchmarkCount(b *testing.B) {
	text := strings.Repeat("The old miller crossed the quiet bridge before dawn, and nobody noticed. ", 100)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Count(text)
	}
}
