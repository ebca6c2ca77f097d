package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/sourcegraph/conc/pool"
)

// cost is what a process took, as the kernel counted it: CPU time is what travels, where others use the machine too.
type cost struct {
	cpu, wall time.Duration
	rss       int64 // bytes, at the most
}

func measure(ctx context.Context, args ...string) (cost, error) {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stderr = &said
	began := time.Now()
	err := cmd.Run()
	if err != nil {
		return cost{}, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	c := cost{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), wall: time.Since(began)}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.rss = usage.Maxrss << 10
	}
	return c, nil
}

// together runs processes at once.
func together(ctx context.Context, all [][]string) ([]cost, error) {
	group := pool.NewWithResults[cost]().WithContext(ctx)
	for _, args := range all {
		group.Go(func(ctx context.Context) (cost, error) { return measure(ctx, args...) })
	}
	return group.Wait()
}

// total is the CPU time of all, the wall time of the longest and the memory of the largest.
func total(costs []cost) (sum cost) {
	for _, c := range costs {
		sum.cpu += c.cpu
		sum.wall, sum.rss = max(sum.wall, c.wall), max(sum.rss, c.rss)
	}
	return sum
}

func perMillion(d time.Duration, rows int64) float64 { return d.Seconds() / (float64(rows) / 1e6) }

// disk counts a dataset's Parquet files and their bytes.
func disk(at string) (files int, size int64, err error) {
	err = filepath.WalkDir(at, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".parquet" {
			return err
		}
		is, err := e.Info()
		if err == nil {
			files, size = files+1, size+is.Size()
		}
		return err
	})
	return files, size, err
}

func cores() int { return runtime.NumCPU() }

// load is how many processes ran or wanted to, on average over the minute before; what is measured is among them.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	minute, _, _ := strings.Cut(string(text), " ")
	return minute
}
