package schema

import (
	"fmt"
	"strings"
)

// Slug is the value of a partition key for an exact name: letters, digits, dot, underscore and dash stand for
// themselves, "/" becomes "--", a space "-", and every other byte %XX. The exact name stays in a column.
func Slug(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
			b.WriteByte(c)
		case c == '/':
			b.WriteString("--")
		case c == ' ':
			b.WriteByte('-')
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
