package nebula

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// DefaultEndpoint is the university's own service.
const DefaultEndpoint = "https://nebula.cs.vu.nl/api"

// ErrEndpoint says that an endpoint is no address of a server, whether or not one runs.
var ErrEndpoint = errors.New("reading the endpoint")

// endpoint is where a server is: root is the path that its own probes hang on, base the one of chat/completions.
type endpoint struct {
	url  url.URL // path empty; user and query as given, for requests only
	root string
	base string // empty when the path was not given: the profile decides
}

// CheckEndpoint says what is wrong with an endpoint, before anything is asked there.
func CheckEndpoint(raw string) error {
	_, err := parseEndpoint(raw)
	return err
}

// parseEndpoint reads a server's URL as people write it: with or without a scheme, a final slash, or the whole path of
// chat/completions. Its errors do not repeat the URL, which may hold a password.
func parseEndpoint(raw string) (endpoint, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" {
		return endpoint{}, fmt.Errorf("%w: it is empty; give a URL such as http://localhost:8000/v1", ErrEndpoint)
	}
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return endpoint{}, fmt.Errorf("%w: it is no http or https URL; give one such as http://localhost:8000/v1", ErrEndpoint)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return endpoint{}, fmt.Errorf("%w: there is no port %s", ErrEndpoint, port)
		}
	}
	path := strings.TrimRight(u.Path, "/")
	path = strings.TrimRight(strings.TrimSuffix(path, "/chat/completions"), "/")
	e := endpoint{url: *u, base: path, root: path}
	for _, suffix := range []string{"/v1", "/api"} {
		if root, found := strings.CutSuffix(path, suffix); found {
			e.root = root
			break
		}
	}
	e.url.Path, e.url.RawPath, e.url.Fragment, e.url.RawFragment = "", "", "", ""
	return e, nil
}

// at is the URL for a request below a path of the server.
func (e endpoint) at(path string) string {
	u := e.url
	u.Path = path
	return u.String()
}

// under is the base path for a profile.
func (e endpoint) under(p Profile) string {
	if e.base != "" {
		return e.base
	}
	return p.Base
}

// shown is the URL for people and datasets: no user, no password, no query.
func (e endpoint) shown(base string) string {
	u := url.URL{Scheme: e.url.Scheme, Host: e.url.Host, Path: base}
	return u.String()
}

// secrets are the texts that must not come back in a server's words.
func (e endpoint) secrets(k Key) []string {
	all := append([]string{k.text()}, secretsIn(&e.url)...)
	return slices.DeleteFunc(append(all, proxySecrets()...), func(s string) bool { return s == "" })
}

// secretsIn are the parts of a URL that are nobody else's business, in the forms in which they may come back.
func secretsIn(u *url.URL) (all []string) {
	if user := u.User; user != nil {
		password, _ := user.Password()
		all = append(all, user.String(), password, url.QueryEscape(password), base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
		if password == "" {
			all = append(all, user.Username()) // a token in the user's place
		}
	}
	all = append(all, u.RawQuery, u.Fragment)
	for _, values := range u.Query() {
		for _, v := range values {
			all = append(all, v, url.QueryEscape(v))
		}
	}
	return all
}
