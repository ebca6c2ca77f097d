package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sourcegraph/conc"
	"golang.org/x/sys/unix"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

// Names in the keeper's folder.
const (
	socketName = "socket"
	lockName   = "lock"
	wordsName  = "stderr"
	logPrefix  = "readings-"
)

// Keeper owns a host's boards for one tracer elsewhere. All is done by the goroutine that calls Keep; others accept, read, write
// and sample for it.
type Keeper struct {
	Facts Facts // but for the boards
	// Open opens the boards. Its error is a *BrokenError where the user asked for what is not there.
	Open    func(boards, library string, driver time.Duration) (Boards, error)
	Queue   func() Queue
	Create  func(path string, boards []schema.Board) (Log, error)
	Reopen  func(path string) (Log, error)
	Encoder func() Encoder

	dir      string
	patience time.Duration
	driver   time.Duration
	boards   Boards
	opened   bool
	logs     []*spool
	peer     *peer
	heardNS  int64
	batch    []schema.Reading
	events   chan event
	owner    conc.WaitGroup
}

// event is what another goroutine has for the keeper's.
type event struct {
	joined *peer // a connection
	from   *peer // that a message is from
	message
	gone bool // the connection
}

const (
	keepEvery = 50 * time.Millisecond
	unheard   = 30 * time.Second // while there is nothing to keep
)

// ErrKept says that the folder has its keeper.
var ErrKept = errors.New("another keeper has the folder")

// Keep serves whoever attaches through the folder's socket until it is told to end, has heard nothing for as long as it was told
// to wait, or the context ends. Then it removes the folder. ready is called when it can be attached to.
func (k *Keeper) Keep(ctx context.Context, dir string, ready func()) error {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("locking the folder: %w", err)
	}
	defer lock.Close() //nolint:errcheck // gives the lock up
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return ErrKept
	}
	k.dir, k.patience, k.heardNS, k.events = dir, unheard, clock.Now(), make(chan event)
	if err := k.inherit(); err != nil {
		return err
	}
	socket := filepath.Join(dir, socketName)
	_ = os.Remove(socket) // a dead keeper's
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	ready()
	within, end := context.WithCancel(ctx)
	k.owner.Go(func() { k.accept(within, listener) })
	err = k.serve(within)
	end()
	_ = listener.Close()
	for _, l := range k.logs {
		l.stop()
	}
	k.detach()
	k.owner.Wait()
	if k.boards.Close != nil {
		k.boards.Close()
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// inherit takes over the logs of keepers that were killed.
func (k *Keeper) inherit() error {
	names, err := os.ReadDir(k.dir)
	if err != nil {
		return fmt.Errorf("looking for what is left: %w", err)
	}
	for _, name := range names {
		text, is := strings.CutPrefix(name.Name(), logPrefix)
		number, err := strconv.Atoi(text)
		if err != nil || !is {
			continue
		}
		path := filepath.Join(k.dir, name.Name())
		log, err := k.Reopen(path)
		if err != nil { // not even begun
			_ = os.Remove(path)
			continue
		}
		l := &spool{number: number, log: log, finished: &finished{Run: number, Dead: true}}
		k.logs = append(k.logs, l)
	}
	slices.SortFunc(k.logs, func(a, b *spool) int { return a.number - b.number })
	return nil
}

func (k *Keeper) accept(ctx context.Context, listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		p := newPeer(conn)
		if !k.tell(ctx, event{joined: p}) {
			_ = conn.Close()
			return
		}
		k.owner.Go(func() {
			in := bufio.NewReaderSize(conn, 1<<16)
			for {
				m, err := read(in, clock.Now)
				if err != nil {
					k.tell(ctx, event{from: p, gone: true})
					return
				}
				if !k.tell(ctx, event{from: p, message: m}) {
					return
				}
			}
		})
	}
}

func (k *Keeper) tell(ctx context.Context, e event) bool {
	select {
	case k.events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

func (k *Keeper) serve(ctx context.Context) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if silent := time.Duration(clock.Now() - k.heardNS); silent > k.patience || silent > unheard && len(k.logs) == 0 {
				return nil
			}
			for _, l := range k.logs {
				l.drain(&k.batch)
			}
			if err := k.pump(); err != nil {
				return err
			}
		case e := <-k.events:
			if over, err := k.on(ctx, e); over || err != nil {
				return err
			}
		}
	}
}

// on takes an event, and reports whether the keeper was told to end.
func (k *Keeper) on(ctx context.Context, e event) (over bool, err error) {
	switch {
	case e.joined != nil:
		k.detach()
		k.peer = e.joined
		k.owner.Go(k.peer.write)
		return false, nil
	case e.from != k.peer:
		return false, nil // of a connection that another has replaced
	case e.gone:
		k.detach()
		return false, nil
	}
	k.heardNS = e.atNS
	switch e.kind {
	case kindPing:
		var sent int64
		_, err := e.numbers(&sent)
		k.peer.pong(sent, e.atNS)
		return false, err
	case kindAttach:
		var a attach
		if err := e.into(&a); err != nil {
			return false, err
		}
		return k.attach(&a)
	case kindStart:
		var s start
		if err := e.into(&s); err != nil {
			return false, err
		}
		return false, k.start(ctx, &s)
	case kindEnd:
		var r runOf
		err := e.into(&r)
		for _, l := range k.logs {
			if l.number == r.Run {
				l.stop()
			}
		}
		return false, err
	case kindAck:
		var h have
		err := e.into(&h)
		return false, errors.Join(err, k.forget(h))
	case kindBye:
		return true, nil
	default:
		return false, fmt.Errorf("something unknown is asked for: %q", e.kind)
	}
}

// detach gives a connection up.
func (k *Keeper) detach() {
	if k.peer != nil {
		k.peer.close()
		k.peer = nil
	}
}

// attach opens the boards, once, and begins to send what is not there yet.
func (k *Keeper) attach(a *attach) (over bool, err error) {
	if a.Patience > 0 {
		k.patience, k.driver = a.Patience, a.Driver
	}
	if !k.opened {
		k.boards, err = k.Open(a.Boards, a.Library, a.Driver)
		if err != nil {
			b := broken{Error: err.Error()}
			if broken, ok := errors.AsType[*BrokenError](err); ok {
				b.Usage = broken.Usage
			}
			k.peer.send(words(kindBroken, b))
			return true, nil
		}
		k.opened = true
	}
	hello := hello{Facts: k.Facts, Protocol: protocol}
	for _, d := range k.boards.Devices {
		hello.Boards = append(hello.Boards, d.Board())
	}
	k.peer.encoder = k.Encoder()
	for _, l := range k.logs {
		hello.Runs = append(hello.Runs, l.number)
		l.rewind(a.Have[l.number])
	}
	k.peer.send(words(kindHello, hello))
	return false, k.forget(a.Have)
}

// forget removes the logs of samplings that are over and have arrived whole.
func (k *Keeper) forget(h have) (err error) {
	k.logs = slices.DeleteFunc(k.logs, func(l *spool) bool {
		if n, ok := h[l.number]; !ok || !l.told || n < l.finished.Readings {
			return false
		}
		err = errors.Join(err, l.log.Remove())
		return true
	})
	return err
}

// start samples.
func (k *Keeper) start(ctx context.Context, s *start) error {
	facts := make([]schema.Board, len(k.boards.Devices))
	for i, d := range k.boards.Devices {
		facts[i] = d.Board()
	}
	log, err := k.Create(filepath.Join(k.dir, logPrefix+strconv.Itoa(s.Run)), facts)
	if err != nil {
		return k.breakOff(err)
	}
	l := &spool{number: s.Run, log: log, queue: k.Queue()}
	l.rewind(0)
	if err := l.sample(ctx, &k.owner, k.boards.Devices, s, k.driver); err != nil {
		return k.breakOff(errors.Join(err, log.Remove()))
	}
	k.logs = append(k.logs, l)
	return nil
}

// breakOff tells whoever is attached why there will be no readings.
func (k *Keeper) breakOff(err error) error {
	k.peer.send(words(kindBroken, broken{Error: err.Error()}))
	return nil
}

// pump sends what there is and what the connection takes.
func (k *Keeper) pump() error {
	if k.peer == nil || k.peer.encoder == nil {
		return nil
	}
	for _, l := range k.logs {
		more := true
		for more && k.peer.room() {
			var err error
			if more, err = l.send(k.peer, &k.batch); err != nil {
				return err
			}
		}
		if more {
			return nil // in order
		}
	}
	return nil
}
