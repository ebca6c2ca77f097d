package config

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzConfig reads any .env and tracer.yaml: settings, or one line that names the file and nothing of what stands in it.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("TRACER_OUT=/data\nexport TRACER_API_KEY='sk-hush'\n# comment\n"), []byte("sizes: [10, 100]\nprompts: 50\nrun-id: nightly\n"))
	f.Add([]byte("=x\n\"\n"), []byte("prompts: !!binary hush\n? [a]\n: {b: &x [*x]}\n"))
	f.Add([]byte("A=${A}$B\\n"), []byte("\tprompts: 5\n<<: 7\n1: 2\n"))
	flags := map[string]bool{"out": true, "prompts": true, "run-id": true, "sizes": true}
	f.Fuzz(func(t *testing.T, dotEnv, yaml []byte) {
		const secret = "hush-0123456789"
		got, err := Parse(append([]byte("TRACER_API_KEY="+secret+"\n"), dotEnv...), yaml)
		if err != nil {
			if text := err.Error(); strings.Contains(text, secret) || strings.Count(text, "\n") > 0 || !utf8.ValidString(text) ||
				!strings.HasPrefix(text, dotEnvFile) && !strings.HasPrefix(text, yamlFile) {
				t.Errorf("error %q", text)
			}
			return
		}
		if err := got.Check(func(name string) bool { return flags[name] }); err != nil && !strings.HasPrefix(err.Error(), yamlFile) {
			t.Errorf("error %q", err)
		}
		for name := range got.yaml {
			if v := got.Flag(name); v == nil && got.yaml[name] != nil {
				t.Errorf("%q is not found", name)
			}
		}
	})
}

func TestTheEnvironmentComesBeforeDotEnvBeforeYAML(t *testing.T) {
	files, err := Parse([]byte("TRACER_RUN_ID=dotenv\nTRACER_OUT=dotenv\n"), []byte("out: yaml\nrun-id: yaml\nsizes: [10, 100]\nprompts: 50\n"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TRACER_RUN_ID", "environment")
	for flag, want := range map[string]any{"run-id": "environment", "out": "dotenv", "sizes": "10,100", "prompts": "50", "seed": nil} {
		if got := files.Flag(flag); got != want {
			t.Errorf("%s is %v, want %v", flag, got, want)
		}
	}
}
