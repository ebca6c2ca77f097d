// Command soak shows what docs/reliability.md quotes: that tracer's memory stays flat and nothing is dropped while it reads
// eight boards every millisecond, and what recovering a day's journal takes.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/llm-tracer/tracer/schema"
)

func main() {
	tracer := flag.String("tracer", "build/tracer", "the program")
	length := flag.Duration("length", 10*time.Minute, "of the run with eight boards; 0: none")
	day := flag.Duration("replay", 24*time.Hour, "length of the run whose journal is recovered; 0: none")
	flag.Parse()
	if err := soak(*tracer, *length, *day); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func soak(tracer string, length, day time.Duration) error {
	dir, err := os.MkdirTemp("", "tracer-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	if length > 0 {
		if err := eightBoards(tracer, filepath.Join(dir, "boards"), length); err != nil {
			return err
		}
	}
	if day > 0 {
		return recoverDay(tracer, filepath.Join(dir, "day"), day)
	}
	return nil
}

// simulated are the arguments of a run that goes on for hours.
func simulated(out, run, gpu, period string) []string {
	return []string{
		"collect", "--out", out, "--run-id", run, "--gpu", gpu, "--endpoint", "sim", "--sizes", "100,1000", "--prompts", "20", "--repeat", "100",
		"--warmup", "0", "--idle", "0s", "--calibrate", "off", "--period", period, "--json",
	}
}

// eightBoards reads eight boards every millisecond for so long and prints what was dropped and what memory that took.
func eightBoards(tracer, out string, length time.Duration) error {
	boards := strings.TrimSuffix(strings.Repeat("sim:H100-SXM,", 8), ",")
	cmd := exec.Command(tracer, simulated(out, "soak", boards, "1ms")...)
	cmd.Stderr = os.Stderr
	said, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	series := watch(cmd.Process.Pid, length)
	if err := cmd.Process.Signal(os.Interrupt); err != nil { // it commits
		return err
	}
	text, err := io.ReadAll(said)
	if err != nil {
		return err
	}
	const interrupted = 130
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != interrupted {
		return fmt.Errorf("tracer collect: %w", err)
	}
	var result struct{ Sampling []schema.Sampling }
	if err := json.Unmarshal(text, &result); err != nil {
		return fmt.Errorf("reading the result: %w", err)
	}
	var sum schema.Sampling
	for _, s := range result.Sampling {
		sum.Readings, sum.Dropped, sum.MissedTicks = sum.Readings+s.Readings, sum.Dropped+s.Dropped, sum.MissedTicks+s.MissedTicks
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)                                                                                   //nolint:forcetypeassert // on Linux it is one
	fmt.Printf("8 boards every 1 ms for %v: %d readings, %d dropped, %d slots missed\n", length, sum.Readings, sum.Dropped, sum.MissedTicks) //nolint:forbidigo // its output
	late := series[len(series)/5:]
	fmt.Printf("memory: at most %.0f MB while sampling and %.0f MB at the commit; %+.1f MB a minute over the last four fifths, %+.1f over the last three tenths\n", //nolint:forbidigo // its output
		series.peakMB(), float64(usage.Maxrss)/1e3, late.slopeMB(), series[len(series)*7/10:].slopeMB())
	fmt.Printf("memory by the minute, MB: %.0f\n", series.minutesMB()) //nolint:forbidigo // its output
	return nil
}

// memory is a process's resident memory, second by second, in kB.
type memory []float64

func watch(pid int, length time.Duration) (series memory) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range int(length / time.Second) {
		<-tick.C
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
		if err != nil {
			return series
		}
		for line := range strings.Lines(string(text)) {
			if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				n, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")), 64)
				series = append(series, n)
			}
		}
	}
	return series
}

func (m memory) peakMB() (peak float64) {
	for _, kb := range m {
		peak = max(peak, kb/1e3)
	}
	return peak
}

func (m memory) minutesMB() (minutes []float64) {
	for i := 59; i < len(m); i += 60 {
		minutes = append(minutes, m[i]/1e3)
	}
	return minutes
}

// slopeMB is the slope of least squares, per minute.
func (m memory) slopeMB() float64 {
	var sx, sy, sxx, sxy float64
	n := float64(len(m))
	for i, kb := range m {
		x, y := float64(i)/60, kb/1e3
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

// bytesUnder is the size of a folder's files.
func bytesUnder(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return n, err
}
