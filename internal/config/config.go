// Package config is what is set outside the command line: in the environment, then in .env, then in tracer.yaml, the last
// two in the working directory.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/joho/godotenv"
)

const (
	dotEnvFile = ".env"
	yamlFile   = "tracer.yaml"
)

// Files is what the two files hold; the zero value is that of a directory without them.
type Files struct {
	dotEnv map[string]string
	yaml   map[string]any
}

// Read reads the files of the working directory, where they are there.
func Read() (Files, error) {
	var texts [2][]byte
	for i, name := range []string{dotEnvFile, yamlFile} {
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Files{}, fmt.Errorf("reading %s: %w", name, err)
		}
		texts[i] = text
	}
	return Parse(texts[0], texts[1])
}

// Parse reads the two files' texts. Its errors hold nothing of what stands in them: that may be a secret.
func Parse(dotEnv, text []byte) (Files, error) {
	var f Files
	var err error
	if f.dotEnv, err = godotenv.UnmarshalBytes(dotEnv); err != nil {
		return Files{}, fmt.Errorf("%s cannot be read as KEY=value lines; mend or remove it", dotEnvFile)
	}
	if err := yaml.Unmarshal(text, &f.yaml); err != nil {
		return Files{}, fmt.Errorf("%s%s is not a list of flag: value lines", yamlFile, position(err))
	}
	return f, nil
}

// position is where a YAML error stands, without the text around it.
func position(err error) string {
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil && e.GetToken().Position != nil {
		return fmt.Sprintf(":%d", e.GetToken().Position.Line)
	}
	return ""
}

// Check refuses names in tracer.yaml that are no flag: a typing error there would otherwise go unseen.
func (f Files) Check(isFlag func(name string) bool) error {
	for name := range f.yaml {
		if !isFlag(name) {
			return fmt.Errorf("%s: no flag is called %q", yamlFile, name)
		}
	}
	return nil
}

// Flag is what a flag is set to, nil where it is not.
func (f Files) Flag(name string) any {
	if v, ok := f.Variable("TRACER_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))); ok {
		return v
	}
	switch v := f.yaml[name].(type) {
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

// Variable is a setting that is no flag, a key for instance, from the environment, then from .env.
func (f Files) Variable(name string) (string, bool) {
	if v, ok := os.LookupEnv(name); ok {
		return v, true
	}
	v, ok := f.dotEnv[name]
	return v, ok
}
