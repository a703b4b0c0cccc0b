# `make` alone lists what there is. Everything runs inside .venv, which `make setup` makes; nothing is installed elsewhere.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.weir-setup
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

#: Everything that is type-checked.
TYPED := api workers dsl telemetry migrations tests benchmarks docs

#: More arguments for `make test` and `make bench-query`, as in: make test ARGS='-k sink -x'
ARGS ?=

# uv does not byte-compile by itself; without it every start of every process compiles all it imports.
export UV_COMPILE_BYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help setup lock format check test test-unit chaos demo bench bench-query bench-peers docs up down clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP)  ## make .venv with everything in it (again only when the lock or pyproject changed)
	@echo "Ready. To have \`weir\` on your PATH in this shell:"
	@echo "    export PATH=\"$(CURDIR)/$(BIN):\$$PATH\""

# pip makes uv, uv makes the rest. Where uv cannot be had or cannot reach the packages, pip does it all, slower.
# A Python without ensurepip (Debian without python3-venv) lends its own pip to the environment.
$(STAMP): requirements.lock pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "Weir needs Python 3.11 or newer, and there is no '$(PYTHON)' here. Name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' || { \
	  echo "Weir needs Python 3.11 or newer; '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -c '$(NEW_ENOUGH)' 2>/dev/null || { \
	  echo "Making .venv with $$("$(PYTHON)" -V) ..."; \
	  "$(PYTHON)" -m venv --clear .venv >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear --without-pip .venv; }
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then pip="$(BIN)/python -m pip"; \
	else pip="$(PYTHON) -m pip --python $(BIN)/python"; fi; \
	echo "Installing what requirements.lock names ..."; \
	[ -x $(BIN)/uv ] || $$pip install --quiet --disable-pip-version-check uv || echo "No uv; pip will do, slower."; \
	if [ -x $(BIN)/uv ] \
	  && $(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock \
	  && $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .; then :; \
	else \
	  $$pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock \
	  && $$pip install --quiet --disable-pip-version-check --no-deps --editable .; \
	fi
	@touch $@

lock: $(STAMP)  ## resolve pyproject.toml into requirements.lock (UPGRADE=--upgrade for the newest of all)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links --extra embedded --group dev $(UPGRADE) pyproject.toml --output-file requirements.lock

format: $(STAMP)  ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(STAMP)  ## format, lint, types, imports, generated documentation: all that is not a test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check

# Files stay whole (loadfile): the servers and stacks that a module starts are started once. In their own order, which
# has the longest first (tests/fixtures/ordering.py), not by how many tests they have. One process more than the two cores
# that are there at least: whole stacks are waited for most of the time.
test: $(STAMP)  ## every test, on real servers; ARGS='...' goes to pytest
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-unit: $(STAMP)  ## the tests without servers or processes, in seconds
	@$(BIN)/pytest tests/unit $(ARGS)

# How long things go wrong, which ones, and where the figures go; or how many executions are to lose their worker.
SEED ?= 1
chaos: $(STAMP)  ## kill and cut off everything under load, then look for what is lost: SECONDS=60 SEED=1, or POINTS=1000
	@PYTHONPATH=.:tests $(BIN)/python -m chaos --seed $(SEED) $(if $(SECONDS),--seconds $(SECONDS)) \
	  $(if $(POINTS),--points $(POINTS)) $(if $(REPORT),--report $(REPORT))

demo: $(STAMP)  ## the whole thing once: start it, import notes, run every command, look at the traces, stop
	@$(BIN)/weir demo

bench: $(STAMP)  ## measure; prints a table and writes benchmarks/results.json
	@$(BIN)/python -m benchmarks

# How many events, and over how many days.
EVENTS ?= 10000000
DAYS ?= 14
bench-query: $(STAMP)  ## how long answers take over ten million events of two weeks; EVENTS=1000000 DAYS=14
	@$(BIN)/python -m benchmarks.query --events $(EVENTS) --days $(DAYS) $(ARGS)

bench-peers: $(STAMP)  ## measure beside DBOS, Celery and OpenTelemetry, installed apart in .venv-peers; two to five minutes
	@$(BIN)/python -m benchmarks.peers

docs: $(STAMP)  ## write the generated pages of docs/
	@$(BIN)/python -m docs.generate

up: $(STAMP)  ## start the local stack in the background
	@$(BIN)/weir up --detach

down: $(STAMP)  ## stop the local stack
	@$(BIN)/weir down

clean:  ## remove .venv and every cache; your data (.weir) stays
	rm -rf .venv .venv-peers dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
