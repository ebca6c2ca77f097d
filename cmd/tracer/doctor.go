package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/pipeline/bucket"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/nvml"
)

const (
	probeLength   = 2 * time.Second
	connectWithin = 10 * time.Second
	enoughDisk    = 1 << 30
	lateTick      = 2 * time.Millisecond
)

type doctor struct {
	Out           string        `default:"datasets" placeholder:"DIR" help:"Dataset that would be written into (default: ${default})."`
	Endpoint      string        `default:"http://127.0.0.1:8000/v1" placeholder:"URL" help:"OpenAI-compatible server to ask (default: ${default})."`
	Model         string        `placeholder:"NAME" help:"Model that would be asked for."`
	Server        string        `placeholder:"NAME" help:"Server profile (default: detected)."`
	GPU           string        `name:"gpu" default:"auto" placeholder:"BOARDS" help:"Boards to probe (default: ${default})."`
	DriverTimeout time.Duration `name:"driver-timeout" default:"10s" placeholder:"TIME" help:"Give a call of the GPU driver up after so long (default: ${default})."`
	APIKeyFile    string        `name:"api-key-file" placeholder:"PATH" help:"File that holds the server's API key (default: the environment's TRACER_API_KEY)."`
	tlsFlags
}

// findings is a doctor's report: what is well, what is not, and how to mend it.
type findings struct {
	out    io.Writer
	ailing int
}

func (f *findings) well(what, format string, args ...any) {
	fmt.Fprintf(f.out, "ok    %-9s %s\n", what, fmt.Sprintf(format, args...))
}

func (f *findings) ill(what, mend string, err error) {
	f.ailing++
	fmt.Fprintf(f.out, "FAIL  %-9s %v\n      %-9s mend: %s\n", what, err, "", mend)
}

// note is neither: what the numbers of a thing that works do not mean.
func (f *findings) note(what, note string) { fmt.Fprintf(f.out, "note  %-9s %s\n", what, note) }

// Run looks at everything that collect needs, and goes on past what fails.
func (d *doctor) Run(t *terminal, l *layers) error {
	if err := errors.Join(checkDriverTimeout(d.DriverTimeout), onlyHere("doctor", d.GPU)); err != nil {
		return err
	}
	again := d.warn(t)
	defer again()
	f := &findings{out: t.out}
	fmt.Fprintf(t.out, "tracer %s on %s, %s, %s\n\n", versionLine(), hostname(), kernel(), cpu())
	d.boards(f)
	d.endpoint(f, l)
	d.clock(f)
	d.disk(f)
	if f.ailing > 0 {
		return environment(fmt.Errorf("%d of 4 checks failed; see the mends above", f.ailing))
	}
	return nil
}

func (d *doctor) boards(f *findings) {
	library, err := nvml.Open(nvml.Options{Patience: d.DriverTimeout})
	if err != nil {
		f.ill("driver", "run on the machine that has the GPU; install the NVIDIA driver, or in a container start it with --gpus all; LD_LIBRARY_PATH must reach libnvidia-ml.so.1", err)
		return
	}
	defer library.Close() //nolint:errcheck // at exit
	devices, said, err := selectBoards(library, d.GPU)
	if err != nil {
		f.ill("boards", "name boards that are listed, or auto", err)
		return
	}
	first := devices[0].Board()
	f.well("driver", "%s, NVML %s, CUDA %s", first.DriverVersion, first.NVMLVersion, first.CUDAVersion)
	if said != "" {
		f.note("boards", said)
	}
	for _, device := range devices {
		d.board(f, device)
	}
}

func (d *doctor) board(f *findings, device sampler.Device) {
	b := device.Board()
	f.well("board", "%d %s (%s) %s, %s", b.Index, b.Name, b.Architecture, b.UUID, b.PCIBusID)
	for _, caveat := range caveats(b) {
		f.note("board", caveat)
	}
	probed := device.(*nvml.Board)
	answers, err := sampler.Within(probeLength+d.DriverTimeout, func() ([]nvml.Answer, error) {
		return probed.Probe(context.Background(), probeLength)
	})
	if errors.Is(err, sampler.ErrHung) {
		probed.Abandon()
	}
	if err != nil {
		f.ill("sensors", "see dmesg for the driver's own words; a lost board needs a reset", err)
		return
	}
	w := tabwriter.NewWriter(f.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\tsensor\tvalue\tchanges in %v\tevery\tcall\t\n", probeLength)
	for _, a := range answers {
		value, every := a.Text, "–"
		if a.Value.OK {
			value = fmt.Sprintf("%.6g %s", a.Value.V, a.Unit)
		}
		if a.Every > 0 {
			every = a.Every.Round(100 * time.Microsecond).String()
		}
		fmt.Fprintf(w, "\t%s\t%s\t%d of %d reads\t%s\t%v\t\n", a.Sensor, value, a.Changes, a.Reads, every, a.Cost.Round(100*time.Nanosecond))
	}
	_ = w.Flush() // the terminal went away
	fmt.Fprintf(f.out, "      power sensor taken as: new value every %v, averaged over %v (%s)\n", b.Power.Period, b.Power.Window, b.Power.Provenance)
}

func (d *doctor) endpoint(f *findings, l *layers) {
	key, err := l.key(d.APIKeyFile)
	if err != nil {
		f.ill("endpoint", "give a readable key file, or set TRACER_API_KEY", err)
		return
	}
	secure, err := d.tls()
	if err != nil {
		f.ill("endpoint", "name files that are there, or leave the flags out", err)
		return
	}
	cfg := nebula.Config{Endpoint: d.Endpoint, Key: key, TLS: secure}
	if d.Server != "" {
		if cfg.Profile, err = nebula.ProfileByName(d.Server); err != nil {
			f.ill("endpoint", "choose one of these profiles, or leave --server out", err)
			return
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectWithin)
	defer cancel()
	info, err := nebula.Detect(ctx, cfg)
	if err != nil {
		mend := "do as it says, or name another with --endpoint"
		if errors.Is(err, nebula.ErrUnreachable) {
			mend = "start the model server, or name it with --endpoint"
		}
		f.ill("endpoint", mend, err)
		return
	}
	model, err := chooseModel(info, d.Model, "--model")
	if err != nil {
		f.ill("model", "name one of these with --model", err)
		return
	}
	contextLength := "unknown context length"
	if m, ok := info.Find(model); ok && m.MaxContext.OK {
		contextLength = fmt.Sprintf("context of %d tokens", m.MaxContext.V)
	}
	f.well("endpoint", "%s is %s %s (%s)", info.Endpoint, info.Profile.Name, info.Version, info.Evidence)
	f.well("model", "%s, %s", model, contextLength)
}

// clock checks that a thread can wake when it means to: the sampler depends on it.
func (d *doctor) clock(f *findings) {
	var worst time.Duration
	for range 100 {
		due := clock.Now() + int64(5*time.Millisecond)
		clock.SleepUntil(due)
		worst = max(worst, time.Duration(clock.Now()-due))
	}
	if worst > lateTick {
		f.ill("clock", "give tracer a free core; CAP_SYS_NICE lets its sampling thread have real-time priority", fmt.Errorf("of 100 wake-ups the latest came %v late", worst.Round(time.Microsecond)))
		return
	}
	f.well("clock", "100 wake-ups, the latest %v late", worst.Round(time.Microsecond))
}

// store asks the object store that --out names; it only reads, since nothing is to be left there.
func (d *doctor) store(f *findings) {
	at, err := place(d.Out)
	if err != nil {
		f.ill("store", "give --out as s3://bucket/prefix", err)
		return
	}
	ctx, stop := interruptible()
	defer stop()
	b, err := bucket.Open(ctx, at)
	if err == nil {
		var runs int
		if runs, err = b.Runs(ctx); err == nil {
			f.well("store", "%s answers, and holds %d runs", at, runs)
		}
		err = errors.Join(err, b.Close())
	}
	if err != nil {
		f.ill("store", "then run tracer doctor again", err)
	}
}

func (d *doctor) disk(f *findings) {
	if bucket.IsRemote(d.Out) {
		d.store(f)
		if err := (&spooled{}).locate(&d.Out); err != nil {
			return // told already
		}
	}
	dir := existing(d.Out)
	if err := tried(dir); err != nil {
		f.ill("disk", "choose a folder that you may write to with --out", err)
		return
	}
	free, err := freeBytes(dir)
	if err == nil && free < enoughDisk {
		err = fmt.Errorf("%s has %.1f GB free", dir, float64(free)/1e9)
	}
	if err != nil {
		f.ill("disk", "make room, or choose another folder with --out", err)
		return
	}
	f.well("disk", "%s can be written to and has %.1f GB free", dir, float64(free)/1e9)
}

// tried writes into a folder and leaves nothing there.
func tried(dir string) error {
	probe, err := os.CreateTemp(dir, ".tracer-doctor-*")
	if err != nil {
		return err
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	return nil
}

// existing is the folder, or the nearest above it that is there: the dataset's own is made by the first run.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}
