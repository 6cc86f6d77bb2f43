# `make demo` and `make test` need Rust and nothing else: what is missing is installed on Debian and Ubuntu.

CARGO ?= cargo
DEMO_DIR ?= /var/tmp/weir-demo
# Tests start real servers: more threads than cores only make them wait for each other.
TEST_THREADS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: help setup setup-bench lint test demo demo-clean release bench bench-release bench-layers bench-shards soak fuzz suites clean

help:
	@echo "make demo          start two shards, their replicas and Weir, with a shop to query (Ctrl-C stops it)"
	@echo "make demo-clean    remove the demo's data"
	@echo "make release       the program as it is meant to run, optimised for what a load executes: target/release-pgo/weir"
	@echo "make test          everything that must hold: format, lints, all tests against real servers"
	@echo "make bench         what pooling costs, beside PgBouncer and HAProxy (BENCH=--quick for a short run, BENCH=--help)"
	@echo "make bench-release the same, for the program of 'make release' beside a plain release build"
	@echo "make bench-instructions  how many instructions a transaction takes, by function (BENCH=--help has options)"
	@echo "make bench-curves  what a transaction costs with more clients, pools, statements, shards, keys"
	@echo "make bench-shards  what three shards cost beside one PostgreSQL: COPY, writes, transactions, reads over shards"
	@echo "make bench-layers  what parsing, routing and merging cost"
	@echo "make soak          the long tests"
	@echo "make suites        PostgreSQL's and drivers' own tests through Weir (SUITES=their scripts, OPTIONS=--help)"
	@echo "make fuzz          every fuzz target for FUZZ_SECONDS (needs cargo-fuzz and a nightly toolchain)"

setup:
	@./scripts/setup.sh

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

test: setup lint
	$(CARGO) test --locked --no-fail-fast -- --test-threads=$(TEST_THREADS)

demo: setup
	$(CARGO) build --locked --release
	target/release/weir demo --dir $(DEMO_DIR)

demo-clean:
	$(CARGO) run --locked --release -- demo clean --dir $(DEMO_DIR)

release:
	@./scripts/setup.sh release
	scripts/release.sh

setup-bench: setup
	@./scripts/setup.sh bench

bench: setup-bench
	$(CARGO) build --locked --release
	benches/pool.py $(BENCH)

# The same with the program of `make release` (WEIR=path: another one) beside the plain build.
WEIR ?= target/release-pgo/weir
bench-release: setup-bench
	$(CARGO) build --locked --release
	benches/pool.py --weir release=$(WEIR):1 --weir plain=target/release/weir:1 $(BENCH)

bench-instructions: setup-bench
	$(CARGO) build --locked --release
	benches/instructions.py $(BENCH)

bench-curves: setup-bench
	$(CARGO) build --locked --release
	benches/curves.py $(BENCH)

bench-shards: setup-bench
	$(CARGO) build --locked --release
	benches/shards.py $(BENCH)

bench-layers: setup
	$(CARGO) bench --locked --bench layers

soak: setup
	$(CARGO) test --locked --release -- --ignored --test-threads=$(TEST_THREADS)

# Test suites of others, in scripts that this project does not have: SUITES is their directory. OPTIONS=--help says more.
suites: setup
	$(CARGO) build --locked --release
	SUITES="$(SUITES)" tests/suites/run.py $(OPTIONS)

FUZZ_SECONDS ?= 1200

fuzz:
	for target in client_side server_side session scanner; do \
		$(CARGO) +nightly fuzz run --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

clean:
	$(CARGO) clean
	rm -rf .venv
