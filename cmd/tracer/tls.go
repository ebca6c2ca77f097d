package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// tlsFlags are how an https endpoint is trusted, and how it is shown who asks.
type tlsFlags struct {
	CA         string `name:"ca" placeholder:"PATH" help:"PEM file of CAs to trust beside the system's, for an https endpoint."`
	ClientCert string `name:"client-cert" placeholder:"PATH" help:"PEM file of the certificate to show to an https endpoint, with those of its CAs if need be."`
	ClientKey  string `name:"client-key" placeholder:"PATH" help:"PEM file of that certificate's private key."`
	Insecure   bool   `help:"Do not check an https endpoint's certificate: whoever sits on the way can read key and prompts and answer in its place."`
}

// tls is nil where nothing is asked of it. The private key is in no error: they name files.
func (f tlsFlags) tls() (*tls.Config, error) {
	if f == (tlsFlags{}) {
		return nil, nil //nolint:nilnil // the transport's own way to say: the defaults
	}
	if f.Insecure && f.CA != "" {
		return nil, usage("--insecure with --ca: a certificate that is not checked needs no CA; leave one of them out")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.Insecure} // --insecure says what it does
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, usage("--ca: %w; name a readable PEM file", err)
		}
		if c.RootCAs, err = x509.SystemCertPool(); err != nil {
			c.RootCAs = x509.NewCertPool()
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usage("--ca: %s holds no certificate; name a PEM file with -----BEGIN CERTIFICATE-----", f.CA)
		}
	}
	switch {
	case f.ClientCert == "" && f.ClientKey == "":
	case f.ClientKey == "":
		return nil, usage("--client-cert without --client-key: name the certificate's private key too")
	case f.ClientCert == "":
		return nil, usage("--client-key without --client-cert: name the key's certificate too")
	default:
		pair, err := tls.LoadX509KeyPair(f.ClientCert, f.ClientKey)
		if err != nil {
			return nil, usage("--client-cert %s, --client-key %s: %w; name a PEM certificate and its own, unencrypted key", f.ClientCert, f.ClientKey, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// warn says at the start, and by what it returns at the end, that nobody knows who answered.
func (f tlsFlags) warn(t *terminal) (again func()) {
	if !f.Insecure {
		return func() {}
	}
	fmt.Fprintln(t.err, "WARNING: --insecure: the server's certificate is not checked; whoever sits on the way can read key and prompts and answer in its place")
	return func() {
		fmt.Fprintln(t.err, "WARNING: --insecure: nobody checked who answered")
	}
}
