#!/bin/sh
# Prints the path of a program that runs llama.cpp's llama-server, installing it under build/llama first if need be.
#
# The server comes as Debian packages of a newer suite than the host's, with every library they need down to libc, and
# runs under its own loader: nothing is compiled, and the host's packages, apt lists and apt cache stay as they are.
# About 30 MB are fetched, from wherever the host's own apt sources point.
set -eu
umask 022

repo=$(cd "$(dirname "$0")/.." && pwd)
cache=$repo/build/llama
server=$cache/server/llama-server
work=$cache/.install
log=$work/log

die() {
	[ ! -s "$log" ] || tail -n 20 "$log" >&2
	echo "llama-server.sh: $1" >&2
	exit 1
}

# The first error apt gave, without its prefix; those after it are its consequences.
apt_error() {
	cause=$(sed -n 's/^E: //p' "$log" | head -n 1)
	echo "${cause:-no error given}"
}

works() { "$server" --version >/dev/null 2>&1; }

# The archives that the host's sources take its own suite from. More than Debian's may answer to that (other publishers
# name their suites alike); theirs have no testing and lack its signature.
archives() {
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
	apt-get update --print-uris 2>"$log" |
		sed -nE "s,^'(.*/)dists/($codename|(old)?stable|testing|unstable|sid)/InRelease'.*,\\1,p" | awk '!seen[$0]++'
}

# apt over a state of its own: an empty package status makes it choose every library of the newer suite, and cleared
# hooks keep the host's clean-up from running on the host's cache.
write_apt_conf() {
	cat >"$work/apt.conf" <<-EOF
		#clear APT::Update;
		APT::Get::Assume-Yes "true";
		APT::Install-Recommends "false";
		APT::Sandbox::User "";
		Acquire::Languages "none";
		Acquire::Retries "3";
		Acquire::http::Timeout "30";
		Acquire::https::Timeout "30";
		Debug::NoLocking "true";
		Dir::Cache "$work/apt/cache";
		Dir::Cache::archives "$work/debs";
		Dir::Etc::Preferences "/dev/null";
		Dir::Etc::PreferencesParts "/dev/null";
		Dir::Etc::SourceList "$work/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::State "$work/apt/state";
		Dir::State::status "$work/apt/status";
	EOF
}

fetch() { # URI SUITE
	signed=
	for keyring in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
		[ ! -e "$keyring" ] || signed=" signed-by=$keyring"
	done
	echo "deb [target=Packages$signed] $1 $2 main" >"$work/sources.list"
	rm -rf "$work/apt" "$work/debs"
	mkdir -p "$work/apt/state/lists/partial" "$work/apt/cache" "$work/debs/partial"
	: >"$work/apt/status"
	apt-get -q -c "$work/apt.conf" update --error-on=any >"$log" 2>&1 &&
		apt-get -q -c "$work/apt.conf" install --download-only llama.cpp-tools >>"$log" 2>&1
}

# Testing's packages fit each other; unstable still has the server at times when testing has dropped it.
fetch_any() {
	causes=
	for uri in $(archives); do
		for suite in testing unstable; do
			! fetch "$uri" "$suite" || return 0
			causes="$causes${causes:+; }$suite of $uri: $(apt_error)"
		done
	done
	die "cannot get the package llama.cpp-tools (${causes:-no apt source names a Debian archive})"
}

# unpack makes work/server: the packages' libraries and programs, and a launcher that needs nothing of the host.
unpack() {
	root=$work/server/root
	mkdir -p "$root"
	for deb in "$work"/debs/*.deb; do
		dpkg-deb --extract "$deb" "$root" >>"$log" 2>&1 || die "cannot unpack ${deb##*/}"
	done
	rm -rf "${root:?}/usr/share" "${root:?}/etc" "${root:?}/var"

	loader=$(find "$root/usr/lib" -name 'ld-linux*.so.*' -path '*-linux-gnu*' | head -n 1)
	[ -n "$loader" ] || die "the packages hold no loader"
	lib=$(dirname "$loader")
	# ggml looks for the code of each kind of CPU beside the running program, which here is the loader.
	find "$lib/ggml" -name 'libggml-*.so' -exec mv {} "$lib" \;
	cat >"$work/server/llama-server" <<-EOF
		#!/bin/sh
		# A library that the caller preloads or puts first belongs to the host's libc, which is not this program's.
		unset LD_LIBRARY_PATH LD_PRELOAD
		root=\$(dirname "\$(readlink -f "\$0")")/root
		lib=\$root/${lib#"$root"/}
		exec "\$lib/${loader##*/}" --library-path "\$lib:\$lib/llama" "\$root/usr/bin/llama-server" "\$@"
	EOF
	chmod +x "$work/server/llama-server"
}

install() {
	command -v apt-get >/dev/null || die "the server is installed from Debian packages, and this host has no apt-get"
	write_apt_conf
	fetch_any
	unpack
	"$work/server/llama-server" --version >>"$log" 2>&1 || die "the unpacked server does not run: $(tail -n 1 "$log")"
	rm -rf "$cache/server"
	mv "$work/server" "$cache/server"
}

if ! works; then
	mkdir -p "$cache"
	exec 9>"$cache/.lock"
	flock 9
	if ! works; then # nobody else has just finished it
		rm -rf "$work"
		mkdir "$work"
		install
	fi
	rm -rf "$work"
	exec 9>&-
fi
echo "$server"
