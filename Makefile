# wattlm. `make help` lists the targets. GNU make.

PREFIX     ?= /usr/local
DESTDIR    ?=
# Units and the daemon expect /etc for an installation to the system; a private prefix keeps to itself.
SYSCONFDIR ?= $(if $(filter /usr /usr/local,$(PREFIX)),/etc,$(PREFIX)/etc)
# Where the programs to install were built.
BUILD_DIR  ?= target/release
# Models to install with the programs; empty for none.
MODELS     ?= $(wildcard models/demo/wattlm-demo-*.gguf)

INSTALL_ENV = PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' SYSCONFDIR='$(SYSCONFDIR)' BUILD_DIR='$(BUILD_DIR)' MODELS='$(MODELS)'

.DEFAULT_GOAL := help
.PHONY: help setup build client install-client demo test lint check-units bench bench-energy bench-capi bench-sched bench-choice install uninstall clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 21

setup: ## install what is missing through apt (as root or with sudo), or say what is
	@scripts/setup

build: setup ## build wattlmd, wattlm and llama.cpp's modules into target/release; WATTLM_GPU=none, or vulkan,cuda,opencl
	scripts/cargo build --release --locked

client: ## build the C library alone, as a client of the socket, into target/client/release
	scripts/cargo build --release --locked --lib --no-default-features --features capi --target-dir target/client

demo: build ## start a private daemon, ask the demo model through wattlm and curl, stop it
	@scripts/demo

test: setup ## run every check and test; the last line counts
	@scripts/test

lint: setup ## rustfmt, clippy and shellcheck only
	@scripts/test lint

check-units: ## check the systemd units and their exposure
	@scripts/check-units

bench: build ## measure against llama-bench (see benches/)
	@scripts/bench

bench-energy: build ## measure the energy account against a plant; BENCH_ENERGY="sum --seconds 60"
	@scripts/bench-energy $(BENCH_ENERGY)

bench-capi: build ## measure the socket beside direct mode, for C programs; BENCH_CAPI="--rounds 3"
	@scripts/bench-capi $(BENCH_CAPI)

bench-choice: build ## choices between CPU and GPU with half a billion parameters, by a plant's truth; a quarter of an hour on lavapipe
	@scripts/bench-choice

bench-sched: setup ## measure what an event costs the scheduler with a thousand requests in line
	@scripts/cargo bench --locked --bench sched

install: ## install what `make build` built; DESTDIR, PREFIX (/usr/local), SYSCONFDIR, MODELS
	@$(INSTALL_ENV) scripts/install

install-client: ## install what `make client` built: library, headers, pkg-config and CMake files
	@$(INSTALL_ENV) BUILD_DIR='target/client/release' scripts/install --client

uninstall: ## remove what `make install` installed; configuration and state stay
	@$(INSTALL_ENV) scripts/install --remove

clean: ## remove everything built
	rm -rf target
