package nebula

import (
	"bytes"
	"context"
	"net/http"
	"strings"

	"github.com/llm-tracer/tracer/schema"
)

// sign is how a kind of server is recognised: by a word that only it says.
type sign struct {
	profile string
	seen    func(context.Context, *asker, *modelList) (evidence string)
	version func(context.Context, *asker) string            // nil where nothing says it
	context func(context.Context, *asker) schema.Opt[int32] // for all that it serves
}

// signs are tried in turn. The first ones cost no further request; proxies come before what they may stand in front of.
var signs = []sign{
	{profile: "litellm", seen: seesLiteLLM, version: litellmVersion},
	{profile: "vllm", seen: owned("vllm"), version: versionAt("/version")},
	{profile: "sglang", seen: owned("sglang"), version: versionAt("/server_info", "/get_server_info")},
	{profile: "trtllm", seen: owned("tensorrt_llm"), version: versionAt("/version")},
	{profile: "sim", seen: owned("tracer-sim")},
	{profile: "rig", seen: owned("tracer-rig")},
	{profile: "llamacpp", seen: seesLlamaCpp, version: llamaVersion, context: llamaContext},
	{profile: "openwebui", seen: seesOpenWebUI, version: versionAt("/api/config")},
	{profile: "ollama", seen: seesOllama, version: versionAt("/api/version"), context: ollamaContext},
	{profile: "tgi", seen: seesTGI, version: versionAt("/info"), context: tgiContext},
	{profile: "lmstudio", seen: seesLMStudio, context: lmstudioContext},
}

// owned recognises a server that names itself as its models' owner.
func owned(owner string) func(context.Context, *asker, *modelList) string {
	return func(_ context.Context, _ *asker, l *modelList) string {
		if !l.ownedBy(owner) {
			return ""
		}
		return "models owned by " + owner
	}
}

// versionAt is the version that the first of the paths tells.
func versionAt(paths ...string) func(context.Context, *asker) string {
	return func(ctx context.Context, a *asker) string {
		for _, path := range paths {
			if v := a.get(ctx, path).text("version"); v != "" {
				return v
			}
		}
		return ""
	}
}

func seesLiteLLM(ctx context.Context, a *asker, l *modelList) string {
	for name := range l.header {
		if strings.HasPrefix(name, "X-Litellm-") {
			return "x-litellm headers"
		}
	}
	if !l.ownedBy("openai") { // what LiteLLM says of every model, and few others do
		return ""
	}
	if litellmVersion(ctx, a) != "" {
		return "litellm_version at /health/readiness"
	}
	return ""
}

func litellmVersion(ctx context.Context, a *asker) string {
	ready := a.get(ctx, "/health/readiness")
	if v := ready.text("litellm_version"); v != "" {
		return v
	}
	return ready.header.Get("X-Litellm-Version")
}

func seesLlamaCpp(_ context.Context, _ *asker, l *modelList) string {
	switch {
	case strings.Contains(l.header.Get("Server"), "llama.cpp"):
		return "Server: llama.cpp"
	case l.ownedBy("llamacpp"):
		return "models owned by llamacpp"
	default:
		return ""
	}
}

func llamaVersion(ctx context.Context, a *asker) string {
	return a.get(ctx, "/props").text("build_info")
}

func llamaContext(ctx context.Context, a *asker) schema.Opt[int32] {
	var props struct {
		Settings struct {
			NCtx *float64 `json:"n_ctx"`
		} `json:"default_generation_settings"`
	}
	a.get(ctx, "/props").json(&props)
	return counted(props.Settings.NCtx)
}

// seesOpenWebUI looks for its configuration rather than its name, which every site changes.
func seesOpenWebUI(ctx context.Context, a *asker, _ *modelList) string {
	var config struct {
		Name     string         `json:"name"`
		Version  string         `json:"version"`
		Features map[string]any `json:"features"`
	}
	if a.get(ctx, "/api/config").json(&config) && config.Name != "" && config.Version != "" && config.Features != nil {
		return "Open WebUI's /api/config"
	}
	return ""
}

func seesOllama(ctx context.Context, a *asker, _ *modelList) string {
	if p := a.get(ctx, "/"); p.status == http.StatusOK && bytes.HasPrefix(p.body, []byte("Ollama is running")) {
		return `"Ollama is running"`
	}
	return ""
}

// ollamaContext is that of the model that is loaded: what is not loaded yet may get another.
func ollamaContext(ctx context.Context, a *asker) schema.Opt[int32] {
	var running struct {
		Models []struct {
			ContextLength *float64 `json:"context_length"`
		} `json:"models"`
	}
	if a.get(ctx, "/api/ps").json(&running) && len(running.Models) == 1 {
		return counted(running.Models[0].ContextLength)
	}
	return schema.Opt[int32]{}
}

func seesTGI(ctx context.Context, a *asker, _ *modelList) string {
	if strings.HasPrefix(a.get(ctx, "/info").text("router"), "text-generation-router") {
		return "text-generation-router at /info"
	}
	return ""
}

func tgiContext(ctx context.Context, a *asker) schema.Opt[int32] {
	var info struct {
		MaxTotalTokens *float64 `json:"max_total_tokens"`
	}
	a.get(ctx, "/info").json(&info)
	return counted(info.MaxTotalTokens)
}

type lmstudioModels struct {
	Data []struct {
		Compatibility string   `json:"compatibility_type"`
		State         string   `json:"state"`
		Loaded        *float64 `json:"loaded_context_length"`
	} `json:"data"`
}

func seesLMStudio(ctx context.Context, a *asker, _ *modelList) string {
	var models lmstudioModels
	if a.get(ctx, "/api/v0/models").json(&models) && len(models.Data) > 0 && models.Data[0].Compatibility != "" {
		return "LM Studio's /api/v0/models"
	}
	return ""
}

func lmstudioContext(ctx context.Context, a *asker) schema.Opt[int32] {
	var models lmstudioModels
	a.get(ctx, "/api/v0/models").json(&models)
	for _, m := range models.Data {
		if m.State == "loaded" {
			return counted(m.Loaded)
		}
	}
	return schema.Opt[int32]{}
}
