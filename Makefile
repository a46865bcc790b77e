# Two commands do everything: `make demo` and `make test`. Both set up .venv first where needed.
#
# PYTHON          the Python 3.11+ that makes the virtual environment (default python3)
# DEMO_DIR        where the demo keeps its databases, stores and run (default demo-output)
# TEST_PROCESSES  processes that run the tests of Python side by side (default 2)
# PYTEST_ARGS     further arguments of pytest

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_DIR ?= demo-output
TEST_PROCESSES ?= 2
PYTEST_ARGS ?=
RUST_SOURCES := $(shell find rustler -path rustler/target -prune -o -type f \
	\( -name '*.rs' -o -name 'Cargo.*' -o -name '*.pyi' \) -print)

.PHONY: help setup demo test check format bench clean

help:
	@echo "make setup   install into $(VENV), which demo, test, check and bench do where needed"
	@echo "make demo    install, then run the whole path on small data (at most 6 minutes)"
	@echo "make test    install, then run all tests"
	@echo "make check   ruff, mypy, cargo fmt, clippy, what the wheel holds"
	@echo "make format  format the sources"
	@echo "make bench   print the benchmarks"
	@echo "make clean   remove .venv, the demo's output and caches"

# One virtual environment; versions as tested, from constraints.txt.
$(VENV)/.dependencies: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "==> installing Python packages into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r pyproject.toml --extra baselines --extra dev --extra demo --extra postgres --extra ray --extra slurm -c constraints.txt
	@touch $@

$(VENV)/.rustler: $(VENV)/.dependencies $(RUST_SOURCES) pyproject.toml README.md LICENSE
	@command -v cargo >/dev/null || \
		{ echo "error: cargo is missing; install Rust (https://rustup.rs) and try again" >&2; exit 1; }
	@echo "==> compiling rustler (release)"
	@PATH="$(CURDIR)/$(BIN):$$PATH" VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/maturin develop --release --uv --quiet
	@touch $@

setup: $(VENV)/.rustler

demo: setup
	@echo "==> running the demo (output in $(DEMO_DIR))"
	@$(BIN)/python scripts/demo.py --out "$(DEMO_DIR)"

test: setup
	@echo "==> running cargo test"
	@cd rustler && for instructions in "" avx2 plain; do \
		RUSTLER_INSTRUCTIONS=$$instructions cargo test --release --quiet; done
	@echo "==> running pytest"
	@$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)

check: setup
	@echo "==> ruff" && $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "==> mypy" && $(BIN)/mypy plurel rt scripts
	@echo "==> cargo fmt" && cd rustler && cargo fmt --check
	@echo "==> clippy" && cd rustler && cargo clippy --quiet --all-targets --features extension-module,bench -- -D warnings
	@echo "==> wheel" && folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
		PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/maturin build --release --quiet --out "$$folder" && \
		$(BIN)/python tests/wheel_contents.py "$$folder"

format: setup
	$(BIN)/ruff check --fix . && $(BIN)/ruff format . && cd rustler && cargo fmt

bench: setup
	@for name in generate links large_table preprocess sampler contexts attention model training precision; do \
		echo "==> benchmarks/$$name.py"; $(BIN)/python benchmarks/$$name.py; done
	@echo "==> inner loops of rustler" && cd rustler && cargo bench --quiet --features bench

clean:
	rm -rf $(VENV) "$(DEMO_DIR)" rustler/target .pytest_cache .mypy_cache .ruff_cache .hypothesis
