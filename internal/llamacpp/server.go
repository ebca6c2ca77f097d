// Package llamacpp runs a real llama.cpp server for tests, on a model of random weights made on the spot. The server is
// whatever TRACER_LLAMA_SERVER names; scripts/llama-server.sh installs one and prints its path.
package llamacpp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/sourcegraph/conc"
)

// EnvServer is the environment variable with the path of llama-server.
const EnvServer = "TRACER_LLAMA_SERVER"

// Model is the name the server gives its model.
const Model = "tiny-random"

// ErrNoServer is returned by Start where no server is asked for: tests skip on it.
var ErrNoServer = errors.New(EnvServer + " is not set: `make test-llm` sets it, and scripts/llama-server.sh prints a value for it")

// startTimeout bounds the wait for a server to be ready: loading takes 0.1 s, a busy machine is slower.
const startTimeout = 30 * time.Second

// Server is a running llama.cpp server.
type Server struct {
	URL     string // http://127.0.0.1:PORT, for llama.cpp's own paths: /health, /tokenize, /completion
	BaseURL string // URL/v1, for OpenAI clients

	stop   context.CancelFunc
	group  conc.WaitGroup
	exited chan struct{}
	died   error // why the server ended unasked; read after exited
	output *output
}

// Start runs llama-server on a free port of the loopback interface and returns when it is ready to answer. It serves
// one request at a time with 4,096 tokens of context; args are llama-server's own flags and override that. It decodes on
// one core, so that the measuring program keeps the other of a two-core machine. The server ends with Stop, with ctx,
// or with this process, whichever is first.
func Start(ctx context.Context, args ...string) (*Server, error) {
	program := os.Getenv(EnvServer)
	if program == "" {
		return nil, ErrNoServer
	}
	if _, err := exec.LookPath(program); err != nil {
		return nil, fmt.Errorf("%s: %w", EnvServer, err)
	}
	model, err := tinyModel()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	s := &Server{stop: stop, exited: make(chan struct{}), output: newOutput()}
	cmd := s.command(ctx, program, append([]string{
		"--model", model, "--alias", Model,
		"--host", "127.0.0.1", "--port", "0", // the kernel picks the port, the log tells it
		"--ctx-size", "4096", "--parallel", "1", "--no-webui",
		"--threads", "1", "--threads-batch", strconv.Itoa(min(2, runtime.NumCPU())),
	}, args...))
	started := make(chan error, 1)
	s.group.Go(func() { s.run(ctx, cmd, started) })
	err = <-started
	if err == nil {
		err = s.ready(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", program, err), s.Stop())
	}
	return s, nil
}

// Stop kills the server and waits until it is gone. It says so if the server had ended before without being told to.
func (s *Server) Stop() error {
	s.stop()
	s.group.Wait()
	return s.died
}

// command ends with SIGKILL: the server has nothing to save, takes 30 s over SIGTERM while a stream is open, and loses
// a SIGTERM that comes in the moment between listening and serving.
func (s *Server) command(ctx context.Context, program string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = s.output, s.output
	// Threads that spin while they wait for each other take the cores of whatever else runs: beside one busy process on
	// two cores 1,000 tokens of prompt took 1.9 s with spinning, 1.5 s without.
	cmd.Env = append(os.Environ(), "OMP_WAIT_POLICY=PASSIVE")
	cmd.WaitDelay = time.Second // a launcher that does not exec leaves a child with our pipe open
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run is the life of the process. It keeps its thread throughout because Pdeathsig counts the end of the thread that
// started the process as the end of the parent.
func (s *Server) run(ctx context.Context, cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(s.exited)
	err := cmd.Start()
	started <- err
	if err != nil {
		return
	}
	if _ = cmd.Wait(); ctx.Err() == nil { // ProcessState tells more
		s.died = fmt.Errorf("llama-server ended by itself (%v), its last words:\n%s", cmd.ProcessState, s.output.tail())
	}
}

// ready waits for the address in the log, then for the model to be loaded: until then /health answers 503.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %v", startTimeout))
	defer cancel()
	select {
	case s.URL = <-s.output.address:
		s.BaseURL = s.URL + "/v1"
	case <-s.exited:
		return errors.New("it ended before it listened")
	case <-ctx.Done():
		return fmt.Errorf("waiting for its address: %w\n%s", context.Cause(ctx), s.output.tail())
	}
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, 200*time.Millisecond) {
		err := s.health(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(delay):
		case <-s.exited:
			return errors.New("it ended while loading its model")
		case <-ctx.Done():
			return fmt.Errorf("waiting for its health: %w (%w)\n%s", context.Cause(ctx), err, s.output.tail())
		}
	}
}

func (s *Server) health(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/health", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s", resp.Status)
	}
	return nil
}
