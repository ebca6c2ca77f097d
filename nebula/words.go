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

// clean makes a server's words fit for a screen, a log and a row: one line of printable characters without secrets, of at
// most maxWords bytes.
func (c censor) clean(s string) string {
	// Enough for the longest secret that the cut could split, not for a 64 KiB page.
	s = printable(s[:min(len(s), 16*maxWords)])
	if c.secrets != nil {
		for _, secret := range c.secrets() {
			s = redact(s, secret)
		}
	}
	s = strings.TrimSpace(strings.ToValidUTF8(s, "")) // half a character may follow what was redacted
	if len(s) <= maxWords {
		return s
	}
	return strings.ToValidUTF8(s[:maxWords-len("…")], "") + "…"
}

// printable is a text without what a terminal may obey or what cannot be seen: control characters, C1 too, what turns the
// direction of writing, and bytes that are no UTF-8. Spaces of any kind and line breaks become plain spaces.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		default:
			return -1
		}
	}, strings.ToValidUTF8(s, ""))
}

// leastQuoted is how many bytes of a secret give it away: servers quote the beginnings of keys.
const leastQuoted = 8

// redact takes a secret and its longer beginnings out of a text.
func redact(s, secret string) string {
	least := secret[:min(len(secret), leastQuoted)]
	var clean strings.Builder
	for {
		before, after, found := strings.Cut(s, least)
		clean.WriteString(before)
		if !found {
			return clean.String()
		}
		clean.WriteString("[redacted]")
		rest := secret[len(least):]
		for rest != "" && after != "" && rest[0] == after[0] {
			rest, after = rest[1:], after[1:]
		}
		s = after
	}
}
