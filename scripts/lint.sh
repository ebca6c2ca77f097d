#!/usr/bin/env bash
# Lints what is in the tree: Go with golangci-lint as .golangci.yml says (gofumpt included), shell with shellcheck and
# Python with ruff where they are installed. Arguments go to golangci-lint run: `scripts/lint.sh --fix` mends what it can.
#
# golangci-lint is built by `go install` into build/bin, at the version below, the first time.
set -euo pipefail
cd "$(dirname "$0")/.."

version=2.15.0
bin=$PWD/build/bin
failed=()

run() { # NAME COMMAND…
	echo "== $1"
	"${@:2}" || failed+=("$1")
}

files() { # NAME PATTERN…, as find takes them: what is in the tree, without what was built or installed there
	find . \( -path ./build -o -path ./.venv -o -path ./.git \) -prune -o -type f \( "$@" \) -print0
}

have() {
	[ -x "$bin/golangci-lint" ] && [ "$("$bin/golangci-lint" version --short)" = "$version" ]
}

if ! have; then
	echo "== installing golangci-lint $version into build/bin"
	GOBIN=$bin GOFLAGS='' go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$version"
	have || { echo "lint: build/bin/golangci-lint is not version $version" >&2; exit 1; }
fi

# No linter knows this rule of the house: every goroutine belongs to a conc group, or a pool of it. Tests may differ.
goroutines() {
	! files -name '*.go' ! -name '*_test.go' |
		xargs -0r grep -nE '^[[:space:]]*go[[:space:]]+(func\>|[A-Za-z_][A-Za-z0-9_.]*\()'
}

python_tool() { # NAME: in .venv or on the PATH
	if [ -x ".venv/bin/$1" ]; then echo ".venv/bin/$1"; else command -v "$1"; fi
}

# A module of its own: arrow-go v18, which the rules forbid elsewhere, is what it is there for.
in_publish() { (cd publish && "$bin/golangci-lint" run --disable depguard "$@" ./...); }

run "golangci-lint $version" "$bin/golangci-lint" run "$@" ./...
run "golangci-lint in publish" in_publish "$@"
run "goroutines outside conc" goroutines

if command -v shellcheck >/dev/null; then
	mapfile -d '' -t shell < <(files -name '*.sh' -o -path './.ci/run')
	run "shellcheck" shellcheck --severity=warning "${shell[@]}"
else
	echo "== shellcheck: skipped, it is not installed here"
fi

if ruff=$(python_tool ruff); then
	run "ruff" "$ruff" check --quiet scripts rig
else
	echo "== ruff: skipped, it is not installed here"
fi

if [ ${#failed[@]} -gt 0 ]; then
	printf 'lint: %s failed\n' "${failed[@]}" >&2
	exit 1
fi
