#!/usr/bin/env bash
# Runs the code blocks of README.md and docs/*.md as they stand, on a short simulated trace in a temporary folder's
# datasets/: what the documentation shows is what works. scripts/snippets.py says which blocks, and when one fails.
#
#   TRACER  the program (default: build/tracer)
#   VENV    a virtual environment with scripts/requirements.txt (default: .venv)
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
tracer=$(realpath "${TRACER:-build/tracer}")
python=$(realpath -s "${VENV:-.venv}/bin/python")
for program in "$tracer" "$python"; do
	[ -x "$program" ] || { echo "snippets: no program at $program: make build .venv/ready" >&2; exit 2; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/build"
ln -s "$tracer" "$work/build/tracer"
[ ! -e build/libnvidia-ml.so.1 ] || ln -s "$root/build/libnvidia-ml.so.1" "$work/build/"
cd "$work"

# Nothing from the caller's environment or a tracer.yaml of theirs: the folder is empty, and TRACER_ variables are flags.
for name in $(compgen -e TRACER || true); do unset "$name"; done
bin=$(dirname "$python") # kavier
export PATH=$work/build:$bin:$PATH

# The smallest trace that has every kind of row: two workloads, two sizes, warm-up and idle.
if ! tracer collect --gpu sim:H200 --endpoint sim --sizes 50,100 --prompts 2 --warmup 1 --idle 500ms --out datasets >trace.log 2>&1; then
	cat trace.log >&2
	exit 1
fi
cp -r "$root/datasets/sample" datasets/ # what the cookbook reads
"$python" "$root/scripts/snippets.py" "$root"
