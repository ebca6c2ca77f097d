package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// onTLS is what drives the faults of TLS.
const onTLS = "fault proxy with TLS, certificates made for the test"

var tlsFaults = []fault{
	refusedTLS("certificate of an unknown CA", "--ca", "certificate signed by unknown authority", "name the certificate of the CA that signed it with --ca", nil, untrusted),
	refusedTLS("expired certificate", "renewing it", "certificate has expired", "renew the server's certificate, or set this machine's clock", func(a *authority, c *tls.Config) {
		c.Certificates[0] = a.issue(time.Now().Add(-time.Hour), "127.0.0.1")
	}),
	refusedTLS("certificate for another name", "the right name", "certificate is valid for 192.0.2.1, not 127.0.0.1", "give a name that the certificate has", func(a *authority, c *tls.Config) {
		c.Certificates[0] = a.issue(time.Now().Add(time.Hour), "192.0.2.1")
	}),
	refusedTLS("client certificate missing", "--client-cert, --client-key", "certificate required", "with --client-cert and --client-key", asksForClients),
	refusedTLS("client certificate of an unknown CA", "another certificate", "tls:", "give another with --client-cert and --client-key", asksForClients, func(t *testing.T, _ *authority, args []string) []string {
		return append(args, newAuthority(t).client()...)
	}),
	refusedTLS("a server of HTTP/2 alone", "HTTP/1.1", "no application protocol", "speaks no HTTP/1.1", func(_ *authority, c *tls.Config) {
		c.NextProtos = []string{"h2-14"} // of a draft: for h2 Go's server makes an exception
	}),
	refusedTLS("https to a server without TLS", "http://", "server gave HTTP response to HTTPS client", "give http:// in the endpoint", func(_ *authority, c *tls.Config) { *c = tls.Config{} }),
	refusedTLS("http to a server with TLS", "https://", "no usable answer", "give https:// in the endpoint", nil, func(_ *testing.T, _ *authority, args []string) []string {
		return append(args, "--endpoint", strings.Replace(args[1], "https", "http", 1))
	}),
	acceptedTLS("own CA", "`--ca`: trusted beside the system's; exit 0", nil),
	acceptedTLS("client certificate asked for", "`--client-cert`, `--client-key`: shown; the key is written nowhere; exit 0", asksForClients, func(_ *testing.T, a *authority, args []string) []string {
		return append(args, a.client()...)
	}),
	acceptedTLS("a server that offers HTTP/2 too", "spoken to in HTTP/1.1, a connection for each request: no GOAWAY or stream reset can reach others; exit 0", func(_ *authority, c *tls.Config) {
		c.NextProtos = []string{"h2", "http/1.1"}
	}),
	acceptedTLS("unknown CA with `--insecure`", "a warning at start and end, `insecure` in `runs`; exit 0", nil, insecurely),
}

// authority is a CA, whose files are in a folder.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, dir: t.TempDir(), key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a CA for tests"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(name, kind string, der []byte) (path string) {
	a.t.Helper()
	path = filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// issue makes a certificate for an address, and its files.
func (a *authority) issue(until time.Time, ip string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, IPAddresses: []net.IP{net.ParseIP(ip)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(a.write("cert.pem", "CERTIFICATE", der), a.write("key.pem", "PRIVATE KEY", pkcs8))
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

// client are the flags of a client certificate that the authority signed.
func (a *authority) client() []string {
	a.issue(time.Now().Add(time.Hour), "127.0.0.2")
	return []string{"--client-cert", filepath.Join(a.dir, "cert.pem"), "--client-key", filepath.Join(a.dir, "key.pem")}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func asksForClients(a *authority, c *tls.Config) {
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, a.pool()
}

// flagged changes the flags of a run, which are --endpoint URL --ca PATH to begin with.
type flagged func(t *testing.T, a *authority, args []string) []string

func untrusted(_ *testing.T, _ *authority, args []string) []string { return args[:2] }

func insecurely(_ *testing.T, _ *authority, args []string) []string {
	return append(args[:2], "--insecure")
}

// overTLS is a proxy with TLS before the simulated server, and the flags to reach it.
func overTLS(t *testing.T, adjust func(*authority, *tls.Config), flags ...flagged) (p *faultProxy, args, env []string) {
	t.Helper()
	url, env := simulatedServer(t)
	a := newAuthority(t)
	p = &faultProxy{t: t, addr: "127.0.0.1:0"}
	p.moved(url)
	p.secure = &tls.Config{Certificates: []tls.Certificate{a.issue(time.Now().Add(time.Hour), "127.0.0.1")}}
	if adjust != nil {
		adjust(a, p.secure)
	}
	if len(p.secure.Certificates) == 0 {
		p.secure = nil // it was taken away
	}
	p.up()
	args = []string{"--endpoint", strings.Replace(p.endpoint(), "http:", "https:", 1), "--ca", filepath.Join(a.dir, "ca.pem")}
	for _, f := range flags {
		args = f(t, a, args)
	}
	return p, args, env
}

// refusedTLS is a fault that keeps a run from beginning, and is told by every command that asks a server.
func refusedTLS(name, mend, why, does string, adjust func(*authority, *tls.Config), flags ...flagged) fault {
	return fault{name, onTLS, "told with its mend (" + mend + "), by collect and doctor alike; nothing is written; exit 4", func(t *testing.T) {
		_, args, env := overTLS(t, adjust, flags...)
		dir := t.TempDir()
		for _, command := range [][]string{collectArgs(dir, "run"), {"doctor", "--out", dir}, {"prompts", "--out", dir}} {
			cmd := exec.Command(program(t), append(command, args...)...)
			cmd.Env = environ(append(env, "TRACER_API_KEY=sk-tls-0123456789")...)
			out, _ := cmd.CombinedOutput() // the exit code is looked at next
			if code := cmd.ProcessState.ExitCode(); code != exitEnvironment || !strings.Contains(string(out), why) || !strings.Contains(string(out), does) {
				t.Errorf("%s: exit code %d, want %q and %q\n%s", command[0], code, why, does, out)
			}
			holdsNoSecret(t, dir, string(out), "sk-tls-0123456789")
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("written: %v", left)
		}
	}}
}

// acceptedTLS is a way to trust, or to be trusted, that works.
func acceptedTLS(name, outcome string, adjust func(*authority, *tls.Config), flags ...flagged) fault {
	return fault{name, onTLS, outcome, func(t *testing.T) {
		p, args, env := overTLS(t, adjust, flags...)
		insecure := strings.Contains(strings.Join(args, " "), "--insecure")
		p.tamper = func(_ int, w http.ResponseWriter, r *http.Request, pass http.Handler) {
			if r.ProtoMajor != 1 {
				t.Errorf("asked in %s", r.Proto)
			}
			pass.ServeHTTP(w, r)
		}
		dir := t.TempDir()
		said := sent{prompts: 2, kinds: kinds{"": 2}, more: args, dir: dir}.through(t, p, env)
		for _, r := range table(t, files(t, dir, "runs", "run")[0]) {
			if r["insecure"] != insecure {
				t.Errorf("insecure %v in runs", r["insecure"])
			}
		}
		if n := strings.Count(said, "WARNING: --insecure"); insecure && n != 2 || !insecure && n != 0 {
			t.Errorf("%d warnings\n%s", n, said)
		}
		for i, arg := range args {
			if arg == "--client-key" {
				key, err := os.ReadFile(args[i+1])
				if err != nil {
					t.Fatal(err)
				}
				holdsNoSecret(t, dir, said, strings.Split(string(key), "\n")[1])
			}
		}
	}}
}
