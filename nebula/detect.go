package nebula

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

// ServerInfo is what a server says about itself.
type ServerInfo struct {
	Profile  Profile
	Evidence string // what the profile was recognised by
	Version  string // of the engine; empty where it does not say
	Endpoint string // without credentials
	Models   []ModelInfo
}

// ModelInfo is one model that a server lists.
type ModelInfo struct {
	ID         string
	MaxContext schema.Opt[int32] // tokens
}

// What Detect's errors wrap.
var (
	ErrUnreachable = errors.New("no answer")
	ErrUnusable    = errors.New("no usable answer") // and what to do about it
	ErrKeyRefused  = errors.New("the server refuses the key")
)

// maxName bounds a model's name, which stands in every row and becomes a folder's name.
const maxName = 200

// CheckName says what speaks against a model's name: it goes to screens, into rows and into paths.
func CheckName(model string) error {
	if len(model) > maxName {
		return fmt.Errorf("the model's name %.40q… has %d bytes, more than %d; have the server give it another", model, len(model), maxName)
	}
	if printable(model) != model {
		return fmt.Errorf("the model's name %q holds characters that cannot be printed; have the server give it another", model)
	}
	return nil
}

// Find returns the model of that name. Ollama lists a model as NAME:latest that is asked for as NAME.
func (i ServerInfo) Find(model string) (ModelInfo, bool) {
	for _, m := range i.Models {
		if m.ID == model || m.ID == model+":latest" {
			return m, true
		}
	}
	return ModelInfo{}, false
}

// Detect asks a server what it is. Of cfg it needs the endpoint and the key; a profile that is set is kept, and only the
// version, the models and the context are asked. A server that shows no known sign gets the generic profile, and the
// evidence says so. It is an error when nothing answers, or when the key is refused.
func Detect(ctx context.Context, cfg Config) (ServerInfo, error) {
	e, err := parseEndpoint(cfg.Endpoint)
	if err != nil {
		return ServerInfo{}, err
	}
	transport := newTransport(cfg.Dial, cfg.TLS)
	a := &asker{
		endpoint: e, key: cfg.Key, censor: newCensor(e.secrets(cfg.Key)), pages: make(map[string]*page),
		http: &http.Client{Transport: transport, CheckRedirect: sameServer, Timeout: 30 * time.Second},
	}
	info, err := a.detect(ctx, cfg.Profile)
	if err == nil {
		err = a.unreachable
	}
	info.Endpoint = e.shown(e.under(info.Profile))
	if err != nil {
		return info, fmt.Errorf("asking %s what it is: %w", info.Endpoint, err)
	}
	return info, nil
}

func (a *asker) detect(ctx context.Context, given Profile) (ServerInfo, error) {
	var info ServerInfo
	models := a.models(ctx, given)
	if a.unreachable != nil { // reported by the caller
		return info, nil //nolint:nilerr // see above
	}
	s, evidence := recognise(ctx, a, models, given)
	info.Profile, info.Evidence = given, "named by the user"
	if given.Name == "" {
		info.Profile, info.Evidence = profileNamed(s.profile), evidence
	}
	if !models.listed() {
		models = a.models(ctx, info.Profile) // elsewhere, now that the profile is known
	}
	if s.version != nil {
		info.Version = a.censor.clean(s.version(ctx, a))
	}
	if s.context != nil {
		models.fillContext(s.context(ctx, a))
	}
	info.Models = models.list
	if models.misled != "" {
		return info, fmt.Errorf("%w: %s", ErrUnusable, a.censor.clean(models.misled))
	}
	if models.status == http.StatusUnauthorized || models.status == http.StatusForbidden {
		return info, fmt.Errorf("%w (HTTP %d); check it", ErrKeyRefused, models.status)
	}
	return info, nil
}

// recognise finds the sign that the server shows, or that of the profile that is given.
func recognise(ctx context.Context, a *asker, models *modelList, given Profile) (s sign, evidence string) {
	for _, s := range signs {
		if given.Name != "" {
			if s.profile == given.Name {
				return s, ""
			}
			continue
		}
		if evidence := s.seen(ctx, a, models); evidence != "" {
			return s, evidence
		}
	}
	return sign{profile: Generic().Name}, "no sign of a known server"
}

// asker asks a server's own paths, each once.
type asker struct {
	endpoint    endpoint
	key         Key
	censor      censor
	http        *http.Client
	pages       map[string]*page
	unreachable error // the first request found nobody
}

// page is one answer, empty where there was none.
type page struct {
	status int
	header http.Header
	body   []byte
	misled string // what is wrong with the endpoint
}

// maxPageBytes bounds what is read of a server's own paths; a list of some ten thousand models is shorter.
const maxPageBytes = 4 << 20

// get asks for a path below the root.
func (a *asker) get(ctx context.Context, path string) *page {
	path = a.endpoint.root + path
	if p, found := a.pages[path]; found {
		return p
	}
	p := &page{header: make(http.Header)}
	a.pages[path] = p
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.endpoint.at(path), nil)
	if err != nil {
		return p
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "tracer")
	a.key.authorize(request)
	response, err := a.http.Do(request)
	if err != nil {
		if len(a.pages) == 1 || ctx.Err() != nil {
			kind := ErrUnreachable
			if mendOf(err) != "" {
				kind = ErrUnusable
			}
			a.unreachable = fmt.Errorf("%w: %s", kind, a.censor.clean(unanswered(err)))
		}
		return p
	}
	defer response.Body.Close()
	p.status, p.header = response.StatusCode, response.Header
	p.body, _ = io.ReadAll(io.LimitReader(response.Body, maxPageBytes)) // a page cut short recognises nothing
	p.misled = misled(p.status, p.header, p.body, response.Request.URL)
	return p
}

// json decodes a page that is a success; into stays as it is otherwise.
func (p *page) json(into any) bool {
	return p.status == http.StatusOK && unmarshalLoosely(p.body, into) == nil
}

// modelList is the answer to a listing of models.
type modelList struct {
	*page
	list   []ModelInfo
	owners []string
}

func (l *modelList) listed() bool { return l.status == http.StatusOK && l.list != nil }

func (l *modelList) ownedBy(owner string) bool { return slices.Contains(l.owners, owner) }

// fillContext gives the context that the server told for all it serves to models that have none of their own.
func (l *modelList) fillContext(tokens schema.Opt[int32]) {
	for i := range l.list {
		l.list[i].MaxContext = first(l.list[i].MaxContext, tokens)
	}
}

// models lists the models where the endpoint says or, where it says nothing, at the profile's or each usual place.
func (a *asker) models(ctx context.Context, p Profile) *modelList {
	places := []string{"/v1", "/api"}
	switch {
	case a.endpoint.base != "":
		places = []string{strings.TrimPrefix(a.endpoint.base, a.endpoint.root)}
	case p.Name != "":
		places = []string{p.Base}
	}
	var best *modelList
	for _, place := range places {
		l := readModels(a.get(ctx, place+"/models"))
		if l.listed() || a.unreachable != nil {
			return l
		}
		if best == nil || best.status == http.StatusNotFound {
			best = l
		}
	}
	return best
}

func readModels(p *page) *modelList {
	l := &modelList{page: p}
	var listing struct {
		Data []struct {
			ID          string   `json:"id"`
			OwnedBy     string   `json:"owned_by"`
			MaxModelLen *float64 `json:"max_model_len"` // vLLM, SGLang
			Meta        struct {
				NCtx *float64 `json:"n_ctx"` // llama.cpp
			} `json:"meta"`
		} `json:"data"`
	}
	if !bytes.Contains(p.body, []byte(`"data"`)) || !p.json(&listing) {
		return l
	}
	l.list = make([]ModelInfo, 0, len(listing.Data))
	for _, m := range listing.Data {
		l.list = append(l.list, ModelInfo{ID: m.ID, MaxContext: first(counted(m.MaxModelLen), counted(m.Meta.NCtx))})
		l.owners = append(l.owners, m.OwnedBy)
	}
	return l
}

// text is a field of a page that is a JSON object; empty where it is missing or no text.
func (p *page) text(field string) string {
	var object map[string]json.RawMessage
	var text string
	if !p.json(&object) || json.Unmarshal(object[field], &text) != nil {
		return ""
	}
	return text
}
