package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/sourcegraph/conc"
	"golang.org/x/sys/unix"

	"github.com/llm-tracer/tracer/pipeline/ring"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/nvml"
	"github.com/llm-tracer/tracer/schema"
)

// sampled is what tracer's sampler took.
type sampled struct {
	CPU      float64 `json:"cpu"`    // of the whole process, share of one core
	Thread   float64 `json:"thread"` // of the thread that reads
	Readings int64   `json:"readings"`
	Missed   int64   `json:"missed"`
	Ticks    int64   `json:"ticks"`
	Late     int64   `json:"late_p99_ns"` // behind the slot
}

// sample runs the sampler alone on all boards of a library, into a ring, and says
// what the process took meanwhile.
func sample(w io.Writer, library string, period, length time.Duration) error {
	l, err := nvml.Open(nvml.Options{LibraryPath: library})
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // the process ends
	devices, err := l.Select("auto")
	if err != nil {
		return err
	}
	boards := make([]schema.Board, len(devices))
	for i, d := range devices {
		boards[i] = d.Board()
	}
	plan, err := sampler.PlanFor(boards, period)
	if err != nil {
		return err
	}
	readings := wornIn()
	s, err := sampler.New(devices, plan, readings)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	var drain conc.WaitGroup
	drain.Go(func() { empty(ctx, readings) })
	used := processCPU()
	stats, err := s.Run(ctx)
	used = processCPU() - used
	drain.Wait()
	if err != nil {
		return err
	}
	seconds := stats.Elapsed.Seconds()
	return json.NewEncoder(w).Encode(sampled{
		CPU: used.Seconds() / seconds, Thread: stats.CPU.Seconds() / seconds,
		Readings: stats.Readings, Missed: stats.Missed, Ticks: stats.Ticks, Late: int64(stats.Lateness.P99),
	})
}

// wornIn is a ring that has been round once. The first time, the kernel hands out its memory page by page, in the thread that
// reads: a run pays that once, in its first seconds, and a run of two seconds would pay it throughout.
func wornIn() *ring.SPSC[schema.Reading] {
	q, into := ring.New[schema.Reading](1<<16), make([]schema.Reading, 4096)
	for range q.Cap() {
		q.Push(&schema.Reading{})
	}
	for q.Pop(into) > 0 { //nolint:revive // until the ring is empty
	}
	return q
}

// empty takes the readings away, every second.
func empty(ctx context.Context, readings *ring.SPSC[schema.Reading]) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	into := make([]schema.Reading, 4096)
	for ctx.Err() == nil {
		<-tick.C
		for readings.Pop(into) == len(into) { //nolint:revive // until the ring is empty
		}
	}
}

func processCPU() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		panic(fmt.Sprintf("clock_gettime: %v", err)) // Linux always has it
	}
	return time.Duration(t.Nano())
}
