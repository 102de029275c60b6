# shellcheck shell=sh disable=SC2034
# Sourced by the other scripts: finds a Rust toolchain that is new enough and sets what the build of llama.cpp wants.
# Changes nothing on the machine. Sets ROOT, MSRV and, when a toolchain was found, RUST_OK=1 and PATH; and GPU, the
# cargo features of the GPU backends that are built.

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

# GPU backends to build, as cargo features separated by commas (vulkan, cuda, opencl), or `none`. Without it: Vulkan where
# all that its build needs is there, which scripts/setup sees to where it can.
#
# Debian 12's Vulkan headers are too old. scripts/setup unpacks newer ones here, where every tree of this user finds them.
VULKAN_CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/wattlm/vulkan

# Mesa 22, of Debian 12, crashes at the first step of a model on the processor: scripts/setup unpacks a newer driver here, for
# the tests.
LAVAPIPE=$VULKAN_CACHE-lavapipe
LAVAPIPE_ICD=$LAVAPIPE/usr/share/vulkan/icd.d/lvp_icd.json

# any PATTERN...: whether a file of one of these names exists.
any() { for file in "$@"; do [ -e "$file" ] && return 0; done; return 1; }

# vulkan_headers PREFIX: whether the Vulkan headers under it are of 1.3.272 or newer, with C++ and SPIR-V beside them.
vulkan_headers() {
    core=$1/include/vulkan/vulkan_core.h
    [ -e "$core" ] && [ -e "$1/include/vulkan/vulkan.hpp" ] || return 1
    any "$1"/share/cmake/SPIRV-Headers/*Config.cmake "$1"/lib/*/cmake/SPIRV-Headers/*Config.cmake || return 1
    minor=$(sed -n 's/^#define VK_HEADER_VERSION_COMPLETE VK_MAKE_API_VERSION(0, 1, \([0-9]*\),.*/\1/p' "$core")
    patch=$(sed -n 's/^#define VK_HEADER_VERSION \([0-9]*\).*/\1/p' "$core")
    [ "${minor:-0}" -gt 3 ] || { [ "${minor:-0}" -eq 3 ] && [ "${patch:-0}" -ge 272 ]; }
}

# find_vulkan: whether Vulkan can be built here; sets VULKAN_WHY to what is missing and, for headers of their own prefix,
# what CMake finds them by.
find_vulkan() {
    VULKAN_WHY=
    if ! command -v glslc >/dev/null 2>&1; then
        VULKAN_WHY='the shader compiler glslc is missing'
    elif [ -n "${VULKAN_SDK:-}" ] && vulkan_headers "$VULKAN_SDK"; then
        export CMAKE_PREFIX_PATH="$VULKAN_SDK${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}"
    elif vulkan_headers /usr && any /usr/lib/*/libvulkan.so /usr/lib64/libvulkan.so; then
        :
    elif vulkan_headers "$VULKAN_CACHE/usr" && [ -e "$VULKAN_CACHE/usr/lib/libvulkan.so" ]; then
        export VULKAN_SDK="$VULKAN_CACHE/usr"
        export CMAKE_PREFIX_PATH="$VULKAN_SDK${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}"
    else
        VULKAN_WHY='Vulkan headers of 1.3.272 or newer, SPIR-V headers or libvulkan are missing'
    fi
    [ -z "$VULKAN_WHY" ]
}

# gpu_features: sets GPU.
gpu_features() {
    case ${WATTLM_GPU:-} in
        none) GPU='' ;;
        '') if find_vulkan; then GPU=vulkan; else GPU=''; fi ;;
        *)
            GPU=$WATTLM_GPU
            case ,$GPU, in *,vulkan,*) find_vulkan || : ;; esac
            ;;
    esac
}

gpu_features
