// Package bucket is a dataset in an object store: the same keys as a dataset's paths, each written once and never again.
//
// A run is in a local dataset first, its spool. Push puts its files into the store, create-only, and the manifest last: a
// reader that goes by manifests finds a run whole or not at all, and a push that broke off is repeated, for the same bytes
// under the same key are no conflict. View is the way back: what the manifests name, as a folder that readers open like any
// other dataset. Objects are kept in a cache under their checksums.
package bucket

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/llm-tracer/tracer/schema"
)

// ErrLocation is a URL that names no place in an object store.
var ErrLocation = errors.New("no place in an object store")

// parameters are the queries that a URL may have, by scheme, under gocloud.dev's names. None holds a secret.
var parameters = map[string][]string{
	"s3":     {"anonymous", "endpoint", "profile", "region", "use_path_style"},
	"gs":     {"anonymous", "universe_domain"},
	"azblob": {"cdn", "domain", "localemu", "protocol", "storage_account"},
}

// Location is a dataset's place in an object store: scheme, bucket, prefix and how to get there, without any secret.
type Location struct {
	url    url.URL
	prefix string // of every key: empty, or with a slash at its end
}

// IsRemote says whether the user means a URL rather than a folder.
func IsRemote(text string) bool { return strings.Contains(text, "://") }

// Parse reads s3://bucket/prefix, gs://bucket/prefix or azblob://container/prefix. Its errors hold nothing of what may be a
// secret in the text.
func Parse(text string) (Location, error) {
	scheme, _, _ := strings.Cut(text, "://")
	known, ok := parameters[scheme]
	if !ok {
		return Location{}, fmt.Errorf("%w: the URL begins with %.20q; there are s3://, gs:// and azblob://, or name a folder", ErrLocation, scheme+"://")
	}
	u, err := url.Parse(text)
	if err != nil {
		return Location{}, fmt.Errorf("%w: a URL is %s://BUCKET/PREFIX", ErrLocation, scheme) // the cause would quote the text
	}
	if u.User != nil {
		return Location{}, fmt.Errorf("%w: the URL holds a user or key, which others can read; leave it out and set it in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)", ErrLocation)
	}
	if u.Host == "" || u.Port() != "" || u.Fragment != "" {
		return Location{}, fmt.Errorf("%w: a URL is %s://BUCKET/PREFIX", ErrLocation, scheme)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Location{}, fmt.Errorf("%w: what follows the ? in the URL is no query", ErrLocation)
	}
	for name := range query {
		if !slices.Contains(known, name) {
			return Location{}, fmt.Errorf("%w: %s:// knows no ?%.40s=; there are %s", ErrLocation, scheme, url.QueryEscape(name), strings.Join(known, ", "))
		}
	}
	if endpoint := query.Get("endpoint"); endpoint != "" {
		at, err := url.Parse(endpoint)
		if err != nil || at.Host == "" || at.User != nil {
			return Location{}, fmt.Errorf("%w: ?endpoint= is a URL without user and key, such as http://127.0.0.1:9000", ErrLocation)
		}
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" && (prefix != path.Clean(prefix) || prefix == "." || prefix == ".." || strings.HasPrefix(prefix, "../")) {
		return Location{}, fmt.Errorf("%w: the prefix %.200q is no plain path", ErrLocation, prefix)
	}
	l := Location{url: url.URL{Scheme: scheme, Host: u.Host, RawQuery: query.Encode()}, prefix: prefix}
	if prefix != "" {
		l.prefix += "/"
	}
	return l, nil
}

// String is the URL, which may be given again.
func (l Location) String() string {
	if l.url.RawQuery == "" {
		return l.Plain()
	}
	return l.Plain() + "?" + strings.NewReplacer("%3A", ":", "%2F", "/").Replace(l.url.RawQuery) // as it is written by hand
}

// Plain is the URL as other programs take it, without query.
func (l Location) Plain() string {
	return strings.TrimSuffix(l.url.Scheme+"://"+l.url.Host+"/"+l.prefix, "/")
}

// Folder is a name for what is kept locally of this place: of the same place always the same, and of no other.
func (l Location) Folder() string {
	sum := sha256.Sum256([]byte(l.String()))
	name := schema.Slug(l.url.Host + "/" + strings.TrimSuffix(l.prefix, "/"))
	return name[:min(len(name), 80)] + "-" + hex.EncodeToString(sum[:4])
}
