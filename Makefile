# The one door. `make demo` and `make test` do everything on a fresh Debian with Rust and Node.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test quick deps web peers check rust-tests rigs test-faults long soak desk api static bench audit packages package release test-release clean

NEXTEST := $(shell command -v cargo-nextest >/dev/null 2>&1 && echo yes)
ifeq ($(NEXTEST),yes)
  CARGO_TEST = cargo nextest run --no-fail-fast
else
  CARGO_TEST = cargo test --no-fail-fast
endif
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
SHARED ?= $(wildcard ../shared)
ifneq ($(SHARED),)
  export BEDSIDE_SAMPLES ?= $(abspath $(SHARED)/samples)
  export BEDSIDE_IG ?= $(abspath $(SHARED)/ig)
endif

help:            ## What can be made here
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: web        ## Build and run the demo: seven simulated devices, a FHIR server, the desk
	cargo build --bin bedside
	./target/debug/bedside demo

test: deps web peers check rust-tests desk api static   ## Everything that must be green
	@echo "make test: all green"

quick: check     ## Format, lints and unit tests only
	$(CARGO_TEST) --lib --test house

deps:            ## What the tests need from Debian (installs only what is missing)
	@test-rigs/install-deps

web: web/dist/index.html   ## The desk's pages
web/dist/index.html: $(shell find web/src web/public -type f 2>/dev/null) web/package.json web/package-lock.json web/index.html web/openapi.json web/vite.config.js
	npm ci --prefix web --no-audit --no-fund
	@touch $@

peers:           ## The third-party servers the rigs run against
	npm ci --prefix test-rigs/peers --no-audit --no-fund
	npm ci --prefix test-rigs/validate --no-audit --no-fund
	npm ci --prefix test-rigs/desk --no-audit --no-fund

check:           ## Format, lints, the web's types, lint and tests
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	npm run --prefix web lint
	npm run --prefix web check
	npm test --prefix web

rust-tests:      ## Unit tests and all rigs
	@# The fault rigs must catch what this one does; the build after it puts the right one back.
	cargo build --bin bedside --features sabotage
	cp target/debug/bedside target/debug/bedside-sabotaged
	cargo build --bin bedside
	$(CARGO_TEST)

test-faults: deps ## The fault rigs alone, at length: make test-faults ROUNDS=20 (needs root)
	cargo build --bin bedside --features sabotage
	cp target/debug/bedside target/debug/bedside-sabotaged
	cargo build --bin bedside
	BEDSIDE_ROUNDS=$(or $(ROUNDS),1) BEDSIDE_KILLS=$$((200 * $(or $(ROUNDS),1))) cargo test --no-fail-fast --test power_cut --test faults -- --nocapture --test-threads 2 --skip soak::

long: deps       ## A release's figures, hours each; goes on where it was interrupted: make long RIG=kills|cuts|errors|points|blocks
	cargo build --bin bedside
	$(if $(COUNT),BEDSIDE_COUNT=$(COUNT) )cargo test --test faults -- --ignored --exact --nocapture long::$(or $(RIG),kills)

soak: deps       ## Traffic for hours with a fault every half minute: make soak HOURS=8 (needs root)
	BEDSIDE_SOAK_HOURS=$(or $(HOURS),0.1) cargo test --test faults -- --nocapture soak::

desk:            ## A real browser walks the desk of the real binary
	test-rigs/desk/run

api:             ## The API of the real binary against its own description
	test-rigs/openapi/run

static:          ## The static binary, and what it says of itself
	systemd/build $(HOST) quick
	target/$(HOST)/quick/bedside selftest

bench: web       ## Each figure beside its floor and its aim: target/bench/speed.{md,svg,json}
	cargo bench --bench gateway

audit:           ## Licences, bans, sources; advisories where a database copy is present
	test-rigs/audit

packages: static ## The Debian package on a clean Debian (as root): install, run, upgrade, purge; the unit's score
	test-rigs/packages/run target/$(HOST)/quick/bedside

package: release ## A Debian package of the static binary
	systemd/package target/$(HOST)/release/bedside $$(dpkg --print-architecture)

release: web     ## A stripped static binary: make release [TARGET=aarch64-unknown-linux-gnu|armv7-unknown-linux-gnueabihf]
	systemd/build $(TARGET)
	@# What it is made of, beside it; a program for another machine tells it there.
	@target/$(or $(TARGET),$(HOST))/release/bedside sbom >target/bedside.cdx.json && ls -l target/bedside.cdx.json || rm -f target/bedside.cdx.json

test-release: deps web ## What a release must show, an hour: three machines, qemu, the same bytes twice, packages (as root)
	test-rigs/release/run
	test-rigs/packages/run target/$(HOST)/release/bedside

clean:           ## Remove what was built
	cargo clean
	rm -rf web/dist web/node_modules test-rigs/*/node_modules test-rigs/openapi/.venv
