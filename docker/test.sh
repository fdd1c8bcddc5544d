#!/bin/bash
# Replays one pcap case with the gateway of the built image: the binary, its
# libraries and the path work inside the container. Exit code 0 means that
# packets and counters came out as expected.
#
#   docker/test.sh [CASE] [IMAGE]     default: gre_encap localhost/greyhound:latest
set -euo pipefail
cd "$(dirname "$0")/.."
case=${1:-gre_encap}
image=${2:-localhost/greyhound:latest}
buildah=docker/buildah

die() { echo "image test: $*" >&2; exit 1; }
[ -d "tests/cases/$case" ] || die "no case tests/cases/$case"
$buildah inspect --type image "$image" >/dev/null 2>&1 || die "no image $image: make image"

container=$($buildah from --pull-never "$image")
trap '$buildah rm "$container" >/dev/null' EXIT
echo "image test: greyhound replay $case, in $image"
$buildah run --isolation chroot --network host -v "$PWD/tests/cases:/cases:ro" "$container" -- \
    greyhound replay "/cases/$case"
