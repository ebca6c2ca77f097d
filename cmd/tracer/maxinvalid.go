package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/llm-tracer/tracer/analysis"
)

// maxInvalid is how many of a run's measured requests may be invalid before its data counts as partial.
type maxInvalid struct {
	text  string
	count float64
	share float64
}

// parseMaxInvalid reads a number of requests, or a share of them in per cent; nothing is any number.
func parseMaxInvalid(text string) (m maxInvalid, err error) {
	m = maxInvalid{text: text, count: math.Inf(1), share: 1}
	if text == "" {
		return m, nil
	}
	number, isShare := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v >= 0) || isShare && v > 100 || !isShare && v != math.Trunc(v) {
		return m, usage("--max-invalid %s: give a number of requests such as 5, or a share of them such as 1%%", text)
	}
	if isShare {
		m.share = v / 100
	} else {
		m.count = v
	}
	return m, nil
}

// check is the error of a run with more invalid requests than that; warm-up does not count.
func (m maxInvalid) check(n analysis.RequestCounts) error {
	invalid, measured := float64(n.Invalid), float64(n.Valid+n.Invalid)
	if invalid <= m.count && invalid <= m.share*measured {
		return nil
	}
	return &codedError{exitPartial, fmt.Errorf("%d of %d requests are not valid, more than --max-invalid %s; the reasons stand above, and in invalid_reasons", n.Invalid, n.Valid+n.Invalid, m.text)}
}
