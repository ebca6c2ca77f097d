#!/usr/bin/env bash
# Runs every fuzzer of the tree for a while each, so many at a time, each with one worker: `scripts/fuzz.sh 60m 10`; 60 s
# without an argument, and five at a time on two cores, so that ten are done in two rounds. Little of it goes into making
# inputs shorter, which took FuzzStream nearly all its time. What breaks one is written to testdata/fuzz beside it: keep it,
# it is a seed for every later test. Fuzzers begin with the inputs that an hour of each has found to reach new code;
# KEEP=1 adds what this run finds.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-60s}
at_once=${2:-$(($(nproc) * 5 / 2))}
kept=scripts/fuzz-corpus.tar.gz
cache=$(go env GOCACHE)/fuzz/$(go list -m)
mkdir -p "$cache"
tar -xzf "$kept" -C "$cache" --skip-old-files
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

fuzzers() { # one line each: PACKAGE NAME
	local package dir
	while read -r package dir; do
		sed -n "s,^func \(Fuzz[A-Za-z0-9]*\)(.*,$package \1,p" /dev/null "$dir"/*_test.go
	done < <(go list -f '{{if .TestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}' ./...)
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
echo "$(wc -l <<<"$list") fuzzers, $time each, $at_once at a time"
xargs -P "$at_once" -L 1 bash -c 'fuzz "$@"' fuzz <<<"$list"
[ -z "${KEEP:-}" ] || tar -C "$cache" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf - . | gzip -9n >"$kept"
