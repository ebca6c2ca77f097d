package nebula

import (
	"fmt"
	"io"
	"net/http"
)

// Key is the server's API key. It prints as whether it is set: the text lies behind a function, where neither fmt nor
// encoding/json nor a debugger's struct dump of some type that holds a Key can read it. The zero Key is none.
type Key struct{ reveal func() string }

// NewKey wraps a key read from the environment or a file.
func NewKey(s string) Key {
	if s == "" {
		return Key{}
	}
	return Key{reveal: func() string { return s }}
}

// Set says whether there is a key.
func (k Key) Set() bool { return k.reveal != nil }

// Format prints whether there is a key, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.word()) }

// MarshalText encodes whether there is a key.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.word()), nil }

func (k Key) word() string {
	if k.Set() {
		return "[set]"
	}
	return "[none]"
}

func (k Key) text() string {
	if k.Set() {
		return k.reveal()
	}
	return ""
}

func (k Key) authorize(r *http.Request) {
	if k.Set() {
		r.Header.Set("Authorization", "Bearer "+k.text())
	}
}
