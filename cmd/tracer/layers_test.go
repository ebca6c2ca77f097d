package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

// FuzzConfig reads any .env and tracer.yaml: settings, or one line that names the file and nothing of what stands in it.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("TRACER_OUT=/data\nexport TRACER_API_KEY='sk-hush'\n# comment\n"), []byte("sizes: [10, 100]\nprompts: 50\nrun-id: nightly\n"))
	f.Add([]byte("=x\n\"\n"), []byte("prompts: !!binary hush\n? [a]\n: {b: &x [*x]}\n"))
	f.Add([]byte("A=${A}$B\\n"), []byte("\tprompts: 5\n<<: 7\n1: 2\n"))
	var c commands
	app := kong.Must(&c, kong.Vars{"model": "m", "servers": "s"})
	f.Fuzz(func(t *testing.T, dotEnv, yaml []byte) {
		const secret = "hush-0123456789"
		l, err := parseLayers(append([]byte("TRACER_API_KEY="+secret+"\n"), dotEnv...), yaml)
		if err != nil {
			if text := err.Error(); strings.Contains(text, secret) || strings.Count(text, "\n") > 0 || !utf8.ValidString(text) ||
				!strings.HasPrefix(text, dotEnvFile) && !strings.HasPrefix(text, yamlFile) {
				t.Errorf("error %q", text)
			}
			return
		}
		_ = l.Validate(app.Model)
		for name := range l.yaml {
			l.find(name)
		}
		if _, err := l.key(""); err != nil {
			t.Error(err)
		}
	})
}
