#!/usr/bin/env bash
# Runs every fuzzer of the tree for a while each: `scripts/fuzz.sh 10m`, 60 s without an argument. Two run at a time on each
# core, each with one worker; little of it goes into making inputs shorter, which took FuzzStream nearly
# all its time. What breaks one is written to testdata/fuzz beside it: keep it, it is a seed for every later test.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-60s}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

fuzzers() { # one line each: PACKAGE NAME
	local package
	for package in $(go list ./...); do
		grep -qs '^func Fuzz' "$(go list -f '{{.Dir}}' "$package")"/*_test.go || continue
		go test -list '^Fuzz' "$package" | sed -n "s,^\(Fuzz.*\),$package \1,p"
	done
}

# Go before 1.27 may call the end of the time itself a failure (go.dev/issue/75804): no input, no other message.
only_late() { # LOG
	[ "$(sed -n '/^--- FAIL/,/^FAIL/p' "$1" | sed '1d;$d' | tr -d ' \t')" = contextdeadlineexceeded ]
}

fuzz() { # PACKAGE NAME
	local log=$logs/$2
	if go test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 1s -parallel 1 >"$log" 2>&1 || only_late "$log"; then
		echo "ok    $2: $(grep -o 'execs: [0-9]*' "$log" | tail -n 1), $(grep -o 'total: [0-9]*' "$log" | tail -n 1) inputs kept"
	else
		echo "FAIL  $2"
		cat "$log"
		return 1
	fi
}

export -f fuzz only_late
export time logs
list=$(fuzzers)
[ -n "$list" ] || { echo "fuzz: no fuzzers found" >&2; exit 1; }
echo "$(wc -l <<<"$list") fuzzers, $time each, $(($(nproc) * 2)) at a time"
xargs -P $(($(nproc) * 2)) -L 1 bash -c 'fuzz "$@"' fuzz <<<"$list"
