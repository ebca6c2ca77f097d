// Command scaling measures what a dataset costs as it grows: tracers that write into it at once, and verify, summary and
// report over more and more rows. make scaling calls it; docs/scaling.md has what came of it.
//
// Rows beyond the first are copies: a few runs are written by the pipeline (scripts/big), then published again and again
// under other run ids, files and manifests rewritten. A copy has its own name in every row, and the bytes that the pipeline
// gave the original otherwise, instants included: so a billion rows take minutes, and every check of verify still holds.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	s := sweep{out: os.Stdout}
	sizes := flag.String("sizes", "1e6,1e7,1e8", "rows of the datasets, growing")
	writers := flag.String("writers", "1,2,4,8", "processes that write at once")
	flag.StringVar(&s.tracer, "tracer", "build/tracer", "the program")
	flag.StringVar(&s.big, "big", "build/big-writer", "scripts/big, built")
	flag.StringVar(&s.dir, "out", "build/scaling", "folder for the datasets; 6 bytes a row")
	flag.Int64Var(&s.verifyUpTo, "verify-up-to", 1e9, "rows above which verify is left out: it takes 1.7 s of CPU a million")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := s.run(ctx, numbers(*writers), numbers(*sizes))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

func numbers(list string) (all []int64) {
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.ParseFloat(word, 64)
		if err != nil || n < 1 {
			fmt.Fprintf(os.Stderr, "scaling: %q is no number of 1 or more\n", word)
			os.Exit(2)
		}
		all = append(all, int64(n))
	}
	return all
}

// rowsPerRun is scripts/big's; originals is how many runs are copied in turn: two of each of its boards.
const (
	rowsPerRun = 500_000
	originals  = 6
)

type sweep struct {
	tracer, big, dir string
	out              io.Writer
	verifyUpTo       int64
}

func (s *sweep) run(ctx context.Context, writers, sizes []int64) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%d cores, load %s\n\n", cores(), load())
	fmt.Fprintln(s.out, "| writers | rows | CPU s/M rows | wall s | load | peak RSS, each | bytes/row | verify |\n|---|---|---|---|---|---|---|---|")
	for _, n := range writers {
		if err := s.write(ctx, int(n)); err != nil {
			return err
		}
	}
	fmt.Fprintln(s.out, "\n| rows | runs | files | GB | command | CPU s | CPU s/M rows | wall s | load | peak RSS |\n|---|---|---|---|---|---|---|---|---|---|")
	for _, rows := range sizes {
		if err := s.read(ctx, rows); err != nil {
			return err
		}
	}
	return nil
}

// write has processes write a run each into one dataset at once, and verifies what came of it.
func (s *sweep) write(ctx context.Context, n int) error {
	at := filepath.Join(s.dir, fmt.Sprintf("writers-%d", n))
	if err := os.RemoveAll(at); err != nil {
		return err
	}
	var all [][]string
	for i := range n {
		all = append(all, []string{s.big, "-rows", strconv.Itoa(rowsPerRun), "-first", strconv.Itoa(i), "-out", at})
	}
	costs, err := together(ctx, all)
	if err != nil {
		return err
	}
	_, bytes, err := disk(at)
	if err != nil {
		return err
	}
	sum, rows := total(costs), int64(n*rowsPerRun)
	says, busy := "clean", load()
	if _, err := measure(ctx, s.tracer, "verify", at); err != nil {
		says = err.Error()
	}
	fmt.Fprintf(s.out, "| %d | %d | %.2f | %.1f | %s | %d MiB | %.2f | %s |\n", n, rows, perMillion(sum.cpu, rows), sum.wall.Seconds(), busy, sum.rss>>20, float64(bytes)/float64(rows), says)
	return nil
}

// read grows a dataset to some rows, and measures the commands that read it.
func (s *sweep) read(ctx context.Context, rows int64) error {
	from, at := filepath.Join(s.dir, "templates"), filepath.Join(s.dir, "dataset")
	if _, err := os.Stat(from); err != nil {
		if _, err := measure(ctx, s.big, "-rows", strconv.Itoa(originals*rowsPerRun), "-out", from); err != nil {
			return err
		}
	}
	runs := int((rows + rowsPerRun - 1) / rowsPerRun)
	if err := grow(ctx, from, at, runs); err != nil {
		return err
	}
	files, bytes, err := disk(at)
	if err != nil {
		return err
	}
	for _, command := range [][]string{{"summary", at}, {"report", at, "-o", filepath.Join(s.dir, "report.html")}, {"verify", at}} {
		if command[0] == "verify" && rows > s.verifyUpTo {
			continue
		}
		c, err := measure(ctx, append([]string{s.tracer}, command...)...)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "| %.0e | %d | %d | %.2f | %s | %.1f | %.3f | %.1f | %s | %d MiB |\n", float64(rows), runs, files, float64(bytes)/1e9, command[0], c.cpu.Seconds(), perMillion(c.cpu, rows), c.wall.Seconds(), load(), c.rss>>20)
	}
	return nil
}
