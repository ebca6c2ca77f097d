package nebula

import (
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// unanswered is why no response came, with the mend where one is known.
func unanswered(err error) string {
	if asked, ok := errors.AsType[*url.Error](err); ok {
		err = asked.Err // the URL around it may hold credentials
	}
	if mend := mendOf(err); mend != "" {
		return err.Error() + "; " + mend
	}
	return err.Error()
}

func mendOf(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "name the certificate of the CA that signed it with --ca"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "give a name that the certificate has as the endpoint's host"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "renew the server's certificate, or set this machine's clock"
	}
	for _, known := range []struct{ words, mend string }{
		{"server gave HTTP response to HTTPS client", "the server speaks no TLS there: give http:// in the endpoint"},
		{"first record does not look like a TLS handshake", "the server speaks no TLS there: give http:// in the endpoint"},
		{"tls: certificate required", "give a client certificate with --client-cert and --client-key"},
		{"tls: bad certificate", "the server does not accept the client certificate: give another with --client-cert and --client-key"},
		{"tls: unknown certificate authority", "the server does not know the CA of the client certificate: give another with --client-cert and --client-key"},
		{"tls: no application protocol", "the server speaks no HTTP/1.1, which tracer needs: switch that on"},
		{"malformed HTTP", "give the address of an HTTP server"},
	} {
		if strings.Contains(err.Error(), known.words) {
			return known.mend
		}
	}
	return ""
}

// misled is what is wrong with an endpoint whose server answers, but points elsewhere; empty where nothing is.
func misled(status int, header http.Header, page []byte, asked *url.URL) string {
	if target, err := url.Parse(header.Get("Location")); err == nil && status/100 == 3 && header.Get("Location") != "" {
		target = asked.ResolveReference(target)
		if sameHost(target, asked) {
			return "the server redirects in circles, or to where a question would lose its text; give the path that it redirects to"
		}
		return "the server redirects to " + (&url.URL{Scheme: target.Scheme, Host: target.Host}).String() + "; give that as the endpoint if you trust it"
	}
	if status == http.StatusBadRequest && mentions(string(page), []string{"http request to an https server", "plain http request was sent to https port"}) {
		return "the server speaks TLS there; give https:// in the endpoint"
	}
	return ""
}

// proxySecrets are the texts in the proxies' URLs that must not come back in anybody's words.
func proxySecrets() (all []string) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		proxy := os.Getenv(name)
		if proxy != "" && !strings.Contains(proxy, "://") {
			proxy = "http://" + proxy
		}
		if u, err := url.Parse(proxy); err == nil {
			all = append(all, secretsIn(u)...)
		}
	}
	return all
}
