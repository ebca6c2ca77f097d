package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/apache/iceberg-go/catalog/hadoop"
)

// The exit codes are tracer's.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, in io.Reader, out, complaints io.Writer) int {
	flags := flag.NewFlagSet("tracer-publish", flag.ContinueOnError)
	flags.SetOutput(complaints)
	warehouse := flags.String("warehouse", "", "folder of the tables: a path on this machine")
	namespace := flags.String("namespace", "tracer", "namespace of the tables; dots divide levels")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitOK
	} else if err != nil {
		return exitUsage
	}
	if *warehouse == "" || *namespace == "" || flags.NArg() > 0 {
		fmt.Fprintln(complaints, "tracer-publish: give --warehouse FOLDER, and the listing on standard input; tracer publish --iceberg does both")
		return exitUsage
	}
	if err := publish(ctx, *warehouse, *namespace, in, out); err != nil {
		fmt.Fprintln(complaints, "tracer-publish:", err)
		return exitFailure
	}
	return exitOK
}

func publish(ctx context.Context, warehouse, namespace string, in io.Reader, out io.Writer) error {
	l, err := readListing(in)
	if err != nil {
		return err
	}
	c, err := hadoop.NewCatalog("tracer", warehouse, nil)
	if err != nil {
		return fmt.Errorf("opening the warehouse %s: %w", warehouse, err)
	}
	defer c.Close() //nolint:errcheck // it reports metrics to nobody
	r := &registrar{catalog: c, namespace: strings.Split(namespace, "."), dataset: l.Dataset, told: func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }}
	return r.register(ctx, l)
}
