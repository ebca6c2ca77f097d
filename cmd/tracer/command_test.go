package main

import (
	"strings"
	"testing"
)

func TestTheCommandLineIsKeptWithoutTheEndpointsSecrets(t *testing.T) {
	const shown = "http://host/v1"
	for _, args := range [][]string{
		{"tracer", "collect", "--endpoint", "http://user:SECRET@host/v1?token=SECRET#SECRET", "--sizes", "10"},
		{"tracer", "collect", "--endpoint=user:SECRET@host/v1", "--sizes", "10"},
		{"tracer", "collect", "--sizes", "10", "--endpoint", "http://user:p@SECRET@host"},
	} {
		got := commandLine(args, shown)
		if strings.Contains(got, "SECRET") || !strings.Contains(got, shown) || !strings.Contains(got, "--sizes 10") {
			t.Errorf("%q is kept as %q", args, got)
		}
	}
}
