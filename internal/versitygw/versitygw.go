// Package versitygw starts a real S3 server for tests: versitygw over a folder, as scripts/versitygw.sh builds it.
package versitygw

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The keys that the server asks for, and its one bucket.
const (
	Key    = "tracer"
	Secret = "tracer-secret-of-tests"
	Bucket = "bucket"
)

// Server is a running server.
type Server struct {
	Endpoint string // http://127.0.0.1:PORT
	Folder   string // of the bucket: an object is a file there, its key the path
}

// Start starts a server that lasts as long as the test, with one bucket; arguments go to versitygw. Without a program to
// start, TRACER_VERSITYGW, the test is skipped.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return Over(t, t.TempDir(), args...)
}

// Over starts a server over a folder that another one may be serving too.
func Over(t testing.TB, folder string, args ...string) *Server {
	t.Helper()
	program := os.Getenv("TRACER_VERSITYGW")
	if program == "" {
		t.Skip("no S3 server: set TRACER_VERSITYGW to what scripts/versitygw.sh prints, as make test does")
	}
	root, meta := filepath.Join(folder, "data"), filepath.Join(folder, "meta")
	s := &Server{Folder: filepath.Join(root, Bucket)}
	for _, dir := range []string{s.Folder, meta} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	address := free(t)
	s.Endpoint = "http://" + address
	var said bytes.Buffer
	cmd := exec.Command(program, append(append([]string{"--quiet", "--port", address}, args...), "posix", "--sidecar", meta, root)...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+Key, "ROOT_SECRET_KEY="+Secret)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", program, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for begun := time.Now(); ; {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = conn.Close()
			return s
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("%s does not listen on %s: %v\n%s", program, address, err, said.String())
		}
		<-time.After(20 * time.Millisecond)
	}
}

// free is an address that nobody listens on.
func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing came of it
	return l.Addr().String()
}

// Environ is what a program needs to reach the server.
func (s *Server) Environ() []string { return Environ(s.Endpoint) }

// Environ is what a program needs to reach a server at an address, such as a proxy's before it.
func Environ(endpoint string) []string {
	return []string{
		"AWS_ENDPOINT_URL=" + endpoint, "AWS_ACCESS_KEY_ID=" + Key, "AWS_SECRET_ACCESS_KEY=" + Secret, "AWS_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	}
}
