# Two commands for a new machine: `make demo` and `make test`. Needed: Python 3.11 to 3.13, Node 18.18 or later.
SHELL := /bin/sh
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
NODE := infra/local/node_modules

.DEFAULT_GOAL := help
.PHONY: help setup demo test crash-test bench start

help:
	@echo "make demo    read a synthetic tenant through all its faults and prove every digit (a minute)"
	@echo "make test    ruff, mypy and every test, on the real storage emulator"
	@echo "make crash-test   every crash point, 500 storms and 50 SIGKILLs (hours)"
	@echo "make bench   what the paths cost, beside plain ones, as a table and as .local/bench.json"
	@echo "make start   the functions on this laptop, with the storage emulator beside them"
	@echo "make setup   only install what these need, into $(VENV) and $(NODE)"

# Each stamp is newer than what it was made from, so a second call does nothing.
setup: $(VENV)/.ready $(NODE)/.ready

$(VENV)/.ready: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed; name yours: make PYTHON=python3.12 setup" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the Python packages into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(NODE)/.ready: infra/local/package.json infra/local/package-lock.json
	@node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 18 || (a === 18 && b >= 18) ? 0 : 1)' && command -v npm >/dev/null || \
		{ echo "Node 18.18 or later with npm is needed on the PATH" >&2; exit 1; }
	@echo "installing the storage emulator into $(NODE)"
	@cd infra/local && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

demo: setup
	@$(BIN)/python -m infra.local demo

test: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -n auto --dist worksteal

# Everything that `make test` takes a sample of; COST_TEST_SEED draws other storms and other moments.
crash-test: setup
	@COST_TEST_POINTS=all COST_TEST_STORMS=500 COST_TEST_KILLS=50 $(BIN)/python -m pytest -q -n auto --dist worksteal tests/crash tests/e2e/test_sigkill.py

bench: setup
	@$(BIN)/python -m tests.bench --out .local/bench.json

start: setup
	@$(BIN)/python -m infra.local start
