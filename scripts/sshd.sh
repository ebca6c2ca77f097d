#!/bin/sh
# Installs Debian's OpenSSH server if the host has none: the tests of --gpu ssh://… start one of their own, in a network namespace,
# with their own keys. About 2 MB are fetched, from wherever the host's own apt sources point; installing needs root. The package's
# own service is not started.
set -eu

test -x /usr/sbin/sshd && exit 0
die() {
	echo "sshd.sh: $1" >&2
	exit 1
}
command -v apt-get >/dev/null || die "this host has neither an OpenSSH server nor apt-get"
test "$(id -u)" = 0 || die "installing openssh-server needs root"
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt-get -q update >"$log" 2>&1 || true # what is known already may do
apt-get -q install --yes --no-install-recommends openssh-server openssh-client iproute2 >>"$log" 2>&1 || {
	tail -n 20 "$log" >&2
	die "cannot install the package openssh-server"
}
