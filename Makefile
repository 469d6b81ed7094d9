# Every command a person needs. `make` alone lists them.
# A clean checkout with Rust, Python 3, Node and make is enough: what else a command needs, it installs under this folder. One thing
# comes from the system, the browser of `make test-report`: `make browser` says how.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3

CARGO_DENY := 0.20.2
CARGO_FUZZ := 0.13.2
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# --prefer-offline: what npm has once fetched it does not ask for again.
NPM_CI := npm ci --prefer-offline --no-audit --no-fund --loglevel=error

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z][a-z0-9_-]*:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the command pathling-import, optimised, as target/release/pathling-import
	cargo build --locked --release --package pathling-import-cli

# Everything, unoptimised, as the tests want it: what `make demo` builds, `make test` does not build again.
.PHONY: programs
programs:
	cargo build --locked --workspace --bins

.PHONY: demo
demo: programs demo-data ## Synchronise HL7's examples from a sandbox, change some, synchronise again
	$(PYTHON) demo/demo.py $(TARGET_DIR)/debug demo-data/package

.PHONY: demo-data
demo-data: demo-data/package/package.json ## Fetch HL7's examples of FHIR R4 (19 MB, from npm)

# npm checks the package against the hash in the lock.
demo-data/package/package.json: demo/package.json demo/package-lock.json
	rm -rf demo-data && mkdir demo-data
	cp demo/package.json demo/package-lock.json demo-data/
	$(NPM_CI) --prefix demo-data
	mv demo-data/node_modules/hl7.fhir.r4.examples demo-data/package
	rm -r demo-data/node_modules
	touch $@

.PHONY: test
test: demo-data test-rust test-report test-workflow test-deployed ## Run all tests

.PHONY: test-rust
test-rust: programs demo-data ## Run the Rust tests alone
	cargo test --locked --workspace

.PHONY: test-report
test-report: programs browser .venv/report/ready ## Look at the page of a run alone, in a real Chromium without a window
	.venv/report/bin/python -m pytest -q -p no:cacheprovider tests/report

.PHONY: browser
browser: ## See that Chromium is there for that, and install it from Debian's packages where this user may
	tools/browser.sh

.PHONY: test-workflow
test-workflow: programs .venv/aws/ready ## Run the bundled workflow alone, with the real binaries, in a local Step Functions
	.venv/aws/bin/python -m pytest -q -p no:cacheprovider tests/workflow

# The functions are what `make programs` built: tests/deployed/bin/cargo-lambda says why. PROFILE=lambda builds and deploys
# those that are shipped, which takes a quarter of an hour.
.PHONY: test-deployed
test-deployed: programs .venv/aws/ready .venv/sam/ready ## Deploy the stack with sam onto a local AWS, and test it there (PROFILE=lambda)
	PROFILE=$(PROFILE) .venv/aws/bin/python -m pytest -q -p no:cacheprovider tests/deployed

# One program is source, S3, limit and mover, each in a process of its own. Options of `pathling-import-bench run` go into BENCH.
.PHONY: bench
bench: ## Measure the transfer against what the wire allows (some ten minutes; BENCH='--quick', '--only a,d')
	cargo build --locked --release --package pathling-import-bench --package transfer-to-s3
	$(TARGET_DIR)/release/pathling-import-bench run $(BENCH)

.PHONY: bench-nights
bench-nights: build ## Measure what a night costs beside its transfer: duplicates, counts, reading back, deletions (some three minutes)
	cargo build --locked --release --package pathling-import-bench --package sandbox
	$(TARGET_DIR)/release/pathling-import-bench checks
	$(PYTHON) tools/bench_nights.py $(TARGET_DIR)/release

.PHONY: check
check: check-rust check-dependencies check-template ## Check format, lints, docs, dependencies, template, workflow and containers

.PHONY: check-rust
check-rust:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS='--deny warnings' cargo doc --locked --workspace --no-deps

.PHONY: check-dependencies
check-dependencies: .tools/cargo-deny-$(CARGO_DENY)
	cargo fetch --locked
	.tools/bin/cargo-deny --offline check --hide-inclusion-graph licenses bans sources
	tools/one-stack.sh

# Of the containers, their form alone: nothing here starts one.
.PHONY: check-template
check-template: .venv/sam/ready tools/node_modules/.package-lock.json
	SAM_CLI_TELEMETRY=0 .venv/sam/bin/sam validate --lint --region us-east-1
	.venv/sam/bin/python tools/check.py

ARCHITECTURE ?= arm64
RUST_TARGET_arm64 := aarch64-unknown-linux-gnu
RUST_TARGET_x86_64 := x86_64-unknown-linux-gnu

.PHONY: build-arm64
build-arm64: ARCHITECTURE := arm64
build-arm64: build-lambdas ## Build the five functions for AWS Lambda on arm64, the default (with zig: no cross compiler needed)

.PHONY: build-x86_64
build-x86_64: ARCHITECTURE := x86_64
build-x86_64: build-lambdas ## Build the five functions for AWS Lambda on x86_64

# `sam build` always asks cargo-lambda for the profile `release`, except in its debug mode, where it asks for none; then
# cargo-lambda takes the one that is named here. So plain `sam build` works too, with larger functions.
# AWS-LC's jitter entropy costs 40 ms at each cold start, and the kernel's serves as well.
.PHONY: build-lambdas
build-lambdas: .venv/sam/ready
	@target="$(RUST_TARGET_$(ARCHITECTURE))"; \
	if [ -z "$$target" ]; then echo "ARCHITECTURE is $(ARCHITECTURE); it must be arm64 or x86_64" >&2; exit 2; fi; \
	if [ ! -d "$$(rustc --print sysroot)/lib/rustlib/$$target" ]; then \
	  echo "The Rust target $$target is not installed: rustup target add $$target" >&2; exit 2; \
	fi
	PATH="$(CURDIR)/.venv/sam/bin:$$PATH" env SAM_CLI_TELEMETRY=0 SAM_BUILD_MODE=debug CARGO_LAMBDA_BUILD.PROFILE=lambda \
	  AWS_LC_SYS_NO_JITTER_ENTROPY=1 sam build --parameter-overrides Architecture=$(ARCHITECTURE)
	@echo $(ARCHITECTURE) > .aws-sam/architecture

# What is deployed is what was built last. SAM asks for everything; samconfig.toml has its defaults, and keeps the answers.
.PHONY: deploy
deploy: .venv/sam/ready ## Deploy what was built, asking for each parameter (later: .venv/sam/bin/sam deploy)
	@if [ ! -e .aws-sam/architecture ]; then echo "Nothing is built yet: make build-arm64, or make build-x86_64" >&2; exit 2; fi
	@echo "The functions are built for $$(cat .aws-sam/architecture): let the parameter Architecture say so."
	SAM_CLI_TELEMETRY=0 .venv/sam/bin/sam deploy --guided

.PHONY: sizes
sizes: ## Print the zip size of each function that build-lambdas built, at most 6 MiB; its start and memory, where it runs here
	$(PYTHON) tools/sizes.py .aws-sam/build

# Needs the nightly toolchain (rustup toolchain install nightly). What it finds lies in fuzz/artifacts; FUZZ_SECONDS is for each.
.PHONY: fuzz
fuzz: .tools/cargo-fuzz-$(CARGO_FUZZ) ## Fuzz what reads servers' answers, a minute each (FUZZ_SECONDS=60, FUZZ_TARGETS=...)
	set -e; for target in $(FUZZ_TARGETS); do \
	  echo "== $$target"; \
	  mkdir -p fuzz/found/$$target; \
	  PATH="$(CURDIR)/.tools/bin:$$PATH" cargo +nightly fuzz run $$target fuzz/found/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -print_final_stats=1; \
	done

.tools/cargo-fuzz-$(CARGO_FUZZ):
	cargo install --locked --quiet --root .tools --target-dir .tools/build cargo-fuzz@$(CARGO_FUZZ)
	rm -rf .tools/build
	touch $@

.venv/%/ready: tools/requirements-%.txt
	$(PYTHON) -m venv .venv/$*
	.venv/$*/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

tools/node_modules/.package-lock.json: tools/package-lock.json
	$(NPM_CI) --prefix tools
	touch $@

# Built without optimisation: it runs for a second, and this builds it in a minute and a half.
.tools/cargo-deny-$(CARGO_DENY):
	CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
	  cargo install --locked --quiet --root .tools --target-dir .tools/build cargo-deny@$(CARGO_DENY)
	rm -rf .tools/build
	touch $@
