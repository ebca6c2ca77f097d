#!/bin/sh
# Prints the path of a Chromium, installing Debian's first if the host has none: the tests of `tracer report` open its pages.
# About 100 MB are fetched, from wherever the host's own apt sources point; installing needs root, or sudo without a password.
set -eu

die() {
	echo "chromium.sh: $1" >&2
	exit 1
}

found() {
	for name in chromium chromium-browser google-chrome google-chrome-stable; do
		! command -v "$name" || return 0
	done
	return 1
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

if ! found; then
	command -v apt-get >/dev/null || die "this host has neither Chromium nor apt-get"
	export DEBIAN_FRONTEND=noninteractive
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	as_root apt-get -q update >"$log" 2>&1 || true # what is known already may do
	as_root apt-get -q install --yes --no-install-recommends chromium fonts-dejavu-core >>"$log" 2>&1 || {
		tail -n 20 "$log" >&2
		die "cannot install the package chromium"
	}
	found || die "the package chromium has no program of that name"
fi
