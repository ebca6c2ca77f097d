package remote

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/sourcegraph/conc"
)

const (
	folderPrefix = "tracer-agent-"
	readyWithin  = 20 * time.Second
	endWithin    = 5 * time.Second
	// longestSocket is what the kernel takes for a socket's name.
	longestSocket = 107
)

var sessionName = regexp.MustCompile(`^[0-9a-f]{16}$`)

// Relay joins in and out, which are ssh's, to the keeper of a session, and starts one where none is. It returns when either end
// is closed.
func Relay(session string, in io.Reader, out io.Writer) error {
	if !sessionName.MatchString(session) {
		return fmt.Errorf("%q is no session", session)
	}
	dir, err := folder(session)
	if err != nil {
		return err
	}
	conn, err := net.Dial("unix", filepath.Join(dir, socketName))
	if err != nil {
		if err = keeper(dir); err != nil {
			return err
		}
		if conn, err = net.Dial("unix", filepath.Join(dir, socketName)); err != nil {
			return fmt.Errorf("speaking with the agent's keeper: %w", err)
		}
	}
	defer conn.Close() //nolint:errcheck // at the end
	// Reading in cannot be broken off: who reads it is not waited for when the keeper has closed its end.
	var reader conc.WaitGroup
	reader.Go(func() {
		_, _ = io.Copy(conn, in) // how it ended, ssh knows
		_ = conn.(*net.UnixConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(endWithin))
	})
	_, err = io.Copy(out, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return err
}

// folder finds the session's folder, or makes it.
func folder(session string) (string, error) {
	cache, _ := os.UserCacheDir() // then there is none
	var refused, places []string
	for _, place := range []string{os.TempDir(), "/tmp", "/var/tmp", cache} {
		dir := filepath.Join(place, folderPrefix+session)
		if owned(dir) {
			return dir, nil
		}
		if filepath.IsAbs(dir) && len(filepath.Join(dir, socketName)) <= longestSocket {
			places = append(places, dir)
		}
	}
	for _, dir := range places {
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			return dir, nil
		}
		refused = append(refused, err.Error())
	}
	return "", fmt.Errorf("no folder can hold the readings until they are sent: %s", strings.Join(refused, "; "))
}

// owned says whether a folder is this user's own, and no link.
func owned(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	is, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(is.Uid) == os.Getuid()
}

// keeper starts a keeper that outlives this process, and waits until it listens.
func keeper(dir string) error {
	listens, tells, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the agent's keeper: %w", err)
	}
	defer listens.Close() //nolint:errcheck // read only
	words := filepath.Join(dir, wordsName)
	stderr, err := os.OpenFile(words, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("starting the agent's keeper: %w", err)
	}
	cmd := exec.Command("/proc/self/exe", "agent", "--keep", dir)
	cmd.Args[0] = "tracer"
	cmd.Dir = "/" // it is to hold nobody's filesystem
	cmd.Stderr, cmd.ExtraFiles = stderr, []*os.File{tells}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_, _ = tells.Close(), stderr.Close() // the keeper has its own
	if err != nil {
		return fmt.Errorf("starting the agent's keeper: %w", err)
	}
	_ = listens.SetReadDeadline(time.Now().Add(readyWithin))
	if n, _ := listens.Read(make([]byte, 1)); n == 1 {
		return cmd.Process.Release()
	}
	said, _ := os.ReadFile(words)
	if strings.Contains(string(said), ErrKept.Error()) {
		return nil // another relay was faster
	}
	return fmt.Errorf("the agent's keeper does not start: %s", strings.TrimSpace(string(said)))
}
