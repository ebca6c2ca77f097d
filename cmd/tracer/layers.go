package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"github.com/joho/godotenv"

	"github.com/llm-tracer/tracer/nebula"
)

const (
	dotEnvFile = ".env"
	yamlFile   = "tracer.yaml"
	keyName    = "TRACER_API_KEY"
)

// layers is where flags that are not on the command line come from: the environment, then .env, then tracer.yaml, the
// last two in the working directory.
type layers struct {
	dotEnv map[string]string
	yaml   map[string]any
	found  map[string]bool // flags that were set here and not on the command line
}

func readLayers() (*layers, error) {
	var texts [2][]byte
	for i, name := range []string{dotEnvFile, yamlFile} {
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		texts[i] = text
	}
	return parseLayers(texts[0], texts[1])
}

// parseLayers reads the two files. Its errors hold nothing of what stands in them: that may be a secret.
func parseLayers(dotEnv, text []byte) (*layers, error) {
	l := &layers{found: map[string]bool{}}
	var err error
	if l.dotEnv, err = godotenv.UnmarshalBytes(dotEnv); err != nil {
		return nil, fmt.Errorf("%s cannot be read as KEY=value lines; mend or remove it", dotEnvFile)
	}
	if err := yaml.Unmarshal(text, &l.yaml); err != nil {
		return nil, fmt.Errorf("%s%s is not a list of flag: value lines", yamlFile, position(err))
	}
	return l, nil
}

// position is where a YAML error stands, without the text around it.
func position(err error) string {
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil && e.GetToken().Position != nil {
		return fmt.Sprintf(":%d", e.GetToken().Position.Line)
	}
	return ""
}

// Validate refuses names in tracer.yaml that are no flag: a typing error there would otherwise go unseen.
func (l *layers) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, command := range app.Children {
		for _, flag := range command.Flags {
			known[flag.Name] = true
		}
	}
	for name := range l.yaml {
		if !known[name] {
			return fmt.Errorf("%s: no flag is called %q", yamlFile, name)
		}
	}
	return nil
}

// Resolve finds a flag's value in the layers.
func (l *layers) Resolve(_ *kong.Context, path *kong.Path, flag *kong.Flag) (any, error) {
	if node := path.Node(); node != nil && slices.Contains([]string{"sim", "fit", "export", "campaign"}, node.Name) { // their --gpu is another than collect's; a campaign has its file
		return nil, nil //nolint:nilnil // kong's way to say that the flag is not set
	}
	v := l.find(flag.Name)
	l.found[flag.Name] = v != nil
	return v, nil
}

func (l *layers) find(flag string) any {
	name := "TRACER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	if v, ok := os.LookupEnv(name); ok {
		return v
	}
	if v, ok := l.dotEnv[name]; ok {
		return v
	}
	switch v := l.yaml[flag].(type) {
	case nil:
		return nil
	case []any:
		parts := make([]string, len(v))
		for i, p := range v {
			parts[i] = fmt.Sprint(p)
		}
		return strings.Join(parts, ",")
	default:
		return fmt.Sprint(v)
	}
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
	if v, ok := os.LookupEnv(keyName); ok {
		return nebula.NewKey(strings.TrimSpace(v)), nil
	}
	return nebula.NewKey(strings.TrimSpace(l.dotEnv[keyName])), nil
}

func readKeyFile(path string) (string, error) {
	text, err := os.ReadFile(path)
	key := strings.TrimSpace(string(text))
	if err == nil && (key == "" || strings.ContainsFunc(key, unicode.IsControl)) {
		err = fmt.Errorf("%s does not hold one line with a key", path)
	}
	return key, err
}
