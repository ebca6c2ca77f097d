package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// farm is two hosts: network namespaces with two links between them, one that ssh takes and one for the model server, and a
// clock of its own in the second, which has a real ssh server.
type farm struct {
	t           *testing.T
	dir         string
	here, there string // namespaces
	cutLink     string // there
	library     string
	url, truth  string
	config      string // of ssh's client
	target      string // ssh://…
	sshd        *exec.Cmd
}

// ahead is by how much the second host's clock is ahead of the first's: a day.
const ahead = 24 * time.Hour

var farms atomic.Int32

// delays are those of a link, there and back.
type delays struct{ there, back time.Duration }

func newFarm(t *testing.T, d delays) *farm {
	t.Helper()
	sshd := "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		t.Skip("no ssh server here; scripts/sshd.sh installs Debian's")
	}
	if os.Getuid() != 0 {
		t.Skip("namespaces of the network and of clocks need root")
	}
	n := farms.Add(1)
	f := &farm{t: t, library: fakeLibrary(t)}
	var err error
	if f.dir, err = os.MkdirTemp("/tmp", "tracer-farm-"); err != nil { //nolint:usetesting // its names are too long for sockets
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(f.dir)
		}
	})
	for _, name := range []string{"tmp", "sealed"} {
		if err := os.Mkdir(filepath.Join(f.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f.here, f.there = fmt.Sprintf("tr%da%d", os.Getpid(), n), fmt.Sprintf("tr%db%d", os.Getpid(), n)
	for _, ns := range []string{f.here, f.there} {
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			t.Skipf("no network namespaces here: %v: %s", err, out)
		}
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
	}
	if out, err := f.inTime("true").CombinedOutput(); err != nil {
		t.Skipf("no namespaces of clocks here: %v: %s", err, out)
	}
	f.ip("-n", f.here, "link", "set", "lo", "up")
	f.link("s", "10.231.1")
	f.link("h", "10.231.2")
	f.cutLink = "s1"
	f.serve()
	f.listen(sshd, d)
	return f
}

// link joins the two hosts.
func (f *farm) link(name, net string) {
	f.t.Helper()
	for _, args := range [][]string{
		{"link", "add", name + "0", "netns", f.here, "type", "veth", "peer", "name", name + "1", "netns", f.there},
		{"-n", f.here, "addr", "add", net + ".1/24", "dev", name + "0"},
		{"-n", f.there, "addr", "add", net + ".2/24", "dev", name + "1"},
		{"-n", f.here, "link", "set", name + "0", "up"},
		{"-n", f.there, "link", "set", name + "1", "up"},
	} {
		f.ip(args...)
	}
}

func (f *farm) ip(args ...string) {
	f.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		f.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// cut takes the link of ssh down, or up again.
func (f *farm) cut(is bool) {
	f.t.Helper()
	f.ip("-n", f.there, "link", "set", f.cutLink, map[bool]string{true: "down", false: "up"}[is])
}

// inTime is a command in the second host, by its clock.
func (f *farm) inTime(args ...string) *exec.Cmd {
	offset := strconv.Itoa(int(ahead.Seconds()))
	return exec.Command("ip", append([]string{"netns", "exec", f.there, "unshare", "--uts", "--time", "--monotonic", offset, "--boottime", offset, "--fork", "--kill-child", "--"}, args...)...)
}

// serve starts the model server and its boards in the second host.
func (f *farm) serve() {
	f.t.Helper()
	f.truth = filepath.Join(f.dir, "truth.jsonl")
	cmd := f.inTime(program(f.t), "sim", "--listen", "10.231.2.2:8000", "--gpu", "sim:A10", "--board-file", f.boards(), "--truth", f.truth)
	f.start(cmd, "stop it with Ctrl-C")
	f.url = "http://10.231.2.2:8000/v1"
}

func (f *farm) boards() string { return filepath.Join(f.dir, "boards") }

// start runs a program until the test ends, and waits for its first words.
func (f *farm) start(cmd *exec.Cmd, until string) {
	f.t.Helper()
	said := &transcript{more: make(chan struct{}, 1)}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait() // a namespace's init ends by a signal
	})
	deadline := time.After(20 * time.Second)
	for !strings.Contains(said.String(), until) {
		select {
		case <-said.more:
		case <-deadline:
			f.t.Fatalf("%s has not said %q: %s", strings.Join(cmd.Args, " "), until, said)
		}
	}
}

// listen starts ssh's server in the second host, with keys of its own, and writes what its client needs.
func (f *farm) listen(sshd string, d delays) {
	f.t.Helper()
	at := func(name string) string { return filepath.Join(f.dir, name) }
	for _, name := range []string{"host", "user", "stranger"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", at(name)).CombinedOutput(); err != nil {
			f.t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	public, err := os.ReadFile(at("host.pub"))
	if err != nil {
		f.t.Fatal(err)
	}
	user, err := os.ReadFile(at("user.pub"))
	if err != nil {
		f.t.Fatal(err)
	}
	write(f.t, at("authorized"), user)
	write(f.t, at("known"), append([]byte("10.231.1.2 "), public...))
	write(f.t, at("nobody"), nil)
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		f.t.Fatal(err)
	}
	write(f.t, at("sshd_config"), fmt.Appendf(nil, "ListenAddress 10.231.1.2:22\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nMaxStartups 100\nSetEnv TMPDIR=%s\n", at("host"), at("authorized"), at("tmp")))
	proxy := ""
	if d != (delays{}) {
		proxy = fmt.Sprintf("ProxyCommand tracer-delay %%h:%%p %v %v\n", d.there, d.back)
	}
	for name, keys := range map[string][2]string{"config": {"user", "known"}, "config-stranger": {"stranger", "known"}, "config-unknown": {"user", "nobody"}} {
		write(f.t, at(name), fmt.Appendf(nil, "Host *\nIdentityFile %s\nIdentitiesOnly yes\nUserKnownHostsFile %s\nGlobalKnownHostsFile none\nStrictHostKeyChecking yes\n%s", at(keys[0]), at(keys[1]), proxy))
	}
	f.config = at("config")
	f.sshd = f.inTime("sh", "-c", "hostname gpuhost; mount -t tmpfs -o noexec none "+at("sealed")+"; exec "+sshd+" -D -e -f "+at("sshd_config"))
	f.start(f.sshd, "Server listening")
	f.target = "ssh://root@10.231.1.2/0?library=" + f.library + "/libnvidia-ml.so.1&env=TRACER_FAKENVML=" + f.boards() + "&cache=" + sharedCache(f.t)
}

// sharedCache is where all hosts of a test keep the program, so that it is copied once.
func sharedCache(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("tracer-test-cache-%d", os.Getppid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// collect is the program on the first host.
func (f *farm) collect(gpu string, more ...string) *exec.Cmd {
	return f.command(append([]string{"collect", "--gpu", gpu, "--ssh", "ssh -F " + f.config, "--endpoint", f.url, "--out", filepath.Join(f.dir, "ds"), "--run-id", "far", "--calibrate", "off"}, more...)...)
}

func (f *farm) command(args ...string) *exec.Cmd {
	cmd := exec.Command("ip", append([]string{"netns", "exec", f.here, program(f.t)}, args...)...)
	cmd.Env = environ()
	return cmd
}

// begin starts the program, until it has said something.
func (f *farm) begin(cmd *exec.Cmd, until string) *transcript {
	f.t.Helper()
	said := &transcript{more: make(chan struct{}, 1)}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.await(said, until)
	return said
}

func (f *farm) await(said *transcript, until string) {
	f.t.Helper()
	deadline := time.After(90 * time.Second)
	for !strings.Contains(said.String(), until) {
		select {
		case <-said.more:
		case <-deadline:
			f.t.Fatalf("tracer has not said %q:\n%s", until, said)
		}
	}
}

// end waits for the program, which is to end with a code.
func (f *farm) end(cmd *exec.Cmd, said fmt.Stringer, code int) string {
	f.t.Helper()
	_ = cmd.Wait() // the code is looked at next
	if got := cmd.ProcessState.ExitCode(); got != code {
		f.t.Fatalf("exit code %d, want %d\n%s", got, code, said)
	}
	return said.String()
}

// run runs the program to its end.
func (f *farm) run(cmd *exec.Cmd, code int) string {
	f.t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	return f.end(cmd, &said, code)
}

// agents are the processes of agents in the second host.
func (f *farm) agents(what string) (pids []int) {
	f.t.Helper()
	out, err := exec.Command("ip", "netns", "pids", f.there).Output()
	if err != nil {
		f.t.Fatal(err)
	}
	for field := range strings.FieldsSeq(string(out)) {
		pid, err := strconv.Atoi(field)
		line, gone := os.ReadFile("/proc/" + field + "/cmdline")
		if err == nil && gone == nil && strings.Contains(strings.ReplaceAll(string(line), "\x00", " "), what) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// clean asserts that nothing is left on the second host.
func (f *farm) clean() {
	f.t.Helper()
	if left := f.agents("tracer agent"); len(left) > 0 {
		f.t.Errorf("agents are left: %v", left)
	}
	if left, err := os.ReadDir(filepath.Join(f.dir, "tmp")); err != nil || len(left) > 0 {
		f.t.Errorf("files are left: %v, %v", left, err)
	}
}

// delayed is ssh's ProxyCommand: it holds what passes back, for other times in either direction.
func delayed() {
	there, err := time.ParseDuration(os.Args[2])
	back, err2 := time.ParseDuration(os.Args[3])
	conn, err3 := net.DialTimeout("tcp", os.Args[1], 3*time.Second)
	if err := errors.Join(err, err2, err3); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() { hold(conn, os.Stdin, there); stop() }()
	go func() { hold(os.Stdout, conn, back); stop() }()
	<-ctx.Done()
}

// hold copies with a delay.
func hold(to io.Writer, from io.Reader, by time.Duration) {
	type chunk struct {
		due  time.Time
		data []byte
	}
	queue := make(chan chunk, 1<<14)
	go func() {
		defer close(queue)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			queue <- chunk{time.Now().Add(by), buf[:n]}
		}
	}()
	for c := range queue {
		time.Sleep(time.Until(c.due))
		if _, err := to.Write(c.data); err != nil {
			return
		}
	}
}
