package nebula

import (
	"fmt"
	"slices"
	"strings"
)

// Profile is what one kind of server must be sent, beyond what all of them understand. Answers are read the same way
// from every server: any of the fields for content, reasoning, usage and timing counts wherever it turns up.
type Profile struct {
	Name string
	Base string // where chat/completions and models lie when the endpoint has no path

	Usage bool // stream_options.include_usage makes the stream end in a usage chunk

	// An answer of exactly so many tokens.
	IgnoreEOS bool // ignore_eos: the end-of-sequence token does not end the answer
	MinTokens bool // min_tokens

	// A prompt that no earlier prompt has prefilled. Where the server has no field for it, every request begins with words
	// of its own instead: Config.Reopen.
	CacheSalt   bool // a random cache_salt
	CachePrompt bool // cache_prompt: false
	Uncached    bool // the server keeps no prefix cache

	Metrics bool // include_metrics asks vLLM 0.25 for the timings that later versions volunteer
	Options bool // Ollama's own options{num_predict, num_ctx, temperature, seed}, which Open WebUI passes on

	Tokenize      string // path below the root that counts a text's tokens; empty where there is none
	TokenizeField string // the text's field there
	NoSpecial     bool   // add_special_tokens: false is understood there
}

// DefeatsCache says whether the server can be told, or need not be told, to prefill every prompt anew.
func (p Profile) DefeatsCache() bool { return p.fresh(full) }

func (p Profile) fresh(d dress) bool {
	return p.Uncached || d == full && (p.CacheSalt || p.CachePrompt)
}

// profiles are all that are known. Sources: the servers' own documentation and code; those marked * were also
// seen live (llama.cpp b11669, Ollama 0.17.4).
var profiles = []Profile{
	{
		Name: "vllm", Base: "/v1", Usage: true, IgnoreEOS: true, MinTokens: true, CacheSalt: true, Metrics: true,
		Tokenize: "/tokenize", TokenizeField: "prompt", NoSpecial: true,
	},
	{
		Name: "sglang", Base: "/v1", Usage: true, IgnoreEOS: true, MinTokens: true, CacheSalt: true,
		Tokenize: "/tokenize", TokenizeField: "prompt", NoSpecial: true,
	},
	{Name: "llamacpp", Base: "/v1", Usage: true, IgnoreEOS: true, CachePrompt: true, Tokenize: "/tokenize", TokenizeField: "content"}, // *
	{
		Name: "trtllm", Base: "/v1", Usage: true, IgnoreEOS: true, MinTokens: true, CacheSalt: true,
		Tokenize: "/_internal/tokenize", TokenizeField: "prompt",
	},
	{Name: "tgi", Base: "/v1", Usage: true, Tokenize: "/tokenize", TokenizeField: "inputs"},
	{Name: "openwebui", Base: "/api", Usage: true, Options: true},
	{Name: "ollama", Base: "/v1", Usage: true}, // *
	{Name: "litellm", Base: "/v1", Usage: true},
	{Name: "lmstudio", Base: "/v1", Usage: true},
	{ // the simulated server of this project
		Name: "sim", Base: "/v1", Usage: true, IgnoreEOS: true, MinTokens: true, Uncached: true,
		Tokenize: "/tokenize", TokenizeField: "content",
	},
	{Name: "rig", Base: "/v1", Usage: true, Uncached: true}, // this project's server for tests on a GPU
	{Name: "generic", Base: "/v1", Usage: true},
}

// Generic is the profile of a server of which nothing is known: plain OpenAI fields only.
func Generic() Profile { return profiles[len(profiles)-1] }

// Names lists the profiles.
func Names() []string {
	names := make([]string, len(profiles))
	for i, p := range profiles {
		names[i] = p.Name
	}
	return names
}

// ProfileByName finds a profile, whatever the case of its letters.
func ProfileByName(name string) (Profile, error) {
	i := slices.IndexFunc(profiles, func(p Profile) bool { return strings.EqualFold(p.Name, name) })
	if i < 0 {
		return Profile{}, fmt.Errorf("no server profile %q; there are %s", name, strings.Join(Names(), ", "))
	}
	return profiles[i], nil
}

func profileNamed(name string) Profile {
	p, err := ProfileByName(name)
	if err != nil {
		panic(err) // names written in this package
	}
	return p
}
