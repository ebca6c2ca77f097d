package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/sourcegraph/conc"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

type journalled struct{ *journal.Journal }

func (j journalled) Append(rows []schema.Reading) error { return j.Readings(journal.Look{}, rows) }
func (j journalled) Rows() Cursor                       { return &cursor{j.Journal.Rows(), j.Journal} }

type cursor struct {
	*journal.Rows

	of *journal.Journal
}

func (c *cursor) Next(into []schema.Reading) ([]schema.Reading, error) {
	return c.Rows.Next(c.of.Size(), into)
}

func create(path string, boards []schema.Board) (Log, error) {
	j, err := journal.Create(path, &journal.Header{Boards: boards, Sampling: make([]schema.Sampling, len(boards))}, memory.DefaultAllocator)
	return journalled{j}, err
}

// kept runs a keeper of one simulated board until it ends.
func kept(t *testing.T, dir string) (ended func() error) {
	t.Helper()
	kind, err := catalog.BoardByName("A10")
	if err != nil {
		t.Fatal(err)
	}
	k := Keeper{
		Facts: Facts{Host: "h", Version: "v"},
		Open: func(boards, _ string, _ time.Duration) (Boards, error) {
			if boards != "sim" {
				return Boards{}, &BrokenError{"no board " + boards, true}
			}
			return Boards{Devices: []sampler.Device{sim.NewBoard(kind, 0)}, Close: func() {}}, nil
		},
		Queue:  func() Queue { return ring.New[schema.Reading](1 << 12) },
		Create: create,
		Reopen: func(path string) (Log, error) {
			j, err := journal.Open(path, memory.DefaultAllocator, true)
			return journalled{j}, err
		},
		Encoder: func() Encoder { return journal.NewEncoder(memory.DefaultAllocator) },
	}
	ready := make(chan struct{})
	var (
		owner conc.WaitGroup
		kept  error
	)
	owner.Go(func() { kept = k.Keep(context.Background(), dir, func() { close(ready) }) })
	<-ready
	return func() error { owner.Wait(); return kept }
}

func folderOfItsOwn(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "keeper") //nolint:usetesting // a socket's name must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// client is somebody who attaches.
type client struct {
	t       *testing.T
	conn    net.Conn
	in      *bufio.Reader
	decoder *journal.Decoder
}

func attachTo(t *testing.T, dir string, a attach) *client {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t, conn, bufio.NewReader(conn), journal.NewDecoder(memory.DefaultAllocator)}
	c.say(words(kindAttach, a))
	return c
}

func (c *client) say(m message) {
	c.t.Helper()
	if err := write(c.conn, m); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) hear(want kind) message {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	m, err := read(c.in, clock.Now)
	if err != nil || m.kind != want {
		c.t.Fatalf("%q %s, %v; want %q", m.kind, m.payload, err, want)
	}
	return m
}

// readings takes readings, which must follow those that are there, until enough are or the sampling has ended.
func (c *client) readings(all []schema.Reading, enough int) (_ []schema.Reading, ended *finished) {
	c.t.Helper()
	for len(all) < enough {
		_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		m, err := read(c.in, clock.Now)
		if err != nil {
			c.t.Fatal(err)
		}
		if m.kind == kindFinished {
			ended = &finished{}
			if err := m.into(ended); err != nil {
				c.t.Fatal(err)
			}
			return all, ended
		}
		var number, first int64
		payload, err := m.numbers(&number, &first)
		if err != nil || m.kind != kindReadings || first != int64(len(all)) {
			c.t.Fatalf("%q from %d on, %v; there are %d", m.kind, first, err, len(all))
		}
		rows, err := c.decoder.Decode(payload, nil)
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, rows...)
	}
	return all, nil
}

func TestReadingsThatAreThereAreNotSentAgainAndNoneIsMissing(t *testing.T) {
	dir := folderOfItsOwn(t)
	ended := kept(t, dir)
	c := attachTo(t, dir, attach{Boards: "sim"})
	c.hear(kindHello)
	plan := sampler.Plan{Power: time.Millisecond}
	c.say(words(kindStart, start{Run: 7, Plan: plan}))
	all, _ := c.readings(nil, 100)
	_ = c.conn.Close()

	c = attachTo(t, dir, attach{Boards: "sim", Have: have{7: int64(len(all))}})
	c.hear(kindHello)
	all, _ = c.readings(all, len(all)+500)
	c.say(words(kindAck, have{7: int64(len(all))}))
	c.say(words(kindEnd, runOf{7}))
	all, end := c.readings(all, 1<<30)
	if end.Readings != int64(len(all)) || end.Stats.Boards[0].Readings != int64(len(all)) || end.Lost != "" || end.Dead {
		t.Errorf("%d readings arrived; the agent says %+v", len(all), end)
	}
	for i := 1; i < len(all); i++ {
		if all[i].StartNS <= all[i-1].EndNS-1 {
			t.Fatalf("reading %d began at %d, before the one before ended at %d", i, all[i].StartNS, all[i-1].EndNS)
		}
	}
	c.say(words(kindAck, have{7: int64(len(all))}))
	c.say(message{kind: kindBye})
	if err := ended(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its folder is left: %v", err)
	}
}

func TestAKilledKeepersReadingsAreSentByTheNext(t *testing.T) {
	dir := folderOfItsOwn(t)
	path := filepath.Join(dir, logPrefix+"3")
	log, err := create(path, make([]schema.Board, 1))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := log.Append(make([]schema.Reading, 50)); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.(journalled).Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()-5) // in the middle of a batch
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := kept(t, dir)
	c := attachTo(t, dir, attach{Boards: "sim", Have: have{3: 20}})
	c.hear(kindHello)
	all, end := c.readings(make([]schema.Reading, 20), 1<<30)
	if len(all) != 100 || end.Readings != 100 || !end.Dead {
		t.Errorf("%d readings, %+v", len(all), end)
	}
	c.say(message{kind: kindBye})
	if err := ended(); err != nil {
		t.Error(err)
	}
}

func TestBoardsThatAreNotThereEndTheAgent(t *testing.T) {
	dir := folderOfItsOwn(t)
	ended := kept(t, dir)
	c := attachTo(t, dir, attach{Boards: "9"})
	var b broken
	if err := c.hear(kindBroken).into(&b); err != nil || b.Error != "no board 9" || !b.Usage {
		t.Errorf("%+v, %v", b, err)
	}
	if err := ended(); err != nil {
		t.Error(err)
	}
}

func TestAKeeperThatNobodySpeaksToEnds(t *testing.T) {
	dir := folderOfItsOwn(t)
	ended := kept(t, dir)
	c := attachTo(t, dir, attach{Boards: "sim", Patience: 300 * time.Millisecond})
	c.hear(kindHello)
	c.say(words(kindStart, start{Run: 1, Plan: sampler.Plan{Power: time.Millisecond}}))
	if err := ended(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its folder is left: %v", err)
	}
}

// Whatever stands on the wire is an error at worst.
func FuzzMessage(f *testing.F) {
	f.Add([]byte("\x05\x00\x00\x00phello"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		m, err := read(bufio.NewReader(bytes.NewReader(text)), clock.Now)
		if err != nil {
			return
		}
		var a, b int64
		_, _ = m.numbers(&a, &b)
		_ = m.into(&hello{})
		_, _ = journal.NewDecoder(memory.DefaultAllocator).Decode(m.payload, nil)
	})
}
