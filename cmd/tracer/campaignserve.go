package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/internal/campaign"
	"github.com/llm-tracer/tracer/sampler/remote"
)

const (
	// probeEvery is how often a server that starts is asked whether it is ready.
	probeEvery = 200 * time.Millisecond
	// portPatience is with a host that does not say whether anything listens.
	portPatience = 5 * time.Second
)

// served is a model's server that the campaign has started.
type served struct {
	*process
	model   *campaign.Model // on its port
	release func()          // gives the port up
}

// serve has the block's model served, if that is the campaign's to do and it is not.
func (r *campaigning) serve(ctx context.Context, b *campaign.Block) error {
	if b.Model.Serve == nil {
		return nil
	}
	if r.server != nil {
		select {
		case <-r.server.ended: // by itself, between two runs or within one
			r.stopServing()
		default:
			return nil
		}
	}
	model, release, err := r.portFor(ctx, b.Model)
	if err != nil {
		return fmt.Errorf("serve: %s: %w", b.Model.Name, err)
	}
	defer func() {
		if r.server == nil {
			release()
		}
	}()
	env, err := serveEnv(b, model)
	if err != nil {
		return fmt.Errorf("serve: %s: %w", b.Model.Name, err)
	}
	path := filepath.Join(logs(r.file), "serve-"+b.Board.Name+"-"+b.Model.Name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) // a server's log may hold its secrets
	if err != nil {
		return err
	}
	defer log.Close()                                                       //nolint:errcheck // the server has it
	cmd := exec.Command(model.Serve.Command[0], model.Serve.Command[1:]...) //nolint:gosec // the user's own
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, env
	p, err := startProcess(cmd)
	if err != nil {
		return fmt.Errorf("serve: starting %s: %w", b.Model.Name, err)
	}
	r.server = &served{process: p, model: model, release: release}
	r.serving.Store(p)
	if err := r.server.ready(ctx); err != nil {
		r.stopServing()
		return fmt.Errorf("serve: %s: %w; see %s", b.Model.Name, err, path)
	}
	return nil
}

// serveEnv is the environment with the board that the server is to use, and the file's own variables.
func serveEnv(b *campaign.Block, model *campaign.Model) (env []string, err error) {
	env = os.Environ()
	if here, _ := remote.Split(b.Board.GPU); here != "" && here != "auto" && !strings.Contains(here, simPrefix) {
		env = append(env, deviceOrder+"=PCI_BUS_ID", visibleDevices+"="+here)
	}
	for _, name := range slices.Sorted(maps.Keys(model.Serve.Env)) {
		value := os.Expand(model.Serve.Env[name], func(from string) string {
			v, set := os.LookupEnv(from)
			if !set && err == nil {
				err = fmt.Errorf("env: %s is to be ${%s}, which is not set; export it, be it empty", name, from)
			}
			return v
		})
		env = append(env, name+"="+value)
	}
	return env, err
}

func (r *campaigning) stopServing() {
	if r.server != nil {
		r.server.stop(r.server.model.Serve.Stop)
		r.serving.Store(nil)
		r.server.release()
		r.server = nil
	}
}

// ready waits until the model is there. The first probe whose path the server knows is the one that counts.
func (s *served) ready(ctx context.Context) error {
	late := fmt.Errorf("not ready after %v", s.model.Serve.Within)
	ctx, cancel := context.WithTimeoutCause(ctx, s.model.Serve.Within, late)
	defer cancel()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		for _, probe := range s.model.Probes() {
			status, err := statusOf(ctx, probe)
			if err == nil && (status == http.StatusOK || status == http.StatusUnauthorized || status == http.StatusForbidden) { // it is there, and asks for a key
				return nil
			}
			if err != nil || status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
				break
			}
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return fmt.Errorf("it ended before it was ready (%v)", s.cmd.ProcessState)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// statusOf asks a URL and gives the status.
func statusOf(ctx context.Context, url string) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return 0, errors.New("no answer") // its text holds the URL, which may hold a token
	}
	return response.StatusCode, response.Body.Close()
}
