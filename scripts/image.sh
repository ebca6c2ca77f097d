#!/usr/bin/env bash
# Builds deploy/Containerfile with Debian's buildah where no image registry can be reached, and runs what comes of it: both
# stages begin with a Debian that debootstrap makes from the host's apt sources, the first with this host's Go and its module
# cache. Nothing is installed; needs root on a Debian, about 2 GB under build/image and five minutes.
set -euo pipefail
repo=$(cd "$(dirname "$0")/.." && pwd)
work=$repo/build/image

die() {
	echo "image.sh: $1" >&2
	exit 1
}

fetch() { # the packages that the host lacks, unpacked
	rm -rf "$work/debs" && mkdir -p "$work/debs/partial" "$work/root"
	apt-get -qq update >"$work/log" 2>&1 || true # what is known already may do
	apt-get -q install --yes --no-install-recommends --download-only -o Dir::Cache::archives="$work/debs" -o Debug::NoLocking=true \
		buildah crun debootstrap >>"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; die "the packages cannot be fetched"; }
	local deb
	for deb in "$work"/debs/*.deb; do
		dpkg-deb --extract "$deb" "$work/root"
	done
}

debian() { # FOLDER PACKAGES: a minimal Debian
	local mirror
	mirror=$(apt-get update --print-uris 2>/dev/null | sed -nE "s,^'(.*)/dists/bookworm/InRelease'.*,\\1,p" | head -n 1)
	debootstrap --variant=minbase --include="$2" bookworm "$1" "${mirror:-http://deb.debian.org/debian}" >>"$work/log" 2>&1 ||
		{ tail -n 5 "$work/log" >&2; die "no Debian can be made"; }
	rm -rf "${1:?}"/var/cache/apt/* "${1:?}"/var/lib/apt/lists/*
}

image() { # NAME FOLDER
	local container
	container=$(buildah from scratch)
	buildah add -q "$container" "$2" / >>"$work/log"
	buildah config --env PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
	buildah commit -q --rm "$container" "$1" >>"$work/log"
}

build() { # within the namespace
	mount --make-rprivate /
	mount -t overlay overlay -o "lowerdir=$work/root/usr:/usr" /usr
	[ ! -d "$work/root/etc" ] || mount -t overlay overlay -o "lowerdir=$work/root/etc:/etc" /etc
	export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot TMPDIR=$work/tmp
	mkdir -p "$TMPDIR" "$work/storage"
	printf '[storage]\ndriver = "vfs"\ngraphroot = "%s"\nrunroot = "%s"\n' "$work/storage" "$work/run" >"$work/storage.conf"
	printf '{"default": [{"type": "insecureAcceptAnything"}]}\n' >"$work/policy.json"
	export CONTAINERS_STORAGE_CONF=$work/storage.conf
	debian "$work/base" ca-certificates
	image localhost/debian "$work/base"
	debian "$work/builder" ca-certificates,gcc,g++,make,git
	cp -a "$(go env GOROOT)" "$work/builder/usr/local/go"
	image localhost/golang "$work/builder"
	rm -rf "$work/base" "$work/builder"
	buildah bud --signature-policy "$work/policy.json" --pull-never --build-arg BUILDER=localhost/golang --build-arg BASE=localhost/debian \
		--volume "$(go env GOMODCACHE):/root/go/pkg/mod:ro" --env GOFLAGS=-mod=mod --env GOPROXY=off \
		-f deploy/Containerfile -t localhost/tracer .
	container=$(buildah from --signature-policy "$work/policy.json" localhost/tracer)
	buildah run "$container" -- tracer version
	buildah run "$container" -- tracer collect --gpu sim:H200 --endpoint sim --sizes 10 --prompts 2 --idle 0s --calibrate off --out /tmp/datasets
	buildah run "$container" -- tracer verify --strict /tmp/datasets
	buildah images localhost/tracer
}

cd "$repo"
if [ "${TRACER_IMAGE_INSIDE:-}" = yes ]; then
	build
	exit
fi
[ "$(id -u)" = 0 ] || die "it makes root filesystems, and needs root for that"
command -v apt-get >/dev/null || die "the packages are Debian's, and this host has no apt-get"
rm -rf "$work" && mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
fetch
TRACER_IMAGE_INSIDE=yes unshare --mount "$0"
