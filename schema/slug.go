package schema

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// longestSlug leaves room for a key within the 255 bytes of a file name.
const longestSlug = 200

// Slug is the value of a partition key for an exact name: letters, digits, dot, underscore and dash stand for
// themselves, "/" becomes "--", a space "-", and every other byte %XX. A slug too long for a file name is cut and ends in
// a hash instead. The exact name stays in a column.
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
	if b.Len() <= longestSlug {
		return b.String()
	}
	sum := sha256.Sum256([]byte(name))
	return b.String()[:longestSlug-17] + "-" + hex.EncodeToString(sum[:8])
}

// ShortUUID is the eight digits that tell boards apart in file names.
func ShortUUID(uuid string) string {
	s := Slug(strings.TrimPrefix(strings.TrimPrefix(uuid, "GPU-"), "MIG-"))
	return s[:min(8, len(s))]
}
