# Fulcrum's commands. `make demo` and `make test` need nothing but Python 3.11 or newer.
#
#   TORCH_INDEX   a package index to take torch from, in addition to pip's own; for the small CPU build:
#                 make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
#   PYTHON        the interpreter that makes .venv
#   WORKERS       how many processes run the tests side by side; as many as there are cores if not given
#
# HYPOTHESIS_PROFILE names a profile of tests/support/properties.py: HYPOTHESIS_PROFILE=thorough make test

PYTHON ?= python3
TORCH_INDEX ?=
WORKERS ?= auto
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

# Whatever the shell says: else each process that a test starts compiles all that it imports.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo loop test test-fast check format bench faults serve clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 11

setup: $(READY)  ## make .venv with the pinned dependencies

$(READY): pyproject.toml constraints.txt .ci/install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: make setup PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@TORCH_INDEX=$(TORCH_INDEX) .ci/install $(VENV) -e '.[dev]'
	@touch $@

demo: $(READY)  ## train, export, serve, rank, change a weight; explore, log, find the weights
	@$(BIN)/python examples/demo.py

loop: $(READY)  ## the whole loop without a hand, over HTTP: explore, tune, try on half the users, activate; again
	@$(BIN)/python -m examples.loop loop

test: $(READY)  ## all tests but the long ones, which `make faults` runs
	$(PYTEST) -m "not long"

test-fast: $(READY)  ## tests that train, export and start nothing, in under a minute
	HYPOTHESIS_PROFILE=fast $(PYTEST) -m "not slow"

format: $(READY)  ## format, and fix what lint can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(READY)  ## format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.bench-ready  ## what a ranking call and a training step cost, against others, in one run
	@$(BIN)/python -m benchmarks.serving
	@$(BIN)/python -m benchmarks.path
	@for part in memory start inference throughput; do $(BIN)/python -m benchmarks.workers $$part || exit 1; done
	@$(BIN)/python -m benchmarks.training all
	@$(BIN)/python -m benchmarks.streaming --rows 4000000 --rounds 1

$(VENV)/.bench-ready: $(READY)
	@TORCH_INDEX=$(TORCH_INDEX) .ci/install $(VENV) -e '.[dev,bench]'
	@touch $@

faults: $(READY)  ## the long fault suite: edits and swaps under load, broken Redis, overload, signals, rubbish (two hours)
	$(PYTEST) -m long
	FULCRUM_FUSION_EDITS=200 $(BIN)/python -m pytest tests/service/control -k edits_under_load
	$(BIN)/python -m benchmarks.faults_control
	$(BIN)/python -m benchmarks.faults_revisions changes
	$(BIN)/python -m benchmarks.faults_revisions kills
	$(BIN)/python -m benchmarks.faults_revisions kills --redis
	$(BIN)/python -m benchmarks.faults_bundles
	$(BIN)/python -m benchmarks.faults_execution redis
	$(BIN)/python -m benchmarks.faults_execution hurry
	$(BIN)/python -m benchmarks.faults_execution overload
	$(BIN)/python -m benchmarks.faults_processes storm
	$(BIN)/python -m benchmarks.faults_processes term
	$(BIN)/python -m benchmarks.faults_processes kill
	$(BIN)/python -m benchmarks.fuzz bodies
	$(BIN)/python -m benchmarks.fuzz schema

serve: $(READY)  ## serve the demo's bundle on port 8000 (after `make demo`)
	@test -d build/demo/bundle || { echo "no bundle yet: run 'make demo' first"; exit 1; }
	$(BIN)/fulcrum serve --bundle build/demo/bundle --features build/demo/features --fusion build/demo/fusion.yaml

clean:  ## remove what commands made, the environment included
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
