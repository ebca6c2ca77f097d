package nebula

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// FuzzWords shows any page as a refusal: what is told of it is short, printable, and holds no secret.
func FuzzWords(f *testing.F) {
	f.Add([]byte("{\"error\":{\"message\":\"\\u001b[2J\\u202e bad key sk-hush-0123456789\",\"code\":\"429\"}}"), "sk-hush-0123456789", 400)
	f.Add([]byte("{\"detail\":[{\"loc\":[\"body\"]}]}"), "detail-detail", 422)
	f.Add([]byte("\x9b31m\xff\xfe try again in 5 s"), "\xff\xfe try again", 503)
	f.Fuzz(func(t *testing.T, page []byte, secret string, status int) {
		r := refusalIn(page)
		if r == nil {
			r = &refusal{message: string(page)}
		}
		if kind := r.errorType(status); kind == "" || !fit(kind) {
			t.Errorf("type %q", kind)
		}
		if after := retryAfter(http.Header{"Retry-After": {r.message}}, r.message, time.Now()); after < 0 {
			t.Errorf("after %v", after)
		}
		if why := misled(status, http.Header{"Location": {r.message}}, page, &url.URL{Scheme: "http", Host: "server"}); why != "" {
			r.message = why
		}
		secrets := []string{secret}
		if secret == "" {
			secrets = nil
		}
		told := newCensor(secrets).clean(r.message)
		if len(told) > maxWords || !fit(told) {
			t.Errorf("%d bytes: %q", len(told), told)
		}
		if len(secret) >= leastQuoted && printable(secret) == secret && strings.Contains(told, secret) {
			t.Errorf("%q holds %q", told, secret)
		}
	})
}

// fit says whether a text may be printed and stored.
func fit(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// FuzzEndpoint reads any URL as an endpoint: what is shown of it, and of any failure, holds no user, password or query.
func FuzzEndpoint(f *testing.F) {
	f.Add("http", "user", "hush-password", "server:8000", "/v1", "token=hush-query")
	f.Add("https", "", "%68ush%20word", "[::1]", "/api/chat/completions/", "a=%zz&b=c")
	f.Fuzz(func(t *testing.T, scheme, user, password, host, path, query string) {
		password, query = "Pw!"+password, "q="+query
		raw := (&url.URL{Scheme: scheme, User: url.UserPassword(user, password), Host: host, Path: path, RawQuery: query}).String()
		e, err := parseEndpoint(raw)
		if err != nil {
			if strings.Contains(err.Error(), "Pw!") || strings.Contains(err.Error(), raw) {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		shown, parsed := e.shown(e.under(Generic())), e.url
		again, err := url.Parse(shown)
		if err != nil || again.User != nil || again.RawQuery != "" || again.Fragment != "" || again.Host != parsed.Host {
			t.Errorf("%q is shown as %q", raw, shown)
		}
		if decoded, _ := parsed.User.Password(); decoded != "" {
			words := "cannot connect to " + e.at("/v1/models") + " as " + decoded
			if told := newCensor(e.secrets(Key{})).clean(words); strings.Contains(told, printable(decoded)) && len(printable(decoded)) >= leastQuoted && printable(decoded) == decoded {
				t.Errorf("%q is told as %q", words, told)
			}
		}
	})
}
