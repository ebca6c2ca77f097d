package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/llm-tracer/tracer/internal/catalog"
)

// farewell is how long Close waits for answers under way to end before it breaks their connections.
const farewell = time.Second

// Config says what is simulated.
type Config struct {
	Board catalog.Board
	Model catalog.Model
	Loads []Load // boards that the work is shown on, each as if it did all of it; may be none
	// TruthPath is the file that the truth of each request is added to, with the boards' power beside it; empty for none.
	TruthPath string
	// Key is the bearer key that requests must carry; empty for none.
	Key string
}

// Server is a model server at work.
type Server struct {
	config  Config
	context int // tokens, prompt and answer, that one request may have
	started int64
	engine  *engine
	ledger  *ledger
	power   *ledger // what the boards draw
	http    *http.Server
	group   conc.WaitGroup // the engine and the listener
	answers sync.RWMutex   // held for reading by each request, for writing by Close
	err     error          // of the listener
	close   func() error
}

// New loads the model: the board shows it from now on, until Close. It refuses a model that does not fit.
func New(c Config) (*Server, error) {
	if err := Fits(c.Board, c.Model); err != nil {
		return nil, err
	}
	s := &Server{config: c, context: min(longestContext, room(c.Board, c.Model)), started: time.Now().Unix()}
	if c.TruthPath != "" {
		var err error
		if s.ledger, err = openLedger(c.TruthPath); err != nil {
			return nil, err
		}
		if s.power, err = openLedger(PowerPath(c.TruthPath)); err != nil {
			return nil, errors.Join(err, s.ledger.close())
		}
		c.Loads = append(slices.Clip(c.Loads), &meter{ledger: s.power})
	}
	s.engine = newEngine(NewTiming(c.Board, c.Model), NewPower(c.Board, c.Model), room(c.Board, c.Model), c.Loads)
	s.http = &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	s.close = sync.OnceValue(s.shut)
	s.group.Go(s.engine.run)
	return s, nil
}

// Start listens on a TCP address, port 0 for any free one, and gives the base URL: the API is found below /v1 of it,
// /health and /tokenize directly.
func (s *Server) Start(addr string) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listening for the simulated server: %w", err)
	}
	return s.StartOn(l), nil
}

// StartOn serves the connections of a listener, which Close closes, and gives the base URL.
func (s *Server) StartOn(l net.Listener) string {
	s.group.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.err = fmt.Errorf("serving %s: %w", l.Addr(), err)
		}
	})
	return "http://" + l.Addr().String()
}

// Close stops the work, ends the answers under way and unloads the model. Closing again gives the same answer.
func (s *Server) Close() error { return s.close() }

func (s *Server) shut() error {
	close(s.engine.closing)
	<-s.engine.stopped
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // clients that do not read, or never sent a request, are cut off
	}
	s.answers.Lock()
	defer s.answers.Unlock()
	s.group.Wait()
	return errors.Join(s.err, s.ledger.close(), s.power.close())
}
