# shellcheck shell=sh disable=SC2034
# Sourced by the other scripts: finds a Rust toolchain that is new enough and sets what the build of llama.cpp wants.
# Changes nothing on the machine. Sets ROOT, MSRV and, when a toolchain was found, RUST_OK=1 and PATH.

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
MSRV=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$ROOT/Cargo.toml")

# at_least HAVE WANT: compares the first two numbers of two versions. No version is 0.0.
at_least() {
    have=${1%%[!0-9.]*} want=$2
    have=${have:-0.0}
    have_minor=${have#*.} want_minor=${want#*.}
    [ "${have%%.*}" -gt "${want%%.*}" ] ||
        { [ "${have%%.*}" -eq "${want%%.*}" ] && [ "${have_minor%%.*}" -ge "${want_minor%%.*}" ]; }
}

# rust_new_enough: whether `cargo` and `rustc`, as PATH has them, run and are new enough. rustup answers for a
# toolchain that is not installed only after a download: not here.
rust_new_enough() {
    for tool in cargo rustc; do
        found=$(RUSTUP_AUTO_INSTALL=0 "$tool" --version 2>/dev/null) || return 1
        found=${found#* }
        at_least "${found%% *}" "$MSRV" || return 1
    done
}

# The first that is new enough: what PATH finds, rustup's home, its `stable` beside an older default, and the
# versioned packages of Ubuntu (newest first).
find_rust() {
    RUST_OK=
    found_path=$PATH
    if rust_new_enough; then RUST_OK=1; return; fi
    if [ -x "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/cargo" ]; then
        PATH=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$found_path
        if rust_new_enough; then RUST_OK=1; return; fi
    fi
    if [ -z "${RUSTUP_TOOLCHAIN:-}" ] && command -v rustup >/dev/null 2>&1; then
        export RUSTUP_TOOLCHAIN=stable
        if rust_new_enough; then RUST_OK=1; return; fi
        unset RUSTUP_TOOLCHAIN
    fi
    for dir in $(printf '%s\n' /usr/lib/rust-*/bin | sort -rV); do
        PATH=$dir:$found_path
        if [ -x "$dir/cargo" ] && rust_new_enough; then RUST_OK=1; return; fi
    done
    PATH=$found_path
}

find_rust
export PATH

# Ninja builds llama.cpp faster than make; ccache makes the second build take seconds. Neither is required, and a
# change of these does not cause a rebuild.
if [ -z "${CMAKE_GENERATOR:-}" ] && command -v ninja >/dev/null 2>&1; then
    export CMAKE_GENERATOR=Ninja
fi
if command -v ccache >/dev/null 2>&1; then
    export CMAKE_C_COMPILER_LAUNCHER="${CMAKE_C_COMPILER_LAUNCHER:-ccache}"
    export CMAKE_CXX_COMPILER_LAUNCHER="${CMAKE_CXX_COMPILER_LAUNCHER:-ccache}"
fi
