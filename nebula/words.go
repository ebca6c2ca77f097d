package nebula

import (
	"slices"
	"strings"
	"unicode"
)

// maxWords bounds what is kept of a server's own words, in bytes.
const maxWords = 300

// censor takes secrets out of a server's words, which like to quote the key that they refuse.
type censor struct{ secrets func() []string }

func newCensor(secrets []string) censor {
	// The longest first: a short secret inside a long one must not leave the long one's rest behind.
	secrets = slices.Clone(secrets)
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	return censor{secrets: func() []string { return secrets }}
}

// clean makes a server's words fit for a screen, a log and a row: one line of valid UTF-8 without control characters
// or secrets, of at most maxWords bytes.
func (c censor) clean(s string) string {
	// Enough for the longest secret that the cut could split, not for a 64 KiB page.
	s = strings.ToValidUTF8(s[:min(len(s), 16*maxWords)], "")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		default:
			return r
		}
	}, s)
	if c.secrets != nil {
		for _, secret := range c.secrets() {
			s = strings.ReplaceAll(s, secret, "[redacted]")
		}
	}
	s = strings.TrimSpace(s)
	if len(s) <= maxWords {
		return s
	}
	return strings.ToValidUTF8(s[:maxWords-len("…")], "") + "…"
}
