package nebula

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
)

// site answers paths with JSON, and everything else with 404.
type site map[string]string

func (s site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, found := s[r.URL.Path]
	if !found {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(body))
}

// as serves a recorded response at a path, and everything else from the site.
func (s site) as(path string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path {
			h.ServeHTTP(w, r)
			return
		}
		s.ServeHTTP(w, r)
	})
}

func listing(owner string) string {
	return `{"object":"list","data":[{"id":"a/b:c d","owned_by":"` + owner + `","max_model_len":8192}]}`
}

func TestServersAreRecognisedByTheirOwnWord(t *testing.T) {
	webui := site{
		"/api/models": `{"data":[{"id":"SURF.Qwen3.5 122B A10B NVFP4","owned_by":"openai"},{"id":"FAST.gpt-oss:120b","owned_by":"ollama"}]}`,
		"/api/config": `{"status":true,"name":"Nebula","version":"0.6.36","features":{"auth":true}}`,
	}
	for name, c := range map[string]struct {
		h        http.Handler
		endpoint string
		profile  string
		version  string
		context  int32 // of the first model
	}{
		"vLLM":           {site{"/v1/models": listing("vllm"), "/version": `{"version":"0.27.1"}`}, "http://s/v1", "vllm", "0.27.1", 8192},
		"SGLang":         {site{"/v1/models": listing("sglang"), "/get_server_info": `{"version":"0.5.2","tp_size":1}`}, "http://s", "sglang", "0.5.2", 8192},
		"TensorRT-LLM":   {site{"/v1/models": `{"data":[{"id":"m","owned_by":"tensorrt_llm"}]}`, "/version": `{"version":"1.0.0"}`}, "s:8000", "trtllm", "1.0.0", 0},
		"llama.cpp":      {site{}.as("/v1/models", transcript(t, "llama-models")), "http://s/v1/", "llamacpp", "", 4096},
		"llama.cpp prop": {site{"/v1/models": `{"data":[{"id":"m","owned_by":"llamacpp"}]}`}.as("/props", transcript(t, "llama-props")), "http://s/v1", "llamacpp", "b11669-Debian", 4096},
		"Ollama":         {site{"/": "Ollama is running", "/api/version": `{"version":"0.17.4"}`, "/api/ps": `{"models":[{"name":"tiny","context_length":4096}]}`}.as("/v1/models", transcript(t, "ollama-models")), "http://s/v1", "ollama", "0.17.4", 4096},
		"Open WebUI":     {webui, "http://s/api/", "openwebui", "0.6.36", 0},
		"at its root":    {webui, "http://s", "openwebui", "0.6.36", 0},
		"TGI":            {site{"/v1/models": listing("org"), "/info": `{"model_id":"m","router":"text-generation-router","version":"3.2.1","max_total_tokens":4096}`}, "http://s", "tgi", "3.2.1", 8192},
		"LiteLLM":        {site{"/v1/models": listing("openai"), "/health/readiness": `{"status":"healthy","litellm_version":"1.50.0"}`}, "http://s", "litellm", "1.50.0", 8192},
		"LM Studio":      {site{"/v1/models": `{"data":[{"id":"m","owned_by":"organization_owner"}]}`, "/api/v0/models": `{"data":[{"id":"m","compatibility_type":"gguf","state":"loaded","loaded_context_length":4096}]}`}, "http://s", "lmstudio", "", 4096},
		"simulated":      {site{"/v1/models": listing("tracer-sim")}, "http://s/v1", "sim", "", 8192},
		"somebody":       {site{"/v1/models": listing("me")}, "http://s/v1", "generic", "", 8192},
		"OpenAI itself":  {site{"/v1/models": `{"data":[{"id":"a/b:c d","owned_by":"openai"}]}`}, "http://s/v1", "generic", "", 0},
		"nobody":         {site{}, "http://s/v1", "generic", "", 0},
		"under a path":   {site{"/llm/v1/models": listing("vllm"), "/llm/version": `{"version":"0.9"}`}, "http://s/llm/v1/chat/completions", "vllm", "0.9", 8192},
		"pages only":     {site{"/v1/models": "<html>", "/api/config": "<html>", "/info": "[]", "/": "<html>"}, "http://s/v1", "generic", "", 0},
	} {
		bubble(t, func(t *testing.T) {
			info, err := Detect(t.Context(), Config{Endpoint: c.endpoint, Dial: serve(t, c.h)})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if info.Profile.Name != c.profile || info.Version != c.version || info.Evidence == "" {
				t.Errorf("%s: %s %q by %q", name, info.Profile.Name, info.Version, info.Evidence)
			}
			if len(info.Models) > 0 && info.Models[0].MaxContext.V != c.context {
				t.Errorf("%s: context %v", name, info.Models[0].MaxContext)
			}
			if _, found := info.Find(map[bool]string{true: "tiny", false: "a/b:c d"}[name == "Ollama"]); !found && strings.Contains("vLLM SGLang TGI LiteLLM Ollama", name) {
				t.Errorf("%s: models %v", name, info.Models)
			}
		})
	}
}

func TestProfileThatIsNamedIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := site{"/v1/models": listing("vllm"), "/info": `{"version":"9"}`}
		info, err := Detect(t.Context(), Config{Endpoint: "http://s", Dial: serve(t, h), Profile: profileNamed("tgi")})
		if err != nil || info.Profile.Name != "tgi" || info.Version != "9" || len(info.Models) != 1 {
			t.Errorf("%+v, %v", info, err)
		}
	})
}

func TestDetectSaysWhatIsWrong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		refused := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("connection refused") }
		_, err := Detect(t.Context(), Config{Endpoint: "http://u:hush@s:1/v1?k=hush", Dial: refused})
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "http://s:1/v1") || strings.Contains(err.Error(), "hush") {
			t.Errorf("error %v", err)
		}
		info, err := Detect(t.Context(), Config{Endpoint: "http://s", Dial: serve(t, site{}.as("/v1/models", transcript(t, "llama-401")))})
		if !errors.Is(err, ErrKeyRefused) || info.Profile.Name != "llamacpp" {
			t.Errorf("%s, error %v", info.Profile.Name, err)
		}
		for _, endpoint := range []string{"", "ftp://s/v1", "http://", "http://u:hush@[::1/v1", "://hush"} {
			if _, err := Detect(t.Context(), Config{Endpoint: endpoint}); err == nil || strings.Contains(err.Error(), "hush") {
				t.Errorf("%q: error %v", endpoint, err)
			}
		}
	})
}

func TestProfilesAreFoundByName(t *testing.T) {
	for _, name := range Names() {
		if p, err := ProfileByName(strings.ToUpper(name)); err != nil || p.Name != name || p.Base == "" {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	_, err := ProfileByName("vlm")
	if err == nil || !strings.Contains(err.Error(), "vllm, sglang") {
		t.Errorf("error %v", err)
	}
	for _, s := range signs {
		profileNamed(s.profile) // panics where a sign names no profile
	}
}

func TestTokensAreCountedByTheServersOwnTokeniser(t *testing.T) {
	for name, c := range map[string]struct {
		h    http.Handler
		path string
		want int32
	}{
		"llamacpp": {transcript(t, "llama-tokenize"), "/tokenize", 7},
		"vllm":     {refuses(200, `{"count":3,"max_model_len":8192,"tokens":[1,2,3]}`), "/tokenize", 3},
		"tgi":      {refuses(200, `[{"id":1,"text":"a"},{"id":2,"text":"b"}]`), "/tokenize", 2},
		"trtllm":   {refuses(200, `{"count":5}`), "/_internal/tokenize", 5},
	} {
		bubble(t, func(t *testing.T) {
			o := &overhear{h: c.h}
			got, err := client(t, o, func(cfg *Config) { cfg.Profile = profileNamed(name) }).CountTokens(t.Context(), "some text")
			if err != nil || got != c.want || o.paths[0] != c.path || o.bodies[0][profileNamed(name).TokenizeField] != "some text" {
				t.Errorf("%s: %d, %v: asked %s for %v", name, got, err, o.paths[0], o.bodies[0])
			}
		})
	}
	bubble(t, func(t *testing.T) {
		if _, err := client(t, site{}, nil).CountTokens(t.Context(), "x"); !errors.Is(err, ErrNoTokenizer) {
			t.Errorf("error %v", err)
		}
		for _, h := range []http.Handler{site{}, refuses(200, "{}"), refuses(200, "<html>")} {
			c := client(t, h, func(cfg *Config) { cfg.Profile = profileNamed("vllm") })
			if n, err := c.CountTokens(t.Context(), "x"); err == nil {
				t.Errorf("%d tokens", n)
			}
		}
	})
}

func TestClientNeedsAModelAndAProfile(t *testing.T) {
	good := Config{Endpoint: "http://s/v1", Profile: Generic(), Model: "m"}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for _, spoil := range []func(*Config){
		func(c *Config) { c.Model = "" },
		func(c *Config) { c.Profile = Profile{} },
		func(c *Config) { c.Endpoint = "" },
		func(c *Config) { c.MaxTotalBytes = 1 << 31 },
	} {
		bad := good
		spoil(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("no error for %v", bad)
		}
	}
}

func TestEndpointsAreReadAsPeopleWriteThem(t *testing.T) {
	for raw, want := range map[string]string{
		"http://s:8000":                        "http://s:8000/v1",
		"s:8000":                               "http://s:8000/v1",
		"http://s/v1/":                         "http://s/v1",
		"https://s/api":                        "https://s/api",
		"https://u:p@s/v1?k=v#f":               "https://s/v1",
		"http://s/v1/chat/completions":         "http://s/v1",
		" http://s/llm/v1 ":                    "http://s/llm/v1",
		"http://[::1]:8000":                    "http://[::1]:8000/v1",
		"http://s/openai/chat/completions?a=b": "http://s/openai",
	} {
		c, err := New(Config{Endpoint: raw, Profile: Generic(), Model: "m"})
		if err != nil || c.Endpoint() != want {
			t.Errorf("%q: %v, want %s", raw, err, want)
		}
	}
}
