package llamacpp

import (
	"regexp"
	"sync"
)

// outputKept is how much of the end of the server's log errors can show, bytes.
const outputKept = 4096

var listening = regexp.MustCompile(`listening on (http://[0-9.]+:\d+)\n`)

// output takes what the server prints, keeps the end of it, and sends the address it listens on once.
type output struct {
	address chan string

	mu    sync.Mutex
	found bool
	text  []byte
}

func newOutput() *output { return &output{address: make(chan string, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	if match := listening.FindSubmatch(o.text); match != nil && !o.found {
		o.found = true
		o.address <- string(match[1])
	}
	if extra := len(o.text) - outputKept; extra > 0 {
		o.text = append(o.text[:0], o.text[extra:]...)
	}
	return len(p), nil
}

func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}
