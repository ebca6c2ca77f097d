// Command scaling
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
)

func main() {
	from := flag.String("from", "", "")
	out := flag.String("out", "", "")
	a := flag.Int("a", 0, "")
	b := flag.Int("b", 0, "")
	flag.Parse()
	all, err := templates(*from)
	if err == nil {
		err = copyRuns(context.Background(), all, *out, *a, *b)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
