#!/usr/bin/env bash
# Runs every program of bench/ that has a page.md.tmpl beside it, or those named, one after another, and assembles
# docs/benchmarks.md from what they say:
#
#	bench/all.sh [NAME…]
#
# A program is bench/NAME/run.sh, or else the Go program in bench/NAME. It prints one JSON document, {"section": "…",
# "rows": […]}, which is kept as build/bench/NAME.json, stamped with version, date and how busy the machine was. One that fails
# has its last line put into the page instead; the others go on, and the exit code is 1. What is not run again keeps its place
# in the page, which says so where it is of another version. PAGE is where the page goes instead of docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build/bench
mkdir -p "$out"
failed=0
# Before anything is written: the page and its pictures are no other version.
version=$(git describe --tags --always 2>/dev/null || echo dev)
[ -z "$(git status --porcelain --untracked-files=no -- . ':!docs' 2>/dev/null)" ] || version+=-dirty
go build -o "$out/page" ./bench/page

# CPU time of the machine, and of what this script has run, in hundredths of a second.
machine_cpu() { awk '/^cpu /{ print $2 + $3 + $4 + $7 + $8 }' /proc/stat; }
own_cpu() { awk '{ print $14 + $15 + $16 + $17 }' "/proc/$$/stat"; }

if [ $# -eq 0 ]; then
	for template in bench/*/page.md.tmpl; do
		set -- "$@" "$(basename "$(dirname "$template")")"
	done
fi
for name; do
	echo "== bench/$name" >&2
	began=$(date +%s.%N) machine=$(machine_cpu) own=$(own_cpu)
	if [ -x "bench/$name/run.sh" ]; then
		program=("bench/$name/run.sh")
	elif [ -f "bench/$name/go.mod" ]; then
		program=(go run -C "bench/$name" .)
	else
		program=(go run "./bench/$name")
	fi
	if "${program[@]}" >"$out/$name.json.new" 2> >(tee "$out/$name.log" >&2) && [ -s "$out/$name.json.new" ]; then
		read -r seconds others < <(awk -v from="$began" -v to="$(date +%s.%N)" -v all="$(($(machine_cpu) - machine))" -v own="$(($(own_cpu) - own))" \
			'BEGIN { print to - from, (all - own) / 100 / (to - from) }')
		"$out/page" -stamp "$out/$name.json.new" -version "$version" -seconds "$seconds" -others "$others"
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
	echo "== bench/$name: $(awk -v from="$began" -v to="$(date +%s.%N)" 'BEGIN { printf "%.0f", to - from }') s" >&2
done
"$out/page" -version "$version" -out "${PAGE:-docs/benchmarks.md}"
exit $failed
