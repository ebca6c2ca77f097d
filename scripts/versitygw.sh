#!/bin/sh
# Prints the path of versitygw, an S3 server over a folder, building it under build/versitygw first if need be: two minutes
# of one core from an empty cache, once. Tests put it where users have an object store.
#
#   scripts/versitygw.sh                     prints the program's path
#   scripts/versitygw.sh serve FOLDER PORT   serves FOLDER on 127.0.0.1:PORT until it is ended; each folder in FOLDER is a
#                                            bucket. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are the keys it asks for
set -eu
umask 022

version=v1.8.0
cache=$(cd "$(dirname "$0")/.." && pwd)/build/versitygw/$version
server=$cache/versitygw
log=$cache/log

die() {
	[ ! -s "$log" ] || tail -n 20 "$log" >&2
	echo "versitygw.sh: $1" >&2
	exit 1
}

works() { "$server" --version >/dev/null 2>&1; }

build() {
	GOBIN=$cache GOFLAGS='' go install -ldflags '-s -w' "github.com/versity/versitygw/cmd/versitygw@$version" >"$log" 2>&1 ||
		die "versitygw $version cannot be built"
	works || die "versitygw $version was built, and does not run"
}

if ! works; then
	mkdir -p "$cache"
	exec 9>"$cache/.lock"
	flock 9
	works || build # nobody else has just finished it
	exec 9>&-
fi

case "${1-}" in
'') echo "$server" ;;
serve)
	[ $# = 3 ] || die "usage: versitygw.sh serve FOLDER PORT"
	export ROOT_ACCESS_KEY="${AWS_ACCESS_KEY_ID:?}" ROOT_SECRET_KEY="${AWS_SECRET_ACCESS_KEY:?}" VGW_META_SIDECAR
	# Not every file system knows extended attributes; and the server takes FOLDER.meta to be within FOLDER.
	VGW_META_SIDECAR=$(dirname "$2")/meta-$(basename "$2")
	mkdir -p "$2" "$VGW_META_SIDECAR"
	exec "$server" --quiet --port "127.0.0.1:$3" posix "$2"
	;;
*) die "usage: versitygw.sh [serve FOLDER PORT]" ;;
esac
