#!/bin/bash
# Builds the image greyhound:latest where there is no registry: the base image is
# made from this machine's Debian mirror by debootstrap, the binary is the one
# `cargo build --release` made here. Root; packages buildah and debootstrap
# (tests/lab/setup.sh --image).
#
#   docker/build.sh [BINARY]      default: target/release/greyhound
#   docker/build.sh --clean       removes images and storage
#
# Images live under target/image (IMAGE_STORE moves it); the base image is made
# once. Give the result to Docker with:
#   docker/buildah push localhost/greyhound docker-archive:greyhound.tar:greyhound:latest
set -euo pipefail
cd "$(dirname "$0")/.."
buildah=docker/buildah
base=docker.io/library/debian:bookworm-slim
image=localhost/greyhound:latest

say() { echo "image: $*"; }
die() { echo "image: $*" >&2; exit 1; }

# Working containers (the storage is our own, so all of them: this buildah leaves
# those of the stages behind) and the staging folder go, whatever happens.
work=
tidy() {
    $buildah rm -a >/dev/null 2>&1 || true
    [ -z "$work" ] || rm -rf "$work"
}
trap tidy EXIT

# The mirror this machine's apt uses, from its deb822 or one-line sources.
mirror() {
    local found
    found=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Suite: bookworm' 2>/dev/null | head -n 1)
    echo "${found:-http://deb.debian.org/debian}"
}

# Debian's own sources and apt's proxy, so that apt works inside as it does here.
copy_apt_settings() {
    local root=$1 file
    if [ -s /etc/apt/sources.list.d/debian.sources ]; then
        file=/etc/apt/sources.list.d/debian.sources
        rm -f "$root/etc/apt/sources.list"
        cp "$file" "$root$file"
    elif [ -s /etc/apt/sources.list ]; then
        cp /etc/apt/sources.list "$root/etc/apt/sources.list"
    fi
    apt-config dump --format '%F "%v";%n' Acquire::http::Proxy Acquire::https::Proxy |
        sed '/""/d' >"$root/etc/apt/apt.conf.d/90mirror"
    # A container needs no manual pages.
    echo 'path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*' >"$root/etc/dpkg/dpkg.cfg.d/90slim"
}

make_base() {
    local container root mirror
    mirror=$(mirror)
    say "base image $base: debootstrap bookworm from $mirror"
    container=$($buildah from scratch)
    root=$($buildah mount "$container")
    debootstrap --variant=minbase bookworm "$root" "$mirror" >"$work/debootstrap.log" 2>&1 ||
        { tail -n 20 "$work/debootstrap.log"; die "debootstrap failed"; }
    copy_apt_settings "$root"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
        "$root"/usr/share/{doc,man,locale}/* "$root"/var/log/*
    $buildah umount "$container" >/dev/null
    $buildah commit -q --rm "$container" "$base" >/dev/null
}

[ "$(id -u)" = 0 ] || die "needs root; you are $(id -un)"
for tool in buildah debootstrap; do
    command -v $tool >/dev/null || die "no $tool: tests/lab/setup.sh --image installs it"
done
if [ "${1:-}" = --clean ]; then
    $buildah rm -a >/dev/null
    $buildah rmi -a -f >/dev/null
    say "images removed"
    exit
fi
binary=${1:-${CARGO_TARGET_DIR:-target}/release/greyhound}
[ -x "$binary" ] || die "no binary at $binary: cargo build --release"

work=$(mktemp -d)
$buildah inspect --type image "$base" >/dev/null 2>&1 || make_base
# The context holds just what the image takes.
mkdir "$work/config"
cp "$binary" "$work/greyhound"
cp config/gateway.toml "$work/config/"
say "image $image: Debian's DPDK packages and $binary"
$buildah build -q --isolation chroot --pull-never --layers=false --format docker --network host \
    --build-arg BINARY_STAGE=host --build-arg BINARY=greyhound --target runtime \
    -f docker/Dockerfile -t "$image" "$work" >"$work/build.log" 2>&1 ||
    { tail -n 30 "$work/build.log"; die "buildah build failed"; }
# What a build leaves or replaces would stay as <none>.
$buildah rm -a >/dev/null 2>&1 || true
$buildah rmi --prune >/dev/null 2>&1 || true
say "built: $($buildah images --format '{{.Name}}:{{.Tag}} {{.Size}}' "$image")"
