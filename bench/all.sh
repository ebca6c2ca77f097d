#!/usr/bin/env bash
# Runs every program of bench/ that has a page.md.tmpl beside it, or those named, one after another, and assembles
# docs/benchmarks.md from what they say:
#
#	bench/all.sh [NAME…]
#
# A program is bench/NAME/run.sh, or else the Go program in bench/NAME. It prints one JSON document, {"section": "…",
# "rows": […]}, which is kept as build/bench/NAME.json. One that fails has its last line put into the page instead; the others
# go on, and the exit code is 1. What is not run again keeps its place in the page.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build/bench
mkdir -p "$out"
failed=0

if [ $# -eq 0 ]; then
	for template in bench/*/page.md.tmpl; do
		set -- "$@" "$(basename "$(dirname "$template")")"
	done
fi
for name; do
	echo "== bench/$name" >&2
	began=$SECONDS
	if [ -x "bench/$name/run.sh" ]; then
		program=("bench/$name/run.sh")
	elif [ -f "bench/$name/go.mod" ]; then
		program=(go run -C "bench/$name" .)
	else
		program=(go run "./bench/$name")
	fi
	if "${program[@]}" >"$out/$name.json.new" 2> >(tee "$out/$name.log" >&2) && [ -s "$out/$name.json.new" ]; then
		mv "$out/$name.json.new" "$out/$name.json"
	else
		failed=1
		rm -f "$out/$name.json.new"
		echo "bench/$name failed; the page says so" >&2
		python3 - "$name" "$out/$name.log" >"$out/$name.json" <<-'PYTHON'
			import json, sys
			name, log = sys.argv[1:]
			lines = [line.strip() for line in open(log, errors="replace") if line.strip()]
			print(json.dumps({"section": name, "failed": lines[-1] if lines else "it said nothing"}))
		PYTHON
	fi
	echo "== bench/$name: $((SECONDS - began)) s" >&2
done
go run ./bench/page -version "$(git describe --tags --always --dirty 2>/dev/null || echo dev)"
exit $failed
