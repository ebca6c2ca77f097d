package main

import (
	"testing"

	"github.com/llm-tracer/tracer/analysis"
)

func TestTooManyInvalidRequestsArePartialData(t *testing.T) {
	for _, c := range []struct {
		flag           string
		valid, invalid int
		code           int
	}{
		{"", 0, 100, exitOK},
		{"0", 100, 0, exitOK},
		{"0", 100, 1, exitPartial},
		{"5", 100, 5, exitOK},
		{"5", 100, 6, exitPartial},
		{"10%", 9, 1, exitOK},
		{"10%", 8, 2, exitPartial},
		{"0%", 8, 0, exitOK},
		{"0%", 0, 0, exitOK},
		{"100%", 0, 8, exitOK},
	} {
		m, err := parseMaxInvalid(c.flag)
		if err != nil {
			t.Fatal(err)
		}
		code := exitOK
		if err := m.check(analysis.RequestCounts{Valid: c.valid, Invalid: c.invalid}); err != nil {
			code = exitCode(err)
		}
		if code != c.code {
			t.Errorf("--max-invalid %q of %d valid and %d invalid: %d, want %d", c.flag, c.valid, c.invalid, code, c.code)
		}
	}
	for _, flag := range []string{"-1", "1.5", "x", "101%", "NaN", "NaN%", "%"} {
		if _, err := parseMaxInvalid(flag); err == nil || exitCode(err) != exitUsage {
			t.Errorf("--max-invalid %s: %v", flag, err)
		}
	}
}
