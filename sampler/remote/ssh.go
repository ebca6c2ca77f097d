package remote

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// answerWithin is how long ssh may go without a sign of life while a connection is made.
	answerWithin = 30 * time.Second
	mostWords    = 4096 // of ssh's complaints that are kept
)

// ErrSSH is a connection that ssh could not make; the user has to mend that.
var ErrSSH = errors.New("ssh")

// errRefused is what the host cannot do, in the words of the script there.
var errRefused = errors.New("the host cannot run tracer's agent")

// thisProgram finds the program that is to be copied.
func thisProgram() (p program, err error) {
	p.path = "/proc/self/exe" // even if a newer one has taken its place
	f, err := os.Open(p.path)
	if err != nil {
		return p, fmt.Errorf("reading this program: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	hash := sha256.New()
	if p.size, err = io.Copy(hash, f); err != nil {
		return p, fmt.Errorf("reading this program: %w", err)
	}
	p.sha256 = hex.EncodeToString(hash.Sum(nil))
	return p, nil
}

// link is one connection to an agent.
type link struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	words  *complaints
	killed atomic.Bool
}

// complaints keeps the last of what ssh and the agent say on stderr.
type complaints struct {
	mu   sync.Mutex
	text []byte
}

// Write keeps the end.
func (c *complaints) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, b...)
	if n := len(c.text); n > mostWords {
		c.text = append(c.text[:0], c.text[n-mostWords:]...)
	}
	return len(b), nil
}

// String is on one line.
func (c *complaints) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	for line := range strings.Lines(string(c.text)) {
		line = strings.TrimSpace(line)
		for _, own := range itself {
			line = own.begins.ReplaceAllString(line, own.keeps)
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-6):], "; ")
}

// dial connects to a host and has the agent started there. say is told when the program has to be copied.
func (t *Target) dial(ctx context.Context, ssh []string, p program, session string, say func(string)) (*link, error) {
	args := append([]string{}, ssh[1:]...)
	args = append(args, "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6")
	if t.Port != "" {
		args = append(args, "-p", t.Port)
	}
	args = append(args, "--", t.Address, t.script(p, session))
	l := &link{cmd: exec.CommandContext(ctx, ssh[0], args...), words: &complaints{}}
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for this process to act on
	l.cmd.Stderr = l.words
	l.cmd.WaitDelay = time.Second
	out, err := l.cmd.StdoutPipe()
	if err == nil {
		l.in, err = l.cmd.StdinPipe()
	}
	if err == nil {
		err = l.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: starting it: %w; install OpenSSH's client, or name the command with --ssh", ErrSSH, err)
	}
	l.out = bufio.NewReaderSize(out, 1<<16)
	quiet := time.AfterFunc(answerWithin, l.kill)
	defer quiet.Stop()
	if err := l.start(p, quiet, say); err != nil {
		late := l.killed.Load()
		l.close()
		return nil, l.explain(ctx, err, late)
	}
	return l, nil
}

// start follows the script on the host until the agent speaks.
func (l *link) start(p program, quiet *time.Timer, say func(string)) error {
	for {
		line, err := l.out.ReadString('\n')
		if err != nil {
			return err
		}
		quiet.Reset(answerWithin)
		line = strings.TrimRight(line, "\r\n")
		switch {
		case line == markReady:
			return nil
		case line == markSend:
			say(fmt.Sprintf("copying this program there (%.0f MB): it stays for the next time", float64(p.size)/1e6))
			l.send(p, quiet)
		case strings.HasPrefix(line, markFailed):
			return fmt.Errorf("%w: %s", errRefused, strings.TrimPrefix(line, markFailed))
		}
	}
}

// send copies the program. While bytes go, ssh lives.
func (l *link) send(p program, quiet *time.Timer) {
	f, err := os.Open(p.path)
	if err != nil {
		return // its checksum was read from there; the script waits until ssh is given up
	}
	defer f.Close() //nolint:errcheck // read only
	for {
		_, err := io.CopyN(l.in, f, 1<<20)
		quiet.Reset(answerWithin)
		if err != nil { // the end, or what the script or ssh says more of
			return
		}
	}
}

func (l *link) kill() {
	l.killed.Store(true)
	_ = l.cmd.Process.Kill() // it may have ended
}

// close ends the connection; the keeper on the host does not end with it.
func (l *link) close() {
	_ = l.in.Close()
	_ = l.cmd.Process.Kill()
	_ = l.cmd.Wait() // how ssh ended tells nothing that it has not said
}

// mends are what to do about the complaints of ssh. {host} is as ssh takes it, in commands.
var mends = []struct{ says, mend string }{
	{"Host key verification failed", "the host's key is not known, or has changed: log in once by hand (ssh {host}) and compare the key's fingerprint"},
	{"Permission denied", "ssh must get in without a password: put a key on the host (ssh-copy-id {host}) and load it (ssh-add); ssh -o BatchMode=yes {host} true shows whether it does"},
	{"Could not resolve hostname", "no host of that name is known: check the spelling, or give it a Host entry in ~/.ssh/config"},
	{"Connection refused", "nothing listens there: is ssh's server running, and on that port?"},
	{"timed out", "the host does not answer: is it up, and not behind a firewall?"},
	{"No route to host", "there is no way to the host: is it up, and in reach of this network?"},
	{"GLIBC", "the host's C library is older than the one this program was built with: build tracer on that host or an older system, and run that"},
}

// itself is how ssh begins a complaint with its own name or the host's, which whoever tells of it has named.
var itself = []struct {
	begins *regexp.Regexp
	keeps  string
}{
	{regexp.MustCompile(`^ssh: connect to host \S+ (port \d+: )`), "$1"},
	{regexp.MustCompile(`^ssh: (Could not resolve hostname) \S+:`), "$1:"},
	{regexp.MustCompile(`^\S+@\S+: (Permission denied)`), "$1"},
	{regexp.MustCompile(`^ssh: `), ""},
}

// explain is the error of a connection that did not come about.
func (l *link) explain(ctx context.Context, err error, late bool) error {
	said := l.words.String()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errRefused):
		return err
	case late && said == "":
		return fmt.Errorf("%w: no answer within %v", ErrSSH, answerWithin)
	}
	for _, m := range mends {
		if strings.Contains(said, m.says) {
			return fmt.Errorf("%w: %s\n%s", ErrSSH, said, strings.ReplaceAll(m.mend, "{host}", l.address()))
		}
	}
	if said == "" {
		said = "it ended without a word (" + l.cmd.ProcessState.String() + ")"
	}
	return fmt.Errorf("%w: %s", ErrSSH, said)
}

func (l *link) address() string { return l.cmd.Args[len(l.cmd.Args)-2] }
