#!/bin/sh
# Installs the Debian packages that building and testing need, and only those that are missing.
# Checks the Rust toolchain and says how to get it: it is the user's own choice where it comes from.
set -eu

rust_minimum=1.88

missing=""
need() { missing="$missing $1"; }
has() { command -v "$1" >/dev/null 2>&1; }

# libclang reads the server's C header during the build.
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    for library in /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* /usr/lib/libclang*.so*; do
        case "$library" in *libclang-cpp*) continue ;; esac
        [ -e "$library" ] && return 0
    done
    return 1
}

has redis-server || need redis-server
has cc && [ -e /usr/include/stdio.h ] || need build-essential
has make || need make
has pkg-config || need pkg-config
has_libclang || need libclang-dev
# The examples' client libraries.
python3 -c 'import ensurepip, venv' 2>/dev/null || need python3-venv
has node || need nodejs
has npm || need npm

if [ -n "$missing" ]; then
    if ! has apt-get; then
        echo "Missing:$missing (named as Debian names them). Install them and try again." >&2
        exit 1
    fi
    root=""
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || { echo "Missing:$missing. Install them as root: apt-get install$missing" >&2; exit 1; }
        root=sudo
    fi
    echo "Installing$missing"
    $root apt-get update -q
    # shellcheck disable=SC2086 # a list of words
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
fi

get_rust="get it as the Rust project describes (rustup default stable)"
if ! has cargo || ! has rustc; then
    echo "A Rust toolchain of at least $rust_minimum is missing: $get_rust" >&2
    exit 1
fi
rust=$(rustc --version | cut -d ' ' -f 2)
oldest=$(printf '%s\n%s\n' "$rust_minimum" "$rust" | sort -V | head -n 1)
if [ "$oldest" != "$rust_minimum" ]; then
    echo "rustc is $rust, at least $rust_minimum is needed: $get_rust" >&2
    exit 1
fi
