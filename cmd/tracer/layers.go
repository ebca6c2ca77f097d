package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/alecthomas/kong"

	"github.com/llm-tracer/tracer/internal/config"
	"github.com/llm-tracer/tracer/nebula"
)

const keyName = "TRACER_API_KEY"

// layers is where flags that are not on the command line come from.
type layers struct {
	config.Files
	found map[string]bool // flags that were set here and not on the command line
}

func readLayers() (*layers, error) {
	files, err := config.Read()
	return &layers{Files: files, found: map[string]bool{}}, err
}

// Validate refuses names in tracer.yaml that are no flag of any command.
func (l *layers) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, command := range app.Children {
		for _, flag := range command.Flags {
			known[flag.Name] = true
		}
	}
	return l.Check(func(name string) bool { return known[name] })
}

// Resolve finds a flag's value in the layers.
func (l *layers) Resolve(_ *kong.Context, path *kong.Path, flag *kong.Flag) (any, error) {
	if node := path.Node(); node != nil && slices.Contains([]string{"sim", "fit", "export", "campaign"}, node.Name) { // their --gpu is another than collect's; a campaign has its file
		return nil, nil //nolint:nilnil // kong's way to say that the flag is not set
	}
	v := l.Flag(flag.Name)
	l.found[flag.Name] = v != nil
	return v, nil
}

// key reads the API key from a file, where one is named, or from the environment or .env. It never comes from the command
// line, which every user of the machine can read.
func (l *layers) key(file string) (nebula.Key, error) {
	if file != "" {
		text, err := readKeyFile(file)
		if err != nil {
			return nebula.Key{}, usage("--api-key-file: %w", err)
		}
		return nebula.NewKey(text), nil
	}
	return l.secret(keyName), nil
}

func (l *layers) secret(name string) nebula.Key {
	v, _ := l.Variable(name)
	return nebula.NewKey(strings.TrimSpace(v))
}

func readKeyFile(path string) (string, error) {
	text, err := os.ReadFile(path)
	key := strings.TrimSpace(string(text))
	if err == nil && (key == "" || strings.ContainsFunc(key, unicode.IsControl)) {
		err = fmt.Errorf("%s does not hold one line with a key", path)
	}
	return key, err
}
